/* What the pretended NCCL has seen. */
#ifndef ZRT_TEST_CUDA_PRETENDED_NCCL_H
#define ZRT_TEST_CUDA_PRETENDED_NCCL_H

typedef struct pretended_counts {
    int zero_cta_gathers;     /* all-gathers of windows of a zero-CTA communicator */
    int symmetric_reductions; /* reduce-scatters of windows of their own communicator */
    int aborts;
} pretended_counts;

typedef enum pretended_fault {
    PRETENDED_NOTHING,
    PRETENDED_HANG,   /* the rank never connects */
    PRETENDED_REFUSE, /* connecting fails there */
    PRETENDED_BREAK,  /* its collectives hang, and the asynchronous error says so */
} pretended_fault;

pretended_counts pretended_get_counts(void);
/* Of new communicators and collectives. */
void pretended_set_fault(pretended_fault kind, int rank);

#endif
