/* Bytes as text (RFC 4648, with padding). */
#ifndef ZRT_CHECKPOINT_BASE64_H
#define ZRT_CHECKPOINT_BASE64_H

#include <stddef.h>

/* Gives the text; NULL for want of memory. */
char *zrt__base64_encode(const void *data, size_t bytes);
/* Gives the bytes; NULL for want of memory and, with *bytes_out (size_t)-1, where the text is none that encode gives. */
void *zrt__base64_decode(const char *text, size_t length, size_t *bytes_out);

#endif
