#include "config.h"

#include <zerort/tensor.h>

size_t zrt_dtype_bytes(zrt_dtype dtype)
{
    switch (dtype) {
    case ZRT_FLOAT64:
    case ZRT_INT64:
        return 8;
    case ZRT_FLOAT32:
    case ZRT_INT32:
        return 4;
    case ZRT_FLOAT16:
    case ZRT_BFLOAT16:
        return 2;
    case ZRT_UINT8:
        return 1;
    }
    return 0;
}

const char *zrt_dtype_name(zrt_dtype dtype)
{
    switch (dtype) {
    case ZRT_FLOAT32:
        return "fp32";
    case ZRT_FLOAT16:
        return "fp16";
    case ZRT_BFLOAT16:
        return "bf16";
    case ZRT_FLOAT64:
        return "fp64";
    case ZRT_INT32:
        return "int32";
    case ZRT_INT64:
        return "int64";
    case ZRT_UINT8:
        return "uint8";
    }
    return "unknown";
}

int64_t zrt_view_elements(const zrt_view *view)
{
    int64_t n = 1;

    for (int i = 0; i < view->n_dims; i++)
        n *= view->dims[i];
    return n;
}
