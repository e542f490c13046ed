/* Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011). What is drawn depends on the key and counter alone. */
#ifndef ZRT_BASE_RANDOM_H
#define ZRT_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct zrt__philox {
    uint32_t x[4];
} zrt__philox;

static inline zrt__philox zrt__philox4x32(zrt__philox counter, uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * counter.x[0], p1 = (uint64_t)0xCD9E8D57u * counter.x[2];
        zrt__philox next = {{(uint32_t)(p1 >> 32) ^ counter.x[1] ^ key0, (uint32_t)p1,
                             (uint32_t)(p0 >> 32) ^ counter.x[3] ^ key1, (uint32_t)p0}};
        counter = next;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

/* A 64-bit hash of bytes (FNV-1a, then mixed) and a mix of two: to make keys from names and numbers. */
uint64_t zrt__hash_bytes(uint64_t seed, const void *data, size_t n);
uint64_t zrt__hash_mix(uint64_t a, uint64_t b);

/* Uniform in [0, 1) with 24 bits. */
static inline float zrt__uniform_from_bits(uint32_t bits)
{
    return (float)(bits >> 8) * (1.0f / 16777216.0f);
}

/* Elements [first, first + n) of a stream of standard normals (Box-Muller) or uniforms in [-1, 1) keyed by `key`. */
void zrt__random_normal(uint64_t key, uint64_t first, size_t n, float *out);
void zrt__random_uniform(uint64_t key, uint64_t first, size_t n, float *out);
/* As zrt__random_normal without the instructions that not every processor has; the tests compare them. */
void zrt__random_normal_portable(uint64_t key, uint64_t first, size_t n, float *out);

/* Image of i under a permutation of [0, n) keyed by `key` (Feistel network with cycle walking): no table. */
uint64_t zrt__permute(uint64_t key, uint64_t n, uint64_t i);

#endif
