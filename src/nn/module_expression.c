#include "config.h"

#include "nn/module_expression.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"

typedef struct matching {
    const char *where, *expression;
    pcre2_code *code;
    pcre2_match_data *data;
    char **names;
    size_t n, capacity;
} matching;

static zrt_status compile(matching *m)
{
    PCRE2_SIZE offset = 0;
    int error = 0;
    m->code =
        pcre2_compile((PCRE2_SPTR)m->expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, NULL);
    if (m->code == NULL) {
        PCRE2_UCHAR text[160] = "";
        pcre2_get_error_message(error, text, sizeof text);
        return zrt__fail(ZRT_ERR_CONFIG,
                         "%s: \"target_modules\" is no regular expression: '%.128s', at character %zu: %s", m->where,
                         m->expression, (size_t)offset, (const char *)text);
    }
    m->data = pcre2_match_data_create_from_pattern(m->code, NULL);
    return m->data != NULL ? ZRT_OK : zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for an expression", m->where);
}

static zrt_status matches(const matching *m, const char *name, size_t n, bool *matches_out)
{
    int found = pcre2_match(m->code, (PCRE2_SPTR)name, n, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED, m->data, NULL);
    *matches_out = found >= 0;
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH)
        return ZRT_OK;
    return zrt__fail(ZRT_ERR_CONFIG, "%s: \"target_modules\": '%.128s' takes too long on '%.*s'; give a list of names",
                     m->where, m->expression, (int)n, name);
}

static bool is_listed(const matching *m, const char *name, size_t n)
{
    for (size_t i = m->n; i-- > 0;)
        if (strlen(m->names[i]) == n && memcmp(m->names[i], name, n) == 0)
            return true;
    return false;
}

/* The module of a parameter, and those around it, which have no weights. */
static zrt_status match_one(matching *m, const char *parameter)
{
    bool found = false;
    const char *dot = strrchr(parameter, '.');
    size_t n = dot != NULL ? (size_t)(dot - parameter) : 0;
    if (n == 0 || is_listed(m, parameter, n))
        return ZRT_OK;
    for (size_t i = 1; i < n; i++) {
        if (parameter[i] == '.')
            ZRT_TRY(matches(m, parameter, i, &found));
        if (found)
            return zrt__fail(
                ZRT_ERR_CONFIG,
                "%s: \"target_modules\": '%.128s' matches %.*s, which is no linear layer; the whole name of "
                "a module must match, as in '.*\\.(q_proj|v_proj)'",
                m->where, m->expression, (int)i, parameter);
    }
    ZRT_TRY(matches(m, parameter, n, &found));
    if (!found)
        return ZRT_OK;
    ZRT_TRY(zrt__grow(&m->names, &m->capacity, m->n + 1, sizeof *m->names)); /* and the NULL */
    m->names[m->n] = zrt__format("%.*s", (int)n, parameter);
    if (m->names[m->n] == NULL)
        return ZRT_ERR_MEMORY;
    m->names[++m->n] = NULL;
    return ZRT_OK;
}

zrt_status zrt__module_names_match(const char *where, const zrt_model *model, const char *expression, char ***names_out,
                                   int *n_out)
{
    matching m = {.where = where, .expression = expression};
    zrt_status status = compile(&m);
    for (size_t i = 0; i < model->n_parameters && status == ZRT_OK; i++)
        status = match_one(&m, model->parameters[i].name);
    if (status == ZRT_OK && m.n == 0)
        status =
            zrt__fail(ZRT_ERR_CONFIG,
                      "%s: \"target_modules\": '%.128s' matches no module of model %s as a whole; one of them is %s",
                      where, expression, model->name, model->n_parameters > 0 ? model->parameters[0].name : "none");
    pcre2_match_data_free(m.data);
    pcre2_code_free(m.code);
    if (status != ZRT_OK)
        zrt__module_names_free(&m.names);
    *names_out = m.names;
    *n_out = (int)m.n;
    return status;
}

void zrt__module_names_free(char ***names)
{
    for (size_t i = 0; *names != NULL && (*names)[i] != NULL; i++)
        free((*names)[i]);
    free(*names);
    *names = NULL;
}
