/* Conversions between fp32 and the 16-bit formats, round to nearest even, as the hardware's. */
#ifndef ZRT_BASE_HALF_H
#define ZRT_BASE_HALF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <zerort/tensor.h>

static inline float zrt__bf16_to_float(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint16_t zrt__float_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u); /* a NaN stays one */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float zrt__fp16_to_float(uint16_t h);
uint16_t zrt__float_to_fp16(float f);

/* n elements between any two of fp32, fp16, bf16, fp64 (through fp32). Vectorised where the processor can. dst == src is allowed for equal sizes. */
void zrt__convert(void *dst, zrt_dtype dst_dtype, const void *src, zrt_dtype src_dtype, size_t n);

/* The same by the instructions "portable", "avx2" or "avx512"; false where the processor lacks them. The tests compare them. */
bool zrt__convert_by(const char *isa, void *dst, zrt_dtype dst_dtype, const void *src, zrt_dtype src_dtype, size_t n);

#endif
