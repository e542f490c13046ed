#include "config.h"

#include "tools/tool_options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/tool_arguments.h"

#define LONGEST_NAME 96

typedef struct parser {
    tool_options *options;
    int argc;
    char **argv;
    int next;
    char *message;
    size_t message_bytes;
} parser;

static bool complain(parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool complain(parser *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->message, p->message_bytes, format, arguments);
    va_end(arguments);
    return false;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a || *b; a++, b++)
        if ((*a == '_' ? '-' : *a) != (*b == '_' ? '-' : *b))
            return false;
    return true;
}

bool tool_parse_bool(const char *text, bool *value_out)
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"}, {"true", "yes", "on", "1"}};
    for (int value = 0; value < 2; value++)
        for (int i = 0; i < 4; i++)
            if (strcasecmp(text, words[value][i]) == 0) {
                *value_out = value;
                return true;
            }
    return false;
}

bool tool_parse_bytes(const char *text, int64_t *bytes_out)
{
    static const char units[] = "kmgtp";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno || !isfinite(value) || value < 0)
        return false;
    const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
    if (unit) {
        value = ldexp(value, 10 * (int)(unit - units + 1));
        end++;
        if (tolower((unsigned char)*end) == 'i')
            end++;
    }
    if (tolower((unsigned char)*end) == 'b')
        end++;
    if (*end || value >= 0x1p63)
        return false;
    *bytes_out = (int64_t)value;
    return true;
}

/* A word that follows an option is its value unless it looks like an option; "-1" and "-0.5" are values. */
static bool is_value(const char *word)
{
    return word[0] != '-' || word[1] == '\0' || isdigit((unsigned char)word[1]) || word[1] == '.';
}

static bool add_word(tool_list *list, const char *word)
{
    if (list->n_words == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 8;
        const char **words = realloc(list->words, capacity * sizeof *words);
        if (!words)
            return false;
        list->words = words;
        list->capacity = capacity;
    }
    list->words[list->n_words++] = word;
    return true;
}

static bool add_argument(parser *p, const char *name, const char *value)
{
    tool_options *options = p->options;
    if (options->n_arguments == options->arguments_capacity) {
        size_t capacity = options->arguments_capacity ? 2 * options->arguments_capacity : 16;
        tool_argument *arguments = realloc(options->arguments, capacity * sizeof *arguments);
        if (!arguments)
            return complain(p, "out of memory");
        options->arguments = arguments;
        options->arguments_capacity = capacity;
    }
    options->arguments[options->n_arguments++] = (tool_argument){name, value};
    return true;
}

static bool parse_number(parser *p, const tool_option *option, const char *text)
{
    char *end;
    errno = 0;
    if (option->kind == TOOL_INTEGER) {
        long long value = strtoll(text, &end, 10);
        if (end == text || *end || errno)
            return complain(p, "--%s takes a whole number, not '%s'", option->name, text);
        if ((double)value < option->least)
            return complain(p, "--%s must be at least %.0f, not %s", option->name, option->least, text);
        *(int64_t *)option->value = value;
        return true;
    }
    double value = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(value))
        return complain(p, "--%s takes a number, not '%s'", option->name, text);
    if (value < option->least)
        return complain(p, "--%s must be at least %g, not %s", option->name, option->least, text);
    *(double *)option->value = value;
    return true;
}

/* The value of --name=value, or the next word; NULL after an error. */
static const char *take_value(parser *p, const char *name, const char *attached)
{
    if (attached)
        return attached;
    if (p->next < p->argc && is_value(p->argv[p->next]))
        return p->argv[p->next++];
    complain(p, "--%s needs a value", name);
    return NULL;
}

/* true, false, or an optional word that says so. */
static bool take_switch(parser *p, const char *name, bool negated, const char *attached, bool *value_out)
{
    *value_out = !negated;
    if (attached) {
        if (negated)
            return complain(p, "--no-%s takes no value", name);
        if (!tool_parse_bool(attached, value_out))
            return complain(p, "--%s takes true or false, not '%s'", name, attached);
    } else if (!negated && p->next < p->argc && is_value(p->argv[p->next])) {
        const char *word = p->argv[p->next];
        if (!tool_parse_bool(word, value_out))
            return complain(p, "--%s takes true or false, not '%s'", name, word);
        p->next++;
    }
    return true;
}

static bool take_own(parser *p, tool_option *option, bool negated, const char *attached)
{
    option->given = true;
    if (option->kind == TOOL_SWITCH)
        return take_switch(p, option->name, negated, attached, option->value);
    const char *value = take_value(p, option->name, attached);
    if (!value)
        return false;
    switch (option->kind) {
    case TOOL_LIST:
        for (;;) {
            if (!add_word(option->value, value))
                return complain(p, "out of memory");
            if (attached || p->next == p->argc || !is_value(p->argv[p->next]))
                return true;
            value = p->argv[p->next++];
        }
    case TOOL_BYTES:
        if (!tool_parse_bytes(value, option->value))
            return complain(p, "--%s takes a size such as 512M or 1.5GiB, not '%s'", option->name, value);
        return true;
    case TOOL_INTEGER:
    case TOOL_REAL:
        return parse_number(p, option, value);
    case TOOL_TEXT:
    case TOOL_SWITCH:
        break;
    }
    *(const char **)option->value = value;
    return true;
}

/* As one types it, with '-' for '_'. */
static void spell(const char *name, char spelled[LONGEST_NAME])
{
    snprintf(spelled, LONGEST_NAME, "%s", name);
    for (char *c = spelled; *c; c++)
        *c = *c == '_' ? '-' : *c;
}

static bool take_argument(parser *p, int index, bool negated, const char *attached)
{
    const char *name = tool_argument_name(index);
    char spelled[LONGEST_NAME];
    spell(name, spelled);
    if (!tool_argument_is_switch(index)) {
        const char *value = take_value(p, spelled, attached);
        return value && add_argument(p, name, value);
    }
    bool value;
    return take_switch(p, spelled, negated, attached, &value) && add_argument(p, name, value ? "true" : "false");
}

static int find_own(const tool_options *options, const char *name)
{
    for (size_t i = 0; i < options->n_options; i++)
        if (same_name(options->options[i].name, name))
            return (int)i;
    return -1;
}

static int find_argument(const tool_options *options, const char *name)
{
    if (options->takes_arguments)
        for (int i = 0; tool_argument_name(i); i++)
            if (same_name(tool_argument_name(i), name))
                return i;
    return -1;
}

typedef struct name_cursor {
    const tool_options *options;
    size_t own;
    int argument;
} name_cursor;

static const char *next_name(void *state)
{
    name_cursor *cursor = state;
    if (cursor->own < cursor->options->n_options)
        return cursor->options->options[cursor->own++].name;
    return cursor->options->takes_arguments ? tool_argument_name(cursor->argument++) : NULL;
}

static bool unknown_option(parser *p, const char *name)
{
    name_cursor cursor = {p->options, 0, 0};
    const char *nearest = tool_nearest(name, next_name, &cursor);
    if (!nearest)
        return complain(p, "unknown option --%s; --help lists the options", name);
    char spelled[LONGEST_NAME];
    spell(nearest, spelled);
    return complain(p, "unknown option --%s; did you mean --%s?", name, spelled);
}

static bool take_word(parser *p, const char *word)
{
    if (strcmp(word, "-h") == 0)
        word = "--help";
    if (strncmp(word, "--", 2) != 0 || !word[2])
        return complain(p, "unexpected argument '%s'; options begin with --", word);
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;
    char name[LONGEST_NAME];
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), word + 2);
    const char *attached = equals ? equals + 1 : NULL;

    for (int negated = 0; negated < 2; negated++) {
        if (negated && strncmp(name, "no-", 3) != 0 && strncmp(name, "no_", 3) != 0)
            break;
        const char *plain = negated ? name + 3 : name;
        int own = find_own(p->options, plain);
        if (own >= 0 && (!negated || p->options->options[own].kind == TOOL_SWITCH))
            return take_own(p, &p->options->options[own], negated, attached);
        int argument = find_argument(p->options, plain);
        if (argument >= 0 && (!negated || tool_argument_is_switch(argument)))
            return take_argument(p, argument, negated, attached);
    }
    return unknown_option(p, name);
}

bool tool_options_parse(tool_options *options, int argc, char **argv, int first, char *message, size_t message_bytes)
{
    parser p = {options, argc, argv, first, message, message_bytes};
    while (p.next < argc)
        if (!take_word(&p, argv[p.next++]))
            return false;
    return true;
}

void tool_options_release(tool_options *options)
{
    for (size_t i = 0; i < options->n_options; i++)
        if (options->options[i].kind == TOOL_LIST) {
            tool_list *list = options->options[i].value;
            free(list->words);
            *list = (tool_list){0};
        }
    free(options->arguments);
    options->arguments = NULL;
    options->n_arguments = options->arguments_capacity = 0;
}

bool tool_options_given(const tool_options *options, const char *name)
{
    int own = find_own(options, name);
    if (own >= 0)
        return options->options[own].given;
    for (size_t i = 0; i < options->n_arguments; i++)
        if (same_name(options->arguments[i].name, name))
            return true;
    return false;
}
