/* Files and folders, written so that they are whole on the disk or not there, and read with nothing followed out of the folder. */
#ifndef ZRT_CHECKPOINT_DISK_H
#define ZRT_CHECKPOINT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

/* A file that is written at offsets. Offsets, sizes and addresses that are multiples of 4096 go past the page cache where the file
 * system lets them. */
typedef struct zrt__disk_file {
    char *path;
    int fd, direct; /* -1: none */
} zrt__disk_file;

/* Creates it; it must not be there. `bytes` are reserved, so that a full disk is found before anything is written. */
zrt_status zrt__disk_create(const char *path, int64_t bytes, zrt__disk_file *file_out);
/* From any thread. */
zrt_status zrt__disk_write(zrt__disk_file *file, const void *data, size_t bytes, int64_t offset);
/* To the disk, and closes. */
zrt_status zrt__disk_finish(zrt__disk_file *file);
/* Closes a file that is given up. One that is not open is accepted. */
void zrt__disk_close(zrt__disk_file *file);

/* A small file at once. */
zrt_status zrt__disk_write_whole(const char *path, const void *data, size_t bytes);
/* Replaces a small file: FOLDER/.NAME.tmp, then renamed, then the folder synced. */
zrt_status zrt__disk_replace(const char *folder, const char *name, const void *data, size_t bytes);
zrt_status zrt__disk_make_folder(const char *path);
zrt_status zrt__disk_sync_folder(const char *path);
zrt_status zrt__disk_rename(const char *from, const char *to);
/* Removes a folder of files, as far as it goes; one that is not there is no error. */
void zrt__disk_remove_folder(const char *path);

/* A regular file, not a link. Errors: ZRT_ERR_INPUT where it is not there or no such file, ZRT_ERR_IO. */
zrt_status zrt__disk_open_read(const char *path, int *fd_out, int64_t *bytes_out);
zrt_status zrt__disk_read(int fd, const char *path, void *data, size_t bytes, int64_t offset);
/* Reads a small file whole, of at most `most` bytes. Gives it, with a NUL behind. */
zrt_status zrt__disk_read_whole(const char *path, size_t most, char **data_out, size_t *bytes_out);

#endif
