/* A folder of a test's own, and small files in it. */
#ifndef ZRT_TEST_UNIT_SCRATCH_FOLDER_H
#define ZRT_TEST_UNIT_SCRATCH_FOLDER_H

#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch_folder[PATH_MAX];

static inline bool scratch_make(void)
{
    const char *parent = getenv("TMPDIR");

    snprintf(scratch_folder, sizeof scratch_folder, "%s/zerort-test-XXXXXX", parent != NULL ? parent : "/tmp");
    return mkdtemp(scratch_folder) != NULL;
}

/* The path of a file in the folder; one of eight buffers in turn. */
static inline const char *scratch_path(const char *name)
{
    static char paths[8][PATH_MAX + 256];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", scratch_folder, name);
    return path;
}

static inline const char *scratch_write(const char *name, const void *data, size_t n)
{
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb");

    if (file == NULL || fwrite(data, 1, n, file) != n || fclose(file) != 0) {
        perror(path);
        exit(99);
    }
    return path;
}

/* The whole file with a zero after it, to be freed; NULL where there is none. */
static inline char *scratch_read(const char *path, size_t *n_out)
{
    FILE *file = fopen(path, "rb");
    size_t capacity = 1 << 20;
    char *text;

    if (file == NULL)
        return NULL;
    text = malloc(capacity);
    if (text == NULL)
        exit(99);
    *n_out = fread(text, 1, capacity - 1, file);
    text[*n_out] = '\0';
    fclose(file);
    return text;
}

static inline int scratch_remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void scratch_remove(void)
{
    nftw(scratch_folder, scratch_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
