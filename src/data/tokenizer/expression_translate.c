/* Oniguruma's syntax as PCRE2 is to read it: what means the same in both stays, what has another meaning is written out, the
 * rest is refused. */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/tokenizer/expression.h"

/* PCRE2's \s has U+180E as well, its \w no marks. */
#define SPACE "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                                    \
    "\\x{0}-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{" \
    "202a}-"                                                                                                         \
    "\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{d7ff}\\x{e000}-\\x{10ffff}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

typedef struct reader {
    const char *where, *pattern;
    size_t n, at;
    zrt__bytes *out;
} reader;

static zrt_status put(reader *r, const char *text)
{
    return zrt__bytes_append(r->out, text, strlen(text));
}

static zrt_status copy(reader *r, size_t n)
{
    ZRT_TRY(zrt__bytes_append(r->out, r->pattern + r->at, n));
    r->at += n;
    return ZRT_OK;
}

static zrt_status refuse(const reader *r, const char *what)
{
    return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: %s in the expression '%.120s' is not supported", r->where, what,
                     r->pattern);
}

static char look(const reader *r, size_t ahead)
{
    return r->at + ahead < r->n ? r->pattern[r->at + ahead] : '\0';
}

/* \p{Name}, \P{Name}, \p{^Name}: general categories and scripts. */
static zrt_status read_property(reader *r)
{
    char name[40];
    size_t n = 0;
    bool negated = look(r, 1) == 'P';

    r->at += 2;
    if (look(r, 0) != '{')
        return refuse(r, "\\p without braces");
    r->at++;
    if (look(r, 0) == '^') {
        negated = !negated;
        r->at++;
    }
    while (isalpha((unsigned char)look(r, 0)) || look(r, 0) == '_') {
        if (n + 1 == sizeof name)
            return refuse(r, "a long name of a property");
        name[n++] = r->pattern[r->at++];
    }
    name[n] = '\0';
    if (look(r, 0) != '}' || n == 0)
        return refuse(r, "the name of a property");
    r->at++;
    /* A script by its own name would be PCRE2's script extensions. */
    ZRT_TRY(put(r, negated ? "\\P{" : "\\p{"));
    if (n > 2)
        ZRT_TRY(put(r, "sc:"));
    ZRT_TRY(put(r, name));
    return put(r, "}");
}

static zrt_status read_code(reader *r, size_t digits)
{
    char text[16] = "";
    size_t n = 0;

    while (n < digits && isxdigit((unsigned char)look(r, 0)))
        text[n++] = r->pattern[r->at++];
    text[n] = '\0';
    if (n == 0)
        return refuse(r, "a character's number");
    ZRT_TRY(put(r, "\\x{"));
    ZRT_TRY(put(r, text));
    return put(r, "}");
}

static zrt_status read_set(reader *r, bool in_class, bool negated, const char *set)
{
    r->at += 2;
    if (!in_class)
        ZRT_TRY(put(r, negated ? "[^" : "["));
    ZRT_TRY(put(r, set));
    return in_class ? ZRT_OK : put(r, "]");
}

static zrt_status read_escape(reader *r, bool in_class)
{
    char c = look(r, 1), what[24];

    switch (c) {
    case 's':
        return read_set(r, in_class, false, SPACE);
    case 'S':
        return read_set(r, in_class, !in_class, in_class ? NOT_SPACE : SPACE);
    case 'd':
        r->at += 2;
        return put(r, "\\p{Nd}");
    case 'D':
        r->at += 2;
        return put(r, "\\P{Nd}");
    case 'w':
        return read_set(r, in_class, false, WORD);
    case 'W':
        if (in_class)
            return refuse(r, "\\W in brackets");
        return read_set(r, false, true, WORD);
    case 'p':
    case 'P':
        return read_property(r);
    case 'v': /* a class of its own in PCRE2 */
        r->at += 2;
        return put(r, "\\x0b");
    case 'u':
        r->at += 2;
        return read_code(r, 4);
    case 'x':
        r->at += 2;
        if (look(r, 0) != '{')
            return read_code(r, 2);
        r->at++;
        ZRT_TRY(read_code(r, 8));
        if (look(r, 0) != '}')
            return refuse(r, "a character's number");
        r->at++;
        return ZRT_OK;
    case 'n':
    case 'r':
    case 't':
    case 'f':
    case 'a':
    case 'e':
        return copy(r, 2);
    case 'A':
    case 'z':
    case 'Z':
        if (!in_class)
            return copy(r, 2);
        break;
    default:
        if (c != '\0' && (unsigned char)c < 0x80 && !isalnum((unsigned char)c))
            return copy(r, 2);
    }
    snprintf(what, sizeof what, "\\%.1s", r->at + 1 < r->n && isprint((unsigned char)c) ? (char[]){c, 0} : "?");
    return refuse(r, what);
}

static zrt_status read_class(reader *r)
{
    ZRT_TRY(copy(r, 1));
    if (look(r, 0) == '^')
        ZRT_TRY(copy(r, 1));
    if (look(r, 0) == ']')
        return refuse(r, "']' as the first of brackets");
    while (look(r, 0) != ']') {
        if (r->at >= r->n)
            return refuse(r, "a bracket that is not closed");
        if (look(r, 0) == '[')
            return refuse(r, "'[' in brackets");
        if (look(r, 0) == '&' && look(r, 1) == '&')
            return refuse(r, "'&&' in brackets");
        if (look(r, 0) == '\\')
            ZRT_TRY(read_escape(r, true));
        else
            ZRT_TRY(copy(r, 1));
    }
    return copy(r, 1);
}

static zrt_status read_group(reader *r)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};

    if (look(r, 1) == '*')
        return refuse(r, "(*");
    if (look(r, 1) != '?')
        return copy(r, 1);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (r->n - r->at >= n && memcmp(r->pattern + r->at, known[i], n) == 0)
            return copy(r, n);
    }
    if (r->at == 0 && r->n >= 4 && memcmp(r->pattern, "(?i)", 4) == 0)
        return copy(r, 4);
    return refuse(r, "a group of that kind");
}

/* {n}, {n,}, {n,m}, {,m}; anything else is a brace. */
static zrt_status read_braces(reader *r)
{
    size_t at = 1, digits = 0;
    bool comma = false, from_zero = look(r, 1) == ',';

    while (isdigit((unsigned char)look(r, at)) || (look(r, at) == ',' && !comma)) {
        comma = comma || look(r, at) == ',';
        digits += look(r, at) != ',';
        at++;
    }
    if (look(r, at) != '}' || digits == 0) {
        r->at++;
        return put(r, "\\{");
    }
    if (look(r, at + 1) == '+')
        return refuse(r, "'+' after braces");
    if (look(r, at + 1) == '?')
        return refuse(r, "'?' after braces");
    if (!from_zero)
        return copy(r, at + 1);
    ZRT_TRY(put(r, "{0"));
    r->at++;
    return copy(r, at);
}

zrt_status zrt__expression_translate(const char *where, const char *pattern, size_t n, zrt__bytes *translated)
{
    reader r = {where, pattern, n, 0, translated};

    if (memchr(pattern, '\0', n) != NULL)
        return refuse(&r, "U+0000");
    ZRT_TRY(zrt__bytes_reserve(translated, n + 1));
    while (r.at < r.n) {
        switch (look(&r, 0)) {
        case '\\':
            ZRT_TRY(read_escape(&r, false));
            break;
        case '[':
            ZRT_TRY(read_class(&r));
            break;
        case '(':
            ZRT_TRY(read_group(&r));
            break;
        case '{':
            ZRT_TRY(read_braces(&r));
            break;
        default:
            ZRT_TRY(copy(&r, 1));
        }
    }
    return ZRT_OK;
}
