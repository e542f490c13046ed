/* A file that is written under a temporary name beside its own. */
#ifndef ZRT_CHECKPOINT_OUTPUT_FILE_H
#define ZRT_CHECKPOINT_OUTPUT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

typedef struct zrt__output_file {
    char *path, *temporary;
    const char *name; /* the last part of path */
    int fd;           /* -1: closed */
    bool created, renamed;
    size_t first, end; /* tensors */
    uint64_t data;     /* where theirs begins */
} zrt__output_file;

/* Makes the temporary file, or empties it. */
zrt_status zrt__output_open(zrt__output_file *file);
zrt_status zrt__output_write(zrt__output_file *file, const void *data, size_t bytes, uint64_t offset);
/* To the disk, and closes. */
zrt_status zrt__output_close(zrt__output_file *file);
/* To its own name. */
zrt_status zrt__output_rename(zrt__output_file *file);
zrt_status zrt__output_sync_folder(const char *folder);

#endif
