#include "config.h"

#include "tools/tool_options.h"

#include <string.h>

#include "tools/tool_arguments.h"

#define NAME_COLUMNS 34
#define LINE_COLUMNS 100

/* Writes text from NAME_COLUMNS on, broken at words; `column` is where the line stands. */
static void print_wrapped(FILE *file, int column, const char *text)
{
    if (column >= NAME_COLUMNS - 1) {
        fputc('\n', file);
        column = 0;
    }
    fprintf(file, "%*s", NAME_COLUMNS - column, "");
    column = NAME_COLUMNS;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column > NAME_COLUMNS && column + 1 + length > LINE_COLUMNS) {
            fprintf(file, "\n%*s", NAME_COLUMNS, "");
            column = NAME_COLUMNS;
        }
        column += fprintf(file, "%s%.*s", column > NAME_COLUMNS ? " " : "", length, text);
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', file);
}

static void print_option(FILE *file, const char *name, const char *placeholder, const char *help, const char *fallback)
{
    char spelled[64], line[1024];
    snprintf(spelled, sizeof spelled, "%s", name);
    for (char *c = spelled; *c; c++)
        *c = *c == '_' ? '-' : *c;
    int column = fprintf(file, "  --%s%s%s", spelled, placeholder ? " " : "", placeholder ? placeholder : "");
    if (fallback && *fallback)
        snprintf(line, sizeof line, "%s [%s]", help, fallback);
    else
        snprintf(line, sizeof line, "%s", help);
    print_wrapped(file, column, line);
}

static bool own_group(const tool_options *options, const char *group)
{
    for (size_t i = 0; i < options->n_options; i++)
        if (strcmp(options->options[i].group, group) == 0)
            return true;
    return false;
}

/* Quotes are JSON's. */
static void print_argument(FILE *file, const zrt_argument_info *info)
{
    char fallback[128] = "";
    if (info->default_text)
        snprintf(fallback, sizeof fallback, "%s", info->default_text + (*info->default_text == '"'));
    size_t length = strlen(fallback);
    if (length > 0 && fallback[length - 1] == '"')
        fallback[length - 1] = '\0';
    print_option(file, info->name, info->is_switch ? NULL : info->placeholder, info->help, fallback);
}

static void print_arguments(FILE *file, const char *group)
{
    zrt_argument_info info;
    for (int i = 0; tool_argument_get(i, &info); i++)
        if (strcmp(info.group, group) == 0)
            print_argument(file, &info);
}

static bool is_first_of_group(int index, const char *group)
{
    zrt_argument_info info;
    for (int i = 0; i < index && tool_argument_get(i, &info); i++)
        if (strcmp(info.group, group) == 0)
            return false;
    return true;
}

void tool_options_print(const tool_options *options, FILE *file)
{
    const char *group = "";
    for (size_t i = 0; i < options->n_options; i++) {
        const tool_option *option = &options->options[i];
        if (strcmp(option->group, group) != 0) {
            group = option->group;
            fprintf(file, "\n%s:\n", group);
        }
        print_option(file, option->name, option->placeholder, option->help, option->fallback);
        bool last = i + 1 == options->n_options || strcmp(options->options[i + 1].group, group) != 0;
        if (last && options->takes_arguments)
            print_arguments(file, group);
    }
    zrt_argument_info info;
    for (int i = 0; options->takes_arguments && tool_argument_get(i, &info); i++)
        if (is_first_of_group(i, info.group) && !own_group(options, info.group)) {
            fprintf(file, "\n%s:\n", info.group);
            print_arguments(file, info.group);
        }
}
