/* Small text files of a folder, whole. */
#ifndef ZRT_NN_TEXT_FILE_H
#define ZRT_NN_TEXT_FILE_H

#include <stddef.h>

#include <zerort/status.h>

/* Reads a file of at most 16 MiB; the text ends with a NUL and is released with free(). Local. ZRT_ERR_INPUT, ZRT_ERR_IO. */
zrt_status zrt__text_file_read(const char *path, char **text_out, size_t *bytes_out);

/* Writes FOLDER/NAME through a temporary file. Local. ZRT_ERR_IO. */
zrt_status zrt__text_file_write(const char *folder, const char *name, const char *text);

#endif
