/* Matrix products of the CPU beside OpenBLAS's in the same run, one thread each, in the shapes of GPT-2 124M with 256
 * tokens. One JSON line a case: floating-point operations a second. Where OpenBLAS is not installed its rate is left out.
 *
 *   benchmarks/products [SECONDS_EACH] */
#include "config.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/half.h"
#include "device/kernels.h"

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                      const float *b, int ldb, float beta, float *c, int ldc);

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112, N_RUNS_MAX = 1000 };

typedef struct bench {
    zrt__device *device;
    zrt__stream *stream;
    sgemm_fn *sgemm; /* NULL: not there */
    double seconds;
} bench;

typedef struct bench_case {
    const char *name;
    zrt__launch_fn *fn;
    bool trans_a, trans_b, swapped; /* of C = A B for the peer; swapped: B comes first in the call */
    int64_t rows, columns, inner;
    zrt__call call;
} bench_case;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static zrt_view matrix(const bench *b, zrt_dtype dtype, int64_t rows, int64_t columns)
{
    size_t n = (size_t)(rows * columns);
    zrt_view v = {.dtype = dtype, .n_dims = 2, .dims = {rows, columns}};
    float *values = malloc(n * sizeof *values);
    if (values == NULL ||
        zrt__device_cpu_ops.allocate(b->device, ZRT__MEMORY_DEVICE, n * zrt_dtype_bytes(dtype), &v.data) != ZRT_OK) {
        fprintf(stderr, "products: out of memory\n");
        exit(1);
    }
    uint32_t random = 1;
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)random * (1.0f / 2147483648.0f);
    }
    zrt__convert(v.data, dtype, values, ZRT_FLOAT32, n);
    free(values);
    return v;
}

static void release(const bench *b, zrt_view *v)
{
    zrt__device_cpu_ops.release(b->device, ZRT__MEMORY_DEVICE, v->data,
                                (size_t)zrt_view_elements(v) * zrt_dtype_bytes(v->dtype));
}

static void ours(const bench *b, const bench_case *c)
{
    if (zrt__device_cpu_ops.launch(b->stream, c->fn, &c->call) != ZRT_OK ||
        zrt__device_cpu_ops.stream_synchronize(b->stream) != ZRT_OK) {
        fprintf(stderr, "products: %s: %s\n", c->name, zrt_error_message());
        exit(1);
    }
}

static void peer(const bench *b, const bench_case *c)
{
    const float *left = c->call.in[c->swapped ? 1 : 0].data, *right = c->call.in[c->swapped ? 0 : 1].data;
    b->sgemm(ROW_MAJOR, c->trans_a ? TRANS : NO_TRANS, c->trans_b ? TRANS : NO_TRANS, (int)c->rows, (int)c->columns,
             (int)c->inner, 1.0f, left, (int)(c->trans_a ? c->rows : c->inner), right,
             (int)(c->trans_b ? c->inner : c->columns), 0.0f, c->call.out[0].data, (int)c->columns);
}

/* Median seconds of a call. */
static double time_of(const bench *b, const bench_case *c, void (*run)(const bench *, const bench_case *))
{
    static double seconds[N_RUNS_MAX];
    int n = 0;
    run(b, c);
    for (double start = now(); n < N_RUNS_MAX && (n < 3 || now() - start < b->seconds); n++) {
        double from = now();
        run(b, c);
        seconds[n] = now() - from;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, ascending);
    return seconds[n / 2];
}

static void measure(const bench *b, const bench_case *c)
{
    double operations = 2e-9 * (double)(c->rows * c->columns * c->inner);
    double rate = operations / time_of(b, c, ours);
    printf("{\"bench\": \"product\", \"case\": \"%s\", \"rows\": %lld, \"columns\": %lld, \"inner\": %lld, "
           "\"dtype\": \"%s\", \"gflop_s\": %.1f",
           c->name, (long long)c->rows, (long long)c->columns, (long long)c->inner, zrt_dtype_name(c->call.in[0].dtype),
           rate);
    if (b->sgemm != NULL && c->call.in[0].dtype == ZRT_FLOAT32) {
        double other = operations / time_of(b, c, peer);
        printf(", \"openblas_gflop_s\": %.1f, \"ratio\": %.2f", other, rate / other);
    }
    printf("}\n");
    fflush(stdout);
}

/* The three products of a linear layer that takes `tokens` rows from n_in to n_out. */
static void layer(const bench *b, zrt_dtype dtype, bool in_out, int64_t tokens, int64_t n_in, int64_t n_out)
{
    const zrt__kernel_ops *k = &zrt__kernel_cpu_ops;
    zrt_view x = matrix(b, dtype, tokens, n_in), y = matrix(b, dtype, tokens, n_out);
    zrt_view w = in_out ? matrix(b, dtype, n_in, n_out) : matrix(b, dtype, n_out, n_in);
    zrt__attributes attributes = {.linear = {.weight_in_out = in_out}};
    bench_case cases[] = {
        {"forward", k->linear_forward, false, !in_out, false, tokens, n_out, n_in, {.in = {x, w}, .out = {y}}},
        {"backward_input",
         k->linear_backward_input,
         false,
         in_out,
         false,
         tokens,
         n_in,
         n_out,
         {.in = {y, w}, .out = {x}}},
        {"backward_weight",
         k->linear_backward_weight,
         true,
         false,
         in_out,
         in_out ? n_in : n_out,
         in_out ? n_out : n_in,
         tokens,
         {.in = {y, x}, .out = {w}}},
    };
    for (int i = 0; i < 3; i++) {
        cases[i].call.attributes = attributes;
        measure(b, &cases[i]);
    }
    release(b, &x);
    release(b, &y);
    release(b, &w);
}

int main(int argc, char **argv)
{
    bench b = {.seconds = argc > 1 ? atof(argv[1]) : 0.3};
    zrt__device_options options = {.n_threads = 1};
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library != NULL)
        *(void **)&b.sgemm = dlsym(library, "cblas_sgemm");
    else
        fprintf(stderr, "products: OpenBLAS is not there (%s): no peer\n", dlerror());
    if (zrt__device_cpu_ops.open(&options, &b.device) != ZRT_OK ||
        zrt__device_cpu_ops.stream_create(b.device, "compute", true, &b.stream) != ZRT_OK) {
        fprintf(stderr, "products: %s\n", zrt_error_message());
        return 1;
    }
    static const zrt_dtype dtypes[] = {ZRT_FLOAT32, ZRT_BFLOAT16, ZRT_FLOAT16};
    for (int t = 0; t < 3; t++) {
        layer(&b, dtypes[t], true, 256, 768, 2304);
        layer(&b, dtypes[t], true, 256, 3072, 768);
        layer(&b, dtypes[t], false, 256, 768, 50304);
    }
    layer(&b, ZRT_FLOAT32, true, 1, 768, 3072);
    layer(&b, ZRT_FLOAT32, false, 1, 768, 50304);
    zrt__device_cpu_ops.stream_destroy(&b.stream);
    zrt__device_cpu_ops.close(&b.device);
    return 0;
}
