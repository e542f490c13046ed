/* Token files as the programs that make them write them. */
#ifndef ZRT_TEST_UNIT_TOKEN_SAMPLES_H
#define ZRT_TEST_UNIT_TOKEN_SAMPLES_H

#include <stdint.h>

#include "scratch_folder.h"

/* llm.c's .bin with the tokens 0, 3, 6 .. (modulo 60000). */
static inline const char *sample_bin(const char *name, int32_t magic, int32_t version, int32_t count, int64_t n,
                                     int bytes)
{
    const char *path = scratch_path(name);
    int32_t header[256] = {magic, version, count};
    FILE *file = fopen(path, "wb");

    if (file == NULL || fwrite(header, sizeof header, 1, file) != 1)
        exit(99);
    for (int64_t i = 0; i < n; i++) {
        uint32_t token = (uint32_t)(3 * i % 60000);

        if (fwrite(&token, (size_t)bytes, 1, file) != 1)
            exit(99);
    }
    fclose(file);
    return path;
}

/* A .npy of a version with a header (padded as NumPy does) and data. */
static inline const char *sample_npy(const char *name, int version, const char *header, const void *data, size_t n)
{
    unsigned char start[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0};
    size_t before = version == 1 ? 10 : 12, length = strlen(header),
           padded = (before + length + 1 + 63) / 64 * 64 - before;
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb");

    for (size_t i = 0; i < before - 8; i++)
        start[8 + i] = (unsigned char)(padded >> 8 * i);
    if (file == NULL || fwrite(start, before, 1, file) != 1)
        exit(99);
    fprintf(file, "%s%*s\n", header, (int)(padded - length - 1), "");
    if (n > 0 && fwrite(data, n, 1, file) != 1)
        exit(99);
    fclose(file);
    return path;
}

#endif
