/* Matrix products by cuBLASLt, with descriptors and algorithms kept by shape. */
#ifndef ZRT_DEVICE_CUDA_CUDA_BLAS_H
#define ZRT_DEVICE_CUDA_CUDA_BLAS_H

#include "device/cuda/cuda_device.h"

/* C [rows, columns] = A B (+ what is there); A is [rows, inner], or its transpose is stored; B likewise. Row-major. */
typedef enum zrt__cuda_epilogue {
    ZRT__CUDA_PLAIN,
    ZRT__CUDA_GELU, /* C = gelu(h), aux = h where it is wanted; h: what C would be; by tanh */
    ZRT__CUDA_DGELU /* C = what C would be times gelu'(aux) */
} zrt__cuda_epilogue;

typedef struct zrt__cuda_product {
    const void *a, *b;
    void *c;
    zrt_dtype a_dtype, b_dtype, c_dtype;
    bool trans_a, trans_b;
    int64_t rows, columns, inner;
    const void *bias; /* [columns] of c_dtype, or NULL */
    const void *add;  /* [rows, columns] of c_dtype, or NULL; may be c */
    bool accumulate;
    zrt__cuda_epilogue epilogue;
    void *aux; /* [rows, columns] of c_dtype */
} zrt__cuda_product;

zrt_status zrt__cuda_blas_create(zrt__cuda_device *device, zrt__cuda_blas **blas_out);
void zrt__cuda_blas_destroy(zrt__cuda_blas **blas);
/* In stream order; uses the stream's scratch memory. Where the library has no algorithm: ZRT_ERR_NOT_SUPPORTED, without a
 * message and with nothing done, if an epilogue was asked for; with one otherwise. */
zrt_status zrt__cuda_multiply(zrt__stream *stream, const zrt__cuda_product *product);

#endif
