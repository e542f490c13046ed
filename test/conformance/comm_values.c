#include "config.h"

#include "conformance/comm_values.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

static double draw(uint64_t seed, int rank, size_t i)
{
    uint64_t bits = (seed * 1000003u + (uint64_t)rank * 7919u + i + 1) * 0x9E3779B97F4A7C15u;
    bits = (bits ^ (bits >> 29)) * 0xBF58476D1CE4E5B9u;
    return (double)(int64_t)(bits >> 11) * 0x1p-52 - 1.0;
}

static void store(void *data, size_t i, zrt_dtype dtype, double x)
{
    switch (dtype) {
    case ZRT_FLOAT32:
        ((float *)data)[i] = (float)x;
        break;
    case ZRT_FLOAT16:
        ((uint16_t *)data)[i] = zrt__float_to_fp16((float)x);
        break;
    case ZRT_BFLOAT16:
        ((uint16_t *)data)[i] = zrt__float_to_bf16((float)x);
        break;
    case ZRT_FLOAT64:
        ((double *)data)[i] = x;
        break;
    case ZRT_INT32:
        ((int32_t *)data)[i] = (int32_t)(x * 1e6);
        break;
    case ZRT_INT64:
        ((int64_t *)data)[i] = (int64_t)(x * 1e15);
        break;
    case ZRT_UINT8:
        ((uint8_t *)data)[i] = (uint8_t)((x + 1.0) * 16.0);
        break;
    }
}

void comm_value(void *out, uint64_t seed, int rank, size_t i, zrt_dtype dtype)
{
    store(out, 0, dtype, draw(seed, rank, i));
}

static float widen(comm_number x, zrt_dtype dtype)
{
    return dtype == ZRT_FLOAT16 ? zrt__fp16_to_float(x.u16) : dtype == ZRT_BFLOAT16 ? zrt__bf16_to_float(x.u16) : x.f;
}

void comm_reduced(void *out, uint64_t seed, int size, size_t i, zrt_dtype dtype, zrt__reduce_op op)
{
    bool half = dtype == ZRT_FLOAT16 || dtype == ZRT_BFLOAT16, average = op == ZRT__REDUCE_AVERAGE;
    comm_number sum = {0}, x = {0};
    float wide = 0;
    for (int r = 0; r < size; r++) {
        comm_value(&x, seed, r, i, dtype);
        float w = half ? widen(x, dtype) : 0;
        if (r == 0) {
            sum = x;
            wide = w;
        } else if (half) {
            wide = op == ZRT__REDUCE_MAX ? (w > wide ? w : wide) : wide + w;
        } else if (dtype == ZRT_FLOAT32) {
            sum.f = op == ZRT__REDUCE_MAX ? (x.f > sum.f ? x.f : sum.f) : sum.f + x.f;
        } else if (dtype == ZRT_FLOAT64) {
            sum.d = op == ZRT__REDUCE_MAX ? (x.d > sum.d ? x.d : sum.d) : sum.d + x.d;
        } else if (dtype == ZRT_INT32) {
            sum.i32 = op == ZRT__REDUCE_MAX ? (x.i32 > sum.i32 ? x.i32 : sum.i32) : sum.i32 + x.i32;
        } else if (dtype == ZRT_INT64) {
            sum.i64 = op == ZRT__REDUCE_MAX ? (x.i64 > sum.i64 ? x.i64 : sum.i64) : sum.i64 + x.i64;
        } else {
            sum.u8 = op == ZRT__REDUCE_MAX ? (x.u8 > sum.u8 ? x.u8 : sum.u8) : (uint8_t)(sum.u8 + x.u8);
        }
    }
    if (half)
        store(&sum, 0, dtype, average ? wide / (float)size : wide);
    else if (average && dtype == ZRT_FLOAT32)
        sum.f /= (float)size;
    else if (average)
        sum.d /= (double)size;
    memcpy(out, &sum, zrt_dtype_bytes(dtype));
}

static double as_double(comm_number x, zrt_dtype dtype)
{
    return dtype == ZRT_FLOAT64 ? x.d
           : dtype == ZRT_INT32 ? x.i32
           : dtype == ZRT_INT64 ? (double)x.i64
           : dtype == ZRT_UINT8 ? x.u8
                                : (double)widen(x, dtype);
}

bool comm_equal(const comm_case *t, int size, bool rings, comm_number want, const char *data)
{
    comm_number got = {0};
    size_t bytes = zrt_dtype_bytes(t->dtype);
    memcpy(&got, data, bytes);
    if (memcmp(&want, &got, bytes) == 0)
        return true;
    double unit = t->dtype == ZRT_BFLOAT16  ? 0x1p-8
                  : t->dtype == ZRT_FLOAT16 ? 0x1p-11
                  : t->dtype == ZRT_FLOAT32 ? 0x1p-24
                  : t->dtype == ZRT_FLOAT64 ? 0x1p-53
                                            : 0;
    bool reduces = t->kind == REDUCE_SCATTER || t->kind == ALL_REDUCE;
    double difference = as_double(want, t->dtype) - as_double(got, t->dtype);
    return rings && reduces && fabs(difference) <= 2.0 * unit * size * size;
}
