/* The text of a run that names none: sources that are on the machine. */
#ifndef ZRT_TOOLS_DEFAULT_TEXT_H
#define ZRT_TOOLS_DEFAULT_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

typedef struct default_text {
    char **paths;
    size_t n_paths, capacity;
    int64_t bytes;
    char places[512]; /* for people: where the files lie */
} default_text;

/* Collects the project's own sources and, where these are less than a megabyte, headers and scripts of the system: the same
 * files in the same order on every rank. ZRT_ERR_INPUT where the machine has too little. */
zrt_status default_text_collect(default_text *text_out);
void default_text_release(default_text *text);

#endif
