#include "config.h"

#include "comm/mpi/sum.h"

#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"

enum { BLOCK = 2048 }; /* elements that are summed at a time: they stay in the first-level cache */

zrt_status zrt__sum_check(zrt_dtype dtype, zrt__reduce_op op)
{
    bool whole = dtype == ZRT_INT32 || dtype == ZRT_INT64 || dtype == ZRT_UINT8;
    if (op == ZRT__REDUCE_AVERAGE && whole)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "an average of %s over ranks is not a whole number: sum instead",
                         zrt_dtype_name(dtype));
    return ZRT_OK;
}

/* One block in an accumulator of its own, so that `out` may be one of the parts and the loops still vectorise. Integers wrap:
 * they are added without sign. */
#define SUM_BLOCK(name, type, unsigned_type, larger)                                                             \
    static void name(type *restrict sum, const char *const *parts, size_t offset, int n, size_t count, bool add) \
    {                                                                                                            \
        memcpy(sum, parts[0] + offset * sizeof(type), count * sizeof(type));                                     \
        for (int p = 1; p < n; p++) {                                                                            \
            const type *restrict part = (const type *)(const void *)(parts[p] + offset * sizeof(type));          \
            if (add)                                                                                             \
                for (size_t i = 0; i < count; i++)                                                               \
                    sum[i] = (type)((unsigned_type)sum[i] + (unsigned_type)part[i]);                             \
            else                                                                                                 \
                for (size_t i = 0; i < count; i++)                                                               \
                    sum[i] = larger(part[i], sum[i]) ? part[i] : sum[i];                                         \
        }                                                                                                        \
    }

#define LARGER(a, b) ((a) > (b))
#define LARGER_OR_NAN(a, b) ((a) > (b) || (a) != (a))
SUM_BLOCK(sum_fp32, float, float, LARGER_OR_NAN)
SUM_BLOCK(sum_fp64, double, double, LARGER_OR_NAN)
SUM_BLOCK(sum_int32, int32_t, uint32_t, LARGER)
SUM_BLOCK(sum_int64, int64_t, uint64_t, LARGER)
SUM_BLOCK(sum_uint8, uint8_t, unsigned, LARGER)

static void divide_fp32(float *x, size_t count, float n)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= n;
}

static void divide_fp64(double *x, size_t count, double n)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= n;
}

/* 16-bit parts are widened block by block. */
static void sum_16(float *restrict sum, const char *const *parts, size_t offset, int n, size_t count, zrt_dtype dtype,
                   bool add)
{
    _Alignas(64) float wide[BLOCK];
    zrt__convert(sum, ZRT_FLOAT32, parts[0] + offset * 2, dtype, count);
    for (int p = 1; p < n; p++) {
        zrt__convert(wide, ZRT_FLOAT32, parts[p] + offset * 2, dtype, count);
        if (add)
            for (size_t i = 0; i < count; i++)
                sum[i] += wide[i];
        else
            for (size_t i = 0; i < count; i++)
                sum[i] = LARGER_OR_NAN(wide[i], sum[i]) ? wide[i] : sum[i];
    }
}

void zrt__sum_parts(void *out, const char *const *parts, int n, size_t count, zrt_dtype dtype, zrt__reduce_op op)
{
    _Alignas(64) union {
        float f[BLOCK];
        double d[BLOCK];
        int32_t i32[BLOCK];
        int64_t i64[BLOCK];
        uint8_t u8[BLOCK];
    } sum;
    bool add = op != ZRT__REDUCE_MAX, average = op == ZRT__REDUCE_AVERAGE;
    size_t bytes = zrt_dtype_bytes(dtype);
    for (size_t at = 0; at < count; at += BLOCK) {
        size_t m = count - at < BLOCK ? count - at : BLOCK;
        char *to = (char *)out + at * bytes;
        switch (dtype) {
        case ZRT_FLOAT32:
            sum_fp32(sum.f, parts, at, n, m, add);
            if (average)
                divide_fp32(sum.f, m, (float)n);
            break;
        case ZRT_FLOAT16:
        case ZRT_BFLOAT16:
            sum_16(sum.f, parts, at, n, m, dtype, add);
            if (average)
                divide_fp32(sum.f, m, (float)n);
            zrt__convert(to, dtype, sum.f, ZRT_FLOAT32, m);
            continue;
        case ZRT_FLOAT64:
            sum_fp64(sum.d, parts, at, n, m, add);
            if (average)
                divide_fp64(sum.d, m, (double)n);
            break;
        case ZRT_INT32:
            sum_int32(sum.i32, parts, at, n, m, add);
            break;
        case ZRT_INT64:
            sum_int64(sum.i64, parts, at, n, m, add);
            break;
        case ZRT_UINT8:
            sum_uint8(sum.u8, parts, at, n, m, add);
            break;
        }
        memcpy(to, &sum, m * bytes);
    }
}
