/* Element types and the view of a tensor that kernels and users' own ops are given. */
#ifndef ZERORT_TENSOR_H
#define ZERORT_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZRT_MAX_DIMS 5

typedef enum zrt_dtype {
    ZRT_FLOAT32 = 0,
    ZRT_FLOAT16 = 1,
    ZRT_BFLOAT16 = 2,
    ZRT_FLOAT64 = 3,
    ZRT_INT32 = 4,
    ZRT_INT64 = 5,
    ZRT_UINT8 = 6
} zrt_dtype;

/* Bytes of one element. Local. */
ZRT_EXPORT size_t zrt_dtype_bytes(zrt_dtype dtype);

/* "fp32", "fp16", "bf16", "fp64", "int32", "int64", "uint8". Local. Lends a static string. */
ZRT_EXPORT const char *zrt_dtype_name(zrt_dtype dtype);

/* A dense row-major tensor in the memory of a device. It owns nothing. `data` is NULL where an optional
 * operand is absent. */
typedef struct zrt_view {
    void *data;
    zrt_dtype dtype;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
} zrt_view;

/* Number of elements. Local. */
ZRT_EXPORT int64_t zrt_view_elements(const zrt_view *view);

#ifdef __cplusplus
}
#endif
#endif
