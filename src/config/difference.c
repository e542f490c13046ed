/* What two resolved configurations differ in. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/configuration.h"
#include "config/resolved.h"

enum { PATH_BYTES = 512, VALUE_BYTES = 64 };

typedef struct difference {
    char *text;
    size_t capacity, used;
    int left_out;
} difference;

/* A value as it is shown; nothing: "none". */
static void show(const json_t *value, char text[VALUE_BYTES])
{
    char *whole = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    snprintf(text, VALUE_BYTES, "%.60s", whole != NULL ? whole : "none");
    free(whole);
}

static void add(difference *d, const char *path, const json_t *before, const json_t *now)
{
    char was[VALUE_BYTES], is[VALUE_BYTES];
    show(before, was);
    show(now, is);
    int n = snprintf(d->text + d->used, d->capacity - d->used, "%s%s %s -> %s", d->used > 0 ? ", " : "", path, was, is);
    if (n < 0 || (size_t)n >= d->capacity - d->used) {
        d->text[d->used] = '\0';
        d->left_out++;
    } else
        d->used += (size_t)n;
}

static bool is_number_same(const json_t *a, const json_t *b)
{
    return json_is_number(a) && json_is_number(b) && json_number_value(a) == json_number_value(b);
}

static void compare(difference *d, const char *path, const json_t *before, const json_t *now)
{
    char below[PATH_BYTES];
    const char *key;
    json_t *value;
    if (json_equal(before, now) || is_number_same(before, now) ||
        strcmp(path, "zerort.arguments.resume_from_checkpoint") == 0)
        return;
    bool goes_down = (json_is_object(before) || before == NULL) && (json_is_object(now) || now == NULL);
    if (!goes_down) {
        add(d, path, before, now);
        return;
    }
    const char *dot = *path != '\0' ? "." : "";
    json_object_foreach((json_t *)(uintptr_t)before, key, value)
    {
        snprintf(below, sizeof below, "%s%s%s", path, dot, key);
        compare(d, below, value, json_object_get(now, key));
    }
    json_object_foreach((json_t *)(uintptr_t)now, key, value) if (json_object_get(before, key) == NULL)
    {
        snprintf(below, sizeof below, "%s%s%s", path, dot, key);
        compare(d, below, NULL, value);
    }
}

zrt_status zrt__resolved_difference(const char *before, const char *now, char *text, size_t capacity)
{
    difference d = {.text = text, .capacity = capacity > 24 ? capacity - 24 : 0}; /* room for "and N more" */
    json_error_t error;
    *text = '\0';
    json_t *a = json_loads(before, JSON_REJECT_DUPLICATES, &error),
           *b = json_loads(now, JSON_REJECT_DUPLICATES, &error);
    zrt_status status = ZRT_OK;
    if (!json_is_object(a) || !json_is_object(b))
        status = zrt__fail(ZRT_ERR_INPUT, "a configuration is no JSON object: %s", error.text);
    else
        compare(&d, "", a, b);
    if (d.left_out > 0)
        snprintf(text + d.used, 24, ", and %d more", d.left_out);
    json_decref(a);
    json_decref(b);
    return status;
}
