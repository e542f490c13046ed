/* CRC32C (Castagnoli), by the processor's instruction where it has one. */
#ifndef ZRT_BASE_CRC32C_H
#define ZRT_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to start) over n bytes. */
uint32_t zrt__crc32c(uint32_t crc, const void *data, size_t n);
/* The same without the instruction; the tests compare them. */
uint32_t zrt__crc32c_portable(uint32_t crc, const void *data, size_t n);
/* That of two pieces end to end, from that of each and the bytes of the second. */
uint32_t zrt__crc32c_combine(uint32_t first, uint32_t second, size_t n_second);

#endif
