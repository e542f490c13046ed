/* The keys of the configuration file, as data: DeepSpeed's, and the block "zerort" of our own. */
#ifndef ZRT_CONFIG_KEYS_H
#define ZRT_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum zrt__key_type {
    ZRT__KEY_BOOL,
    ZRT__KEY_INT,
    ZRT__KEY_NUMBER,
    ZRT__KEY_STRING,
    ZRT__KEY_CHOICE, /* one of `choices`, '|' between them */
    ZRT__KEY_LIST,
    ZRT__KEY_BLOCK, /* an object whose keys are in the table, or any where it is `open` */
    ZRT__KEY_OPEN
} zrt__key_type;

typedef enum zrt__disposition {
    ZRT__HONOURED,
    ZRT__INERT,  /* accepted without effect: `note` says why */
    ZRT__REFUSED /* any value but the default is an error: `note` says what to use instead */
} zrt__disposition;

typedef struct zrt__key {
    const char *path;
    zrt__key_type type;
    zrt__disposition disposition;
    const char *fallback; /* default, JSON text; NULL: none */
    double low, high;     /* of numbers */
    const char *choices;
    bool may_be_auto;
    const char *note; /* help of an honoured key */
} zrt__key;

/* NULL after the last. */
const zrt__key *zrt__key_get(size_t index);
/* Exact path; NULL: unknown. */
const zrt__key *zrt__key_find(const char *path);
/* The new path of a deprecated spelling; NULL where it is none. */
const char *zrt__key_renamed(const char *path);
/* Deprecated switches whose value becomes another key's: JSON text of the block that stands for `true` (allowed false), at `target_out`;
 * NULL where the path is none. */
const char *zrt__key_switch(const char *path, const char **target_out);
/* The known name nearest to `name` among those of `block` ("" for the top level); NULL when none is near. Lends. */
const char *zrt__key_nearest(const char *block, const char *name);
/* The path of the one key of this name, whatever its block; NULL where there is none or more. Lends. */
const char *zrt__key_elsewhere(const char *name);
/* Edit distance (Levenshtein). */
size_t zrt__edit_distance(const char *a, const char *b);

#endif
