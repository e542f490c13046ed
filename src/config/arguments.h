/* Training arguments: names, types, defaults and help as transformers' TrainingArguments (and ours beside them). */
#ifndef ZRT_CONFIG_ARGUMENTS_H
#define ZRT_CONFIG_ARGUMENTS_H

#include "config/keys.h"

typedef struct zrt__argument {
    const char *name, *group;
    zrt__key_type type;
    const char *fallback; /* JSON text; NULL: none */
    double low, high;
    const char *choices;
    const char *key; /* the configuration key that says the same; contradictions are errors */
    const char *help;
} zrt__argument;

const zrt__argument *zrt__argument_get(size_t index);
const zrt__argument *zrt__argument_find(const char *name); /* '-' is taken for '_' */
const char *zrt__argument_nearest(const char *name);

#endif
