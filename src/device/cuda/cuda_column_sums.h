/* out [width] = (or +=) the sums down the columns of x [rows, width]. */
#ifndef ZRT_DEVICE_CUDA_CUDA_COLUMN_SUMS_H
#define ZRT_DEVICE_CUDA_CUDA_COLUMN_SUMS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "device/cuda/cuda_device.h"

zrt_status zrt__cuda_column_sums(zrt__stream *stream, const zrt_view *x, const zrt_view *out, bool accumulate);

#ifdef __cplusplus
}
#endif

#endif
