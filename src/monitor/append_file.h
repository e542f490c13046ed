/* Files that grow by whole pieces: each is one write, and what could not be written whole is taken back. */
#ifndef ZRT_MONITOR_APPEND_FILE_H
#define ZRT_MONITOR_APPEND_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <zerort/status.h>

typedef struct zrt__append_file {
    int fd; /* -1: not open */
    char *path;
} zrt__append_file;

/* Opens or makes a file. With is_lines, an unfinished last line (of a machine that went down) is cut off with a warning. */
zrt_status zrt__append_file_open(const char *path, bool is_lines, zrt__append_file *file_out);
zrt_status zrt__append_file_write(zrt__append_file *file, const void *data, size_t n);
off_t zrt__append_file_size(const zrt__append_file *file);
void zrt__append_file_close(zrt__append_file *file);

/* Makes a folder and those above it; it is no error that they are there. */
zrt_status zrt__make_folders(const char *path);

#endif
