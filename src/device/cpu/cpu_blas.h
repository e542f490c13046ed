/* OpenBLAS, loaded at run time: which kernels it picks is decided by the environment it is loaded in. */
#ifndef ZRT_DEVICE_CPU_CPU_BLAS_H
#define ZRT_DEVICE_CPU_CPU_BLAS_H

#include <zerort/status.h>

/* cblas_sgemm; the enumerations are ints. */
typedef void zrt__cpu_sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a,
                               int lda, const float *b, int ldb, float beta, float *c, int ldc);

typedef struct zrt__cpu_blas {
    void *library;
    zrt__cpu_sgemm_fn *sgemm;
} zrt__cpu_blas;

/* Errors: ZRT_ERR_DEVICE naming the package to install. */
zrt_status zrt__cpu_blas_open(zrt__cpu_blas *blas_out);
void zrt__cpu_blas_close(zrt__cpu_blas *blas);

#endif
