/* Conformance of a backend's kernels: each is compared with plain double-precision loops, its gradients with finite
 * differences of those, over dtypes, odd shapes, absent operands, accumulation and in-place variants. */
#ifndef ZRT_TEST_KERNEL_SUITE_H
#define ZRT_TEST_KERNEL_SUITE_H

#include "device/kernels.h"

/* Runs everything against the kernels; `device` opens with 1 and with 3 threads, and both must give the same bits.
 * Reports by TAP. */
void kernel_suite_run(const zrt__device_ops *device, const zrt__kernel_ops *kernels);

/* ---- for the files of the suite ---- */

typedef struct suite_operand {
    zrt_view view;  /* data: host memory in the operand's dtype; NULL when absent */
    double *values; /* the same, exactly, as double (not of u8) */
    int64_t n;
    int alias; /* of an output: the input whose memory it takes; -1: its own */
} suite_operand;

typedef struct suite_case {
    suite_operand in[ZRT__MAX_INPUTS], out[ZRT__MAX_OUTPUTS];
    uint32_t accumulate;
    zrt__attributes attributes;
    zrt_status status; /* of the last run */
} suite_case;

typedef struct suite {
    const zrt__device_ops *ops;
    const zrt__kernel_ops *kernels;
    zrt__device *devices[2];
    zrt__stream *streams[2];
    uint64_t random;
} suite;

/* What one rounding to the dtype loses, and the fp32 sums before it: 2 u + 4e-6, where u = 2^-24, 2^-11, 2^-8. */
double suite_tolerance(zrt_dtype dtype);
double suite_uniform(suite *s); /* in [-1, 1) */
int suite_below(suite *s, int n);

/* Operands. A scale of 0 fills with zeros. */
double *suite_in(suite *s, suite_case *c, int index, zrt_dtype dtype, double scale, int n_dims, const int64_t *dims);
double *suite_out(suite *s, suite_case *c, int index, zrt_dtype dtype, double scale, int n_dims, const int64_t *dims);
void suite_set(suite_operand *o, const double *values); /* rounds to the dtype; values follow what was stored */
void suite_state(suite_operand *o, const zrt__step_state *state, size_t bytes);
void suite_alias(suite_case *c, int out, int in);
void suite_free(suite_case *c);

/* Runs on both devices; out[].values are the results. False, with a diagnostic, when it fails or bits differ. */
bool suite_run(suite *s, suite_case *c, zrt__kernel kernel);

/* An activation and its derivative. */
double suite_activation(zrt_activation_kind kind, double x);
double suite_activation_slope(zrt_activation_kind kind, double x);

/* |got - expected| <= tolerance (|expected| + root mean square of expected), everywhere; one subnormal step of fp16
 * more where the tolerance is that of 16 bits */
bool suite_near(const double *got, const double *expected, int64_t n, double tolerance, const char *what);

/* Gradient of sum(weights * f(in)) in in[which], by central differences, against `got` less `added` (NULL: nothing).
 * At most 80 elements are compared when there are more. */
typedef void suite_function(const suite_case *c, double *const *in, double *out);
bool suite_gradient(suite *s, const suite_case *c, suite_function *f, double **in, int which, int64_t n,
                    const double *weights, int64_t n_out, const double *got, const double *added, double tolerance,
                    const char *what);

void suite_linear(suite *s);
void suite_elementwise(suite *s);
void suite_norms(suite *s);
void suite_tables(suite *s); /* embedding, rope, cross entropy, last position */
void suite_attention(suite *s);
void suite_dropout(suite *s);
void suite_flat(suite *s);
void suite_steps(suite *s); /* scalars of a step and update rules */

static const zrt_dtype suite_dtypes[] = {ZRT_FLOAT32, ZRT_FLOAT16, ZRT_BFLOAT16};
#define SUITE_DIMS(...) \
    (const int64_t[])   \
    {                   \
        __VA_ARGS__     \
    }

#endif
