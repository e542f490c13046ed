#include "config.h"

#include "base/random.h"

#include <math.h>
#include <string.h>

/* Draws are the same on every machine: logarithm and sine are polynomials here, because those of libm differ in the last
 * bit between processors. Only additions and multiplications that are rounded one by one: no target with FMA. */

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { BATCH = 64 }; /* Philox blocks drawn at once, so that the loops vectorise */

/* Finaliser of splitmix64. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t zrt__hash_bytes(uint64_t seed, const void *data, size_t n)
{
    const unsigned char *bytes = data;
    uint64_t hash = 0xCBF29CE484222325u ^ mix(seed);

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return mix(hash);
}

uint64_t zrt__hash_mix(uint64_t a, uint64_t b)
{
    return mix(mix(a + 0x9E3779B97F4A7C15u) ^ (b * 0xD6E8FEB86659FD93u + 0xA0761D6478BD642Fu));
}

/* Natural logarithm of x in (0, 1], polynomial of Cephes' logf. */
ALWAYS_INLINE float log_of(float x)
{
    uint32_t bits;
    float e, m, z, y;

    memcpy(&bits, &x, sizeof bits);
    /* Mantissa in [sqrt(1/2), sqrt(2)). */
    bits += 0x3F800000u - 0x3F3504F3u;
    e = (float)((int32_t)(bits >> 23) - 127);
    bits = (bits & 0x007FFFFFu) + 0x3F3504F3u;
    memcpy(&m, &bits, sizeof m);
    m -= 1.0f;
    z = m * m;
    y = 7.0376836292e-2f;
    y = y * m - 1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m - 1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m - 1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m - 2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * z;
    y = y - 2.12194440e-4f * e;
    y = y - 0.5f * z;
    return (m + y) + 0.693359375f * e;
}

/* Cosine and sine of a uniform angle: the upper two bits choose the quadrant, the others the place in it. */
ALWAYS_INLINE void direction(uint32_t bits, float *cosine, float *sine)
{
    uint32_t quadrant = bits >> 30;
    float x = ((float)(int32_t)((bits << 2) >> 8) * 0x1p-24f - 0.5f) * 1.57079632679489662f;
    float z = x * x, s, c, first, second;
    uint32_t first_bits, second_bits;

    s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
    /* (c, s), (-s, c), (-c, -s), (s, -c) */
    first = (quadrant & 1) != 0 ? s : c;
    second = (quadrant & 1) != 0 ? c : s;
    memcpy(&first_bits, &first, sizeof first_bits);
    memcpy(&second_bits, &second, sizeof second_bits);
    first_bits ^= ((quadrant ^ (quadrant >> 1)) & 1) << 31;
    second_bits ^= (quadrant >> 1) << 31;
    memcpy(cosine, &first_bits, sizeof *cosine);
    memcpy(sine, &second_bits, sizeof *sine);
}

/* The words of BATCH blocks from `block` on, one array a word. */
ALWAYS_INLINE void draw(uint64_t key, uint64_t block, uint32_t words[4][BATCH])
{
    for (int i = 0; i < BATCH; i++) {
        zrt__philox counter = {{(uint32_t)(block + (uint64_t)i), (uint32_t)((block + (uint64_t)i) >> 32), 0, 0}};
        counter = zrt__philox4x32(counter, (uint32_t)key, (uint32_t)(key >> 32));
        for (int w = 0; w < 4; w++)
            words[w][i] = counter.x[w];
    }
}

/* Box-Muller; the radius draws 32 bits, so that tails reach 6.7. */
ALWAYS_INLINE void normal_batch(uint64_t key, uint64_t block, float out[BATCH * 4])
{
    uint32_t words[4][BATCH];

    draw(key, block, words);
    for (int pair = 0; pair < 2; pair++) {
        for (int i = 0; i < BATCH; i++) {
            float u = (float)(int32_t)(words[2 * pair][i] >> 1) * 0x1p-31f + 0x1p-32f;
            float radius = sqrtf(-2.0f * log_of(u)), c, s;
            direction(words[2 * pair + 1][i], &c, &s);
            out[4 * i + 2 * pair] = radius * c;
            out[4 * i + 2 * pair + 1] = radius * s;
        }
    }
}

ALWAYS_INLINE void uniform_batch(uint64_t key, uint64_t block, float out[BATCH * 4])
{
    uint32_t words[4][BATCH];

    draw(key, block, words);
    for (int w = 0; w < 4; w++)
        for (int i = 0; i < BATCH; i++)
            out[4 * i + w] = (float)(int32_t)(words[w][i] >> 8) * 0x1p-23f - 1.0f;
}

typedef void batch_fn(uint64_t key, uint64_t block, float out[BATCH * 4]);

static void normal_portable(uint64_t key, uint64_t block, float out[BATCH * 4])
{
    normal_batch(key, block, out);
}

static void uniform_portable(uint64_t key, uint64_t block, float out[BATCH * 4])
{
    uniform_batch(key, block, out);
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) static void normal_avx2(uint64_t key, uint64_t block, float out[BATCH * 4])
{
    normal_batch(key, block, out);
}

__attribute__((target("avx2"))) static void uniform_avx2(uint64_t key, uint64_t block, float out[BATCH * 4])
{
    uniform_batch(key, block, out);
}

#endif

/* Element i is word i % 4 of block i / 4. Whole batches are written in place, the ends through a buffer. */
static void fill(batch_fn *batch, uint64_t key, uint64_t first, size_t n, float *out)
{
    float buffer[BATCH * 4];

    while (n > 0) {
        size_t skip = (size_t)(first % 4), count = BATCH * 4 - skip;
        if (skip == 0 && n >= count) {
            batch(key, first / 4, out);
        } else {
            count = count < n ? count : n;
            batch(key, first / 4, buffer);
            memcpy(out, buffer + skip, count * sizeof *out);
        }
        first += count;
        out += count;
        n -= count;
    }
}

void zrt__random_normal_portable(uint64_t key, uint64_t first, size_t n, float *out)
{
    fill(normal_portable, key, first, n, out);
}

void zrt__random_normal(uint64_t key, uint64_t first, size_t n, float *out)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        fill(normal_avx2, key, first, n, out);
        return;
    }
#endif
    fill(normal_portable, key, first, n, out);
}

void zrt__random_uniform(uint64_t key, uint64_t first, size_t n, float *out)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        fill(uniform_avx2, key, first, n, out);
        return;
    }
#endif
    fill(uniform_portable, key, first, n, out);
}

uint64_t zrt__permute(uint64_t key, uint64_t n, uint64_t i)
{
    unsigned half_bits = 1;
    uint64_t mask;

    /* A Feistel network permutes [0, 4^half_bits), the least such range that holds n; an image beyond n is walked on
     * from until one falls within it, at most four steps on average. */
    while (half_bits < 32 && (uint64_t)1 << (2 * half_bits) < n)
        half_bits++;
    mask = ((uint64_t)1 << half_bits) - 1;
    do {
        uint64_t left = i >> half_bits, right = i & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t next = left ^ (zrt__hash_mix(key + round, right) & mask);
            left = right;
            right = next;
        }
        i = left << half_bits | right;
    } while (i >= n);
    return i;
}
