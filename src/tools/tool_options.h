/* The command line of the programs: GNU long options, '_' taken for '-'. */
#ifndef ZRT_TOOLS_TOOL_OPTIONS_H
#define ZRT_TOOLS_TOOL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What an option takes, and what `value` points to. */
typedef enum tool_kind {
    TOOL_SWITCH,  /* bool: --name, --name true|false, --no-name */
    TOOL_TEXT,    /* const char *: one word */
    TOOL_INTEGER, /* int64_t, at least `least` */
    TOOL_REAL,    /* double, at least `least` */
    TOOL_BYTES,   /* int64_t: 512M, 1.5GiB, 4096 */
    TOOL_LIST     /* tool_list: any number of words, added up when given again */
} tool_kind;

typedef struct tool_list {
    const char **words; /* lent from argv */
    size_t n_words, capacity;
} tool_list;

typedef struct tool_option {
    const char *name; /* without "--" */
    tool_kind kind;
    void *value;
    double least;
    const char *group;       /* heading in --help; equal ones lie together */
    const char *placeholder; /* what --help writes for the value; NULL for a switch */
    const char *fallback;    /* the default that --help shows; NULL: none */
    const char *help;
    bool given; /* set by the parser */
} tool_option;

/* A training argument of the configuration as it was given; the configuration checks the value. */
typedef struct tool_argument {
    const char *name; /* lent from the library */
    const char *value;
} tool_argument;

typedef struct tool_options {
    tool_option *options; /* the program's own, in the order of --help */
    size_t n_options;
    bool takes_arguments; /* the configuration's training arguments are options too */
    tool_argument *arguments;
    size_t n_arguments, arguments_capacity;
} tool_options;

/* Reads argv[first .. argc). False after an error, with the message in `message`. */
bool tool_options_parse(tool_options *options, int argc, char **argv, int first, char *message, size_t message_bytes);

/* Releases what parsing allocated; values lent from argv stay. */
void tool_options_release(tool_options *options);

/* True when the option of that name (own or a training argument, with '-') was on the command line. */
bool tool_options_given(const tool_options *options, const char *name);

/* Writes the options by group, with their defaults. */
void tool_options_print(const tool_options *options, FILE *file);

/* "true", "yes", "on", "1" and their opposites, any case. */
bool tool_parse_bool(const char *text, bool *value_out);
/* Decimal bytes with an optional k, M, G or T (of 1024; "GB" and "GiB" are the same). */
bool tool_parse_bytes(const char *text, int64_t *bytes_out);

/* The word nearest to `word` of those `next` hands out (NULL after the last), or NULL when none is near. */
typedef const char *tool_next_word(void *state);
const char *tool_nearest(const char *word, tool_next_word *next, void *state);

#endif
