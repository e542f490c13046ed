#include "config.h"

#include "data/jsonl_sample.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/tokenizer/tokenizer.h"

zrt_status zrt__jsonl_parse(const char *path, int64_t line, const char *text, size_t n, json_t **json_out)
{
    size_t valid = zrt__utf8_valid_prefix(text, n);
    json_error_t error;

    *json_out = NULL;
    if (valid < n)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: line %" PRId64 ": is not UTF-8: byte %zu is 0x%02x; write the file again as UTF-8", path,
                         line, valid + 1, (unsigned char)text[valid]);
    *json_out = json_loadb(text, n, JSON_ALLOW_NUL, &error);
    if (*json_out == NULL)
        return zrt__fail(ZRT_ERR_INPUT, "%s: line %" PRId64 ": is not JSON: %s; correct it or give --skip-bad-lines",
                         path, line, error.text);
    if (!json_is_object(*json_out)) {
        json_decref(*json_out);
        *json_out = NULL;
        return zrt__fail(ZRT_ERR_INPUT, "%s: line %" PRId64 ": is no JSON object; a line is {\"COLUMN\": VALUE, ..}",
                         path, line);
    }
    return ZRT_OK;
}

/* The columns that there are, as one reads them. */
static const char *list_columns(const json_t *json, char text[256])
{
    const char *key;
    json_t *value;
    size_t used = 0;

    text[0] = '\0';
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        if (used + strlen(key) + 4 >= 250) {
            snprintf(text + used, 256 - used, ", ..");
            break;
        }
        used += (size_t)snprintf(text + used, 256 - used, "%s%s", used ? ", " : "", key);
    }
    return text[0] != '\0' ? text : "none";
}

static zrt_status fail_column(const char *path, int64_t line, const json_t *json, const char *column)
{
    char columns[256];

    return zrt__fail(ZRT_ERR_INPUT, "%s: line %" PRId64 ": has no column '%s'; there are: %s", path, line, column,
                     list_columns(json, columns));
}

zrt_status zrt__jsonl_text(const char *path, int64_t line, const json_t *json, const char *column,
                           const char **text_out, size_t *n_out)
{
    const json_t *value = json_object_get(json, column);

    if (value == NULL)
        return fail_column(path, line, json, column);
    if (!json_is_string(value))
        return zrt__fail(ZRT_ERR_INPUT, "%s: line %" PRId64 ": column '%s' must be text", path, line, column);
    *text_out = json_string_value(value);
    *n_out = json_string_length(value);
    return ZRT_OK;
}

zrt_status zrt__jsonl_choose(const char *path, int64_t line, const json_t *json, const zrt_jsonl_options *options,
                             const zrt_tokenizer *tokenizer, zrt__jsonl_form *form_out)
{
    zrt__jsonl_form form = {
        .end_token = options->end_token_id, .n_classes = options->n_classes, .most_tokens = options->length};
    bool has_prompt = options->prompt_column != NULL || options->completion_column != NULL;
    char columns[256];

    if (options->text_column != NULL && has_prompt)
        return zrt__fail(ZRT_ERR_USAGE, "give --text-column or --prompt-column and --completion-column, not both");
    form.first = options->prompt_column != NULL ? options->prompt_column : "prompt";
    form.second = options->completion_column != NULL ? options->completion_column : "completion";
    if (options->text_column != NULL) {
        form.kind = ZRT__JSONL_TEXT;
        form.first = options->text_column;
    } else if (has_prompt || (json_object_get(json, "prompt") && json_object_get(json, "completion"))) {
        form.kind = ZRT__JSONL_COMPLETION;
    } else if (json_object_get(json, "messages")) {
        form.kind = ZRT__JSONL_MESSAGES;
        ZRT_TRY(zrt__chat_family_choose(options->chat_template, options->folder, tokenizer, &form.family));
    } else if (json_object_get(json, "text1") && json_object_get(json, "label")) {
        form.kind = ZRT__JSONL_CLASSIFICATION;
    } else if (json_object_get(json, "text")) {
        form.kind = ZRT__JSONL_TEXT;
        form.first = "text";
    } else {
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: line %" PRId64
                         ": has none of the columns text, prompt and completion, messages, text1 and label; "
                         "there are: %s; name them by --text-column or --prompt-column and --completion-column",
                         path, line, list_columns(json, columns));
    }
    *form_out = form;
    return ZRT_OK;
}

static size_t common_prefix(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    size_t n = 0;

    while (n < n_a && n < n_b && a[n] == b[n])
        n++;
    return n;
}

static zrt_status keep_ids(zrt__ids *to, const int32_t *ids, int64_t n)
{
    to->n = 0;
    ZRT_TRY(zrt__ids_reserve(to, (size_t)n + 1));
    if (n > 0)
        memcpy(to->data, ids, (size_t)n * sizeof *ids);
    to->n = (size_t)n;
    return ZRT_OK;
}

/* How many of the tokens at hand are those of the first `bytes` bytes alone: a token that goes beyond them is not. */
static zrt_status tokens_of_prefix(zrt_encoder *encoder, const char *text, size_t bytes, bool special,
                                   const zrt__ids *ids, size_t *n_out)
{
    const int32_t *prefix;
    int64_t n;

    ZRT_TRY(zrt_encoder_encode(encoder, text, bytes, special, &prefix, &n));
    *n_out = common_prefix(prefix, (size_t)n, ids->data, ids->n);
    return ZRT_OK;
}

static void ignore_labels(zrt__ids *ids, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (ids->data[i] >= 0)
            ids->data[i] = ~ids->data[i];
    }
}

static zrt_status put_end(const zrt__jsonl_form *form, zrt__ids *ids)
{
    if (form->end_token < 0 || (ids->n > 0 && ids->data[ids->n - 1] == form->end_token))
        return ZRT_OK;
    return zrt__ids_append(ids, form->end_token);
}

static zrt_status encode_text(const zrt__jsonl_form *form, const char *text, size_t n, zrt_encoder *encoder,
                              zrt__jsonl_scratch *scratch)
{
    const int32_t *ids;
    int64_t n_ids;

    ZRT_TRY(zrt_encoder_encode(encoder, text, n, true, &ids, &n_ids));
    ZRT_TRY(keep_ids(&scratch->ids, ids, n_ids));
    return n > 0 ? put_end(form, &scratch->ids) : ZRT_OK;
}

static zrt_status encode_completion(const zrt__jsonl_form *form, const char *prompt, size_t n_prompt,
                                    const char *completion, size_t n_completion, zrt_encoder *encoder,
                                    zrt__jsonl_scratch *scratch)
{
    size_t n_ignored;

    scratch->text.n = 0;
    ZRT_TRY(zrt__bytes_append(&scratch->text, prompt, n_prompt));
    ZRT_TRY(zrt__bytes_append(&scratch->text, completion, n_completion));
    ZRT_TRY(encode_text(form, scratch->text.data, scratch->text.n, encoder, scratch));
    ZRT_TRY(tokens_of_prefix(encoder, scratch->text.data, n_prompt, true, &scratch->ids, &n_ignored));
    ignore_labels(&scratch->ids, 0, n_ignored);
    return ZRT_OK;
}

static zrt_status encode_messages(const zrt__jsonl_form *form, const char *path, int64_t line, const json_t *json,
                                  zrt_encoder *encoder, zrt__jsonl_scratch *scratch)
{
    const json_t *messages = json_object_get(json, "messages");
    const zrt__chat_text *chat = &scratch->chat;
    const char *why = NULL;
    const int32_t *ids;
    int64_t n;
    zrt_status status;
    size_t done = 0;

    if (messages == NULL)
        return fail_column(path, line, json, "messages");
    status = zrt__chat_render(form->family, messages, &scratch->chat, &why);
    if (why != NULL)
        return zrt__fail(status, "%s: line %" PRId64 ": %s", path, line, why);
    ZRT_TRY(status);
    ZRT_TRY(zrt_encoder_encode(encoder, chat->text.data, chat->text.n, false, &ids, &n));
    ZRT_TRY(keep_ids(&scratch->ids, ids, n));
    /* From the back, because what is ignored no longer compares equal. */
    done = scratch->ids.n;
    for (size_t i = chat->n_parts; i-- > 0;) {
        size_t start, end;
        ZRT_TRY(tokens_of_prefix(encoder, chat->text.data, chat->parts[i].end, false, &scratch->ids, &end));
        ZRT_TRY(tokens_of_prefix(encoder, chat->text.data, chat->parts[i].start, false, &scratch->ids, &start));
        ignore_labels(&scratch->ids, end, done);
        done = start;
    }
    ignore_labels(&scratch->ids, 0, done);
    return ZRT_OK;
}

static zrt_status encode_classification(const zrt__jsonl_form *form, const char *path, int64_t line, const json_t *json,
                                        zrt_encoder *encoder, zrt__jsonl_scratch *scratch, zrt__sample *sample,
                                        bool *cut_out)
{
    const json_t *label = json_object_get(json, "label");
    const char *first = NULL, *second = NULL;
    size_t n_first = 0, n_second = 0;
    const int32_t *ids, *types;
    int64_t n;

    ZRT_TRY(zrt__jsonl_text(path, line, json, "text1", &first, &n_first));
    if (json_object_get(json, "text2") != NULL)
        ZRT_TRY(zrt__jsonl_text(path, line, json, "text2", &second, &n_second));
    if (label == NULL)
        return fail_column(path, line, json, "label");
    if (!json_is_integer(label) || json_integer_value(label) < 0 || json_integer_value(label) >= INT32_MAX ||
        (form->n_classes > 0 && json_integer_value(label) >= form->n_classes))
        return zrt__fail(ZRT_ERR_INPUT, "%s: line %" PRId64 ": the label must be an integer of 0 to %" PRId64, path,
                         line, form->n_classes > 0 ? form->n_classes - 1 : (int64_t)INT32_MAX - 1);
    ZRT_TRY(zrt_encoder_encode_pair(encoder, first, n_first, second, n_second, true, &ids, &types, &n));
    if (form->most_tokens > 0 && n > form->most_tokens) {
        *cut_out = true;
        ZRT_TRY(zrt__encoder_cut(encoder, form->most_tokens, &ids, &types, &n));
    }
    ZRT_TRY(keep_ids(&scratch->ids, ids, n));
    sample->label = (int32_t)json_integer_value(label);
    sample->type_start = (int32_t)n;
    for (int64_t i = n; i-- > 0 && types[i] == 1;)
        sample->type_start = (int32_t)i;
    return ZRT_OK;
}

zrt_status zrt__jsonl_encode(const zrt__jsonl_form *form, const char *path, int64_t line, const json_t *json,
                             zrt_encoder *encoder, zrt__jsonl_scratch *scratch, zrt__sample *sample_out, bool *cut_out)
{
    const char *first = NULL, *second = NULL;
    size_t n_first = 0, n_second = 0;

    *sample_out = (zrt__sample){0};
    *cut_out = false;
    scratch->ids.n = 0;
    switch (form->kind) {
    case ZRT__JSONL_TEXT:
        ZRT_TRY(zrt__jsonl_text(path, line, json, form->first, &first, &n_first));
        ZRT_TRY(encode_text(form, first, n_first, encoder, scratch));
        break;
    case ZRT__JSONL_COMPLETION:
        ZRT_TRY(zrt__jsonl_text(path, line, json, form->first, &first, &n_first));
        ZRT_TRY(zrt__jsonl_text(path, line, json, form->second, &second, &n_second));
        ZRT_TRY(encode_completion(form, first, n_first, second, n_second, encoder, scratch));
        break;
    case ZRT__JSONL_MESSAGES:
        ZRT_TRY(encode_messages(form, path, line, json, encoder, scratch));
        break;
    case ZRT__JSONL_CLASSIFICATION:
        ZRT_TRY(encode_classification(form, path, line, json, encoder, scratch, sample_out, cut_out));
        break;
    }
    if (scratch->ids.n > INT32_MAX)
        return zrt__fail(ZRT_ERR_INPUT, "%s: line %" PRId64 ": has too many tokens", path, line);
    sample_out->n = (int32_t)scratch->ids.n;
    return ZRT_OK;
}

void zrt__jsonl_scratch_release(zrt__jsonl_scratch *scratch)
{
    zrt__chat_text_release(&scratch->chat);
    zrt__bytes_release(&scratch->text);
    zrt__ids_release(&scratch->ids);
}
