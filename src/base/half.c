#include "config.h"

#include "base/half.h"

/* Every version of a loop gives the same bits, NaN included, so that a result does not tell the processor. */

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { CHUNK = 512 }; /* elements that wait as fp32 between two other types */

ALWAYS_INLINE float fp16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 0x3FFu, bits;
    float f;

    if (exponent == 31) {
        bits = 0x7F800000u | mantissa << 13 | (mantissa != 0 ? 0x400000u : 0);
    } else if (exponent == 0) {
        f = (float)(int32_t)mantissa * 0x1p-24f;
        memcpy(&bits, &f, sizeof bits);
    } else {
        bits = (exponent + 112) << 23 | mantissa << 13;
    }
    bits |= sign;
    memcpy(&f, &bits, sizeof f);
    return f;
}

ALWAYS_INLINE uint16_t float_to_fp16(float f)
{
    uint32_t bits, magnitude, h;

    memcpy(&bits, &f, sizeof bits);
    magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        h = 0x7E00u | ((magnitude >> 13) & 0x3FFu);
    } else if (magnitude >= 0x477FF000u) { /* 65520 and more round to infinity */
        h = 0x7C00u;
    } else if (magnitude < 0x38800000u) { /* below 2^-14: the addition rounds at 2^-24 */
        memcpy(&f, &magnitude, sizeof f);
        f += 0.5f;
        memcpy(&h, &f, sizeof h);
        h -= 0x3F000000u;
    } else {
        h = (magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
    }
    return (uint16_t)((bits >> 16 & 0x8000u) | h);
}

float zrt__fp16_to_float(uint16_t h)
{
    return fp16_to_float(h);
}

uint16_t zrt__float_to_fp16(float f)
{
    return float_to_fp16(f);
}

ALWAYS_INLINE void read_fp16(float *restrict dst, const uint16_t *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = fp16_to_float(src[i]);
}

ALWAYS_INLINE void write_fp16(uint16_t *restrict dst, const float *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = float_to_fp16(src[i]);
}

ALWAYS_INLINE void read_bf16(float *restrict dst, const uint16_t *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = zrt__bf16_to_float(src[i]);
}

ALWAYS_INLINE void write_bf16(uint16_t *restrict dst, const float *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = zrt__float_to_bf16(src[i]);
}

ALWAYS_INLINE void read_fp64(float *restrict dst, const double *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)src[i];
}

ALWAYS_INLINE void write_fp64(double *restrict dst, const float *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i];
}

/* Loops from and to fp32. */
typedef struct converter {
    void (*read[4])(float *dst, const void *src, size_t n);
    void (*write[4])(void *dst, const float *src, size_t n);
} converter;

static void read_copy(float *dst, const void *src, size_t n)
{
    memmove(dst, src, n * sizeof *dst);
}

static void write_copy(void *dst, const float *src, size_t n)
{
    memmove(dst, src, n * sizeof *src);
}

/* The functions of one instruction set and the table of them. */
#define CONVERTER(isa, attributes, read_16, write_16)                                \
    attributes static void read_fp16_##isa(float *dst, const void *src, size_t n)    \
    {                                                                                \
        read_16(dst, src, n);                                                        \
    }                                                                                \
    attributes static void write_fp16_##isa(void *dst, const float *src, size_t n)   \
    {                                                                                \
        write_16(dst, src, n);                                                       \
    }                                                                                \
    attributes static void read_bf16_##isa(float *dst, const void *src, size_t n)    \
    {                                                                                \
        read_bf16(dst, src, n);                                                      \
    }                                                                                \
    attributes static void write_bf16_##isa(void *dst, const float *src, size_t n)   \
    {                                                                                \
        write_bf16(dst, src, n);                                                     \
    }                                                                                \
    attributes static void read_fp64_##isa(float *dst, const void *src, size_t n)    \
    {                                                                                \
        read_fp64(dst, src, n);                                                      \
    }                                                                                \
    attributes static void write_fp64_##isa(void *dst, const float *src, size_t n)   \
    {                                                                                \
        write_fp64(dst, src, n);                                                     \
    }                                                                                \
    static const converter converter_##isa = {                                       \
        .read = {read_copy, read_fp16_##isa, read_bf16_##isa, read_fp64_##isa},      \
        .write = {write_copy, write_fp16_##isa, write_bf16_##isa, write_fp64_##isa}, \
    }

CONVERTER(portable, , read_fp16, write_fp16);

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET_AVX2 __attribute__((target("avx2,f16c")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))

TARGET_AVX2 static inline void read_fp16_f16c(float *restrict dst, const uint16_t *restrict src, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i))));
    read_fp16(dst + i, src + i, n - i);
}

TARGET_AVX2 static inline void write_fp16_f16c(uint16_t *restrict dst, const float *restrict src, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(dst + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    write_fp16(dst + i, src + i, n - i);
}

TARGET_AVX512 static inline void read_fp16_zmm(float *restrict dst, const uint16_t *restrict src, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(dst + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(src + i))));
    read_fp16(dst + i, src + i, n - i);
}

TARGET_AVX512 static inline void write_fp16_zmm(uint16_t *restrict dst, const float *restrict src, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(dst + i),
                            _mm512_cvtps_ph(_mm512_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    write_fp16(dst + i, src + i, n - i);
}

CONVERTER(avx2, TARGET_AVX2, read_fp16_f16c, write_fp16_f16c);
CONVERTER(avx512, TARGET_AVX512, read_fp16_zmm, write_fp16_zmm);

#endif

/* Every processor with AVX2 has F16C, which clang's builtin does not know. */
static const converter *best_converter(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return &converter_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &converter_avx2;
#endif
    return &converter_portable;
}

static void convert(const converter *with, void *dst, zrt_dtype dst_dtype, const void *src, zrt_dtype src_dtype,
                    size_t n)
{
    size_t dst_bytes = zrt_dtype_bytes(dst_dtype), src_bytes = zrt_dtype_bytes(src_dtype);

    if (dst_dtype == src_dtype) {
        memmove(dst, src, n * dst_bytes);
    } else if (dst_dtype == ZRT_FLOAT32) {
        with->read[src_dtype](dst, src, n);
    } else if (src_dtype == ZRT_FLOAT32) {
        with->write[dst_dtype](dst, src, n);
    } else {
        float chunk[CHUNK];
        for (size_t i = 0; i < n; i += CHUNK) {
            size_t count = n - i < CHUNK ? n - i : CHUNK;
            with->read[src_dtype](chunk, (const char *)src + i * src_bytes, count);
            with->write[dst_dtype]((char *)dst + i * dst_bytes, chunk, count);
        }
    }
}

void zrt__convert(void *dst, zrt_dtype dst_dtype, const void *src, zrt_dtype src_dtype, size_t n)
{
    convert(best_converter(), dst, dst_dtype, src, src_dtype, n);
}

bool zrt__convert_by(const char *isa, void *dst, zrt_dtype dst_dtype, const void *src, zrt_dtype src_dtype, size_t n)
{
    const converter *with = NULL;

    if (strcmp(isa, "portable") == 0)
        with = &converter_portable;
#if defined(__x86_64__)
    if (strcmp(isa, "avx2") == 0 && __builtin_cpu_supports("avx2"))
        with = &converter_avx2;
    if (strcmp(isa, "avx512") == 0 && best_converter() == &converter_avx512)
        with = &converter_avx512;
#endif
    if (with != NULL)
        convert(with, dst, dst_dtype, src, src_dtype, n);
    return with != NULL;
}
