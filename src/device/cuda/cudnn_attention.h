/* Attention by cuDNN, where it takes it: fp16 and bf16, all queries of a row, causal or not, grouped queries. */
#ifndef ZRT_DEVICE_CUDA_CUDNN_ATTENTION_H
#define ZRT_DEVICE_CUDA_CUDNN_ATTENTION_H

#include "device/cuda/cuda_device.h"
#include "device/kernels.h"

typedef struct zrt__cudnn_attention zrt__cudnn_attention;

#ifdef ZRT_HAVE_CUDNN

/* Loads cuDNN; *attention_out is NULL, and a warning is logged, where it is missing: attention then has kernels of its own.
 * Errors are the device's. The device must outlive it. */
zrt_status zrt__cudnn_attention_create(zrt__cuda_device *device, zrt__cudnn_attention **attention_out);
void zrt__cudnn_attention_destroy(zrt__cudnn_attention **attention);

/* Makes ready, once a shape, what a call of attention_forward or attention_backward needs; what the operands hold is not read.
 * `attention` may be NULL. Not to be called while anything runs: it may take memory. */
zrt_status zrt__cudnn_attention_prepare(zrt__cudnn_attention *attention, const zrt__call *call, bool backward);

/* Enqueues attention_forward or attention_backward. *taken_out false: cuDNN has nothing for it, and nothing was enqueued.
 * `attention` may be NULL. */
zrt_status zrt__cudnn_attention_run(zrt__cudnn_attention *attention, zrt__stream *stream, const zrt__call *call,
                                    bool backward, bool *taken_out);

/* Device memory that it holds, beside what cuDNN takes for itself. */
size_t zrt__cudnn_attention_bytes(const zrt__cudnn_attention *attention);

#else

static inline zrt_status zrt__cudnn_attention_create(zrt__cuda_device *device, zrt__cudnn_attention **attention_out)
{
    (void)device;
    *attention_out = NULL;
    return ZRT_OK;
}
static inline void zrt__cudnn_attention_destroy(zrt__cudnn_attention **attention)
{
    (void)attention;
}
static inline zrt_status zrt__cudnn_attention_prepare(zrt__cudnn_attention *attention, const zrt__call *call,
                                                      bool backward)
{
    (void)attention;
    (void)call;
    (void)backward;
    return ZRT_OK;
}
static inline zrt_status zrt__cudnn_attention_run(zrt__cudnn_attention *attention, zrt__stream *stream,
                                                  const zrt__call *call, bool backward, bool *taken_out)
{
    (void)attention;
    (void)stream;
    (void)call;
    (void)backward;
    *taken_out = false;
    return ZRT_OK;
}
static inline size_t zrt__cudnn_attention_bytes(const zrt__cudnn_attention *attention)
{
    (void)attention;
    return 0;
}

#endif
#endif
