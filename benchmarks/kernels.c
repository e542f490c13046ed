/* Rates of the CPU's kernels, one JSON line each: bytes a second beside a memory copy of the same machine, floating-point operations
 * a second for attention. kernels [THREADS [SECONDS_EACH]] */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/kernels.h"

#define N_RUNS_MAX 200

typedef struct bench {
    zrt__device *device;
    zrt__stream *stream;
    int n_threads;
    double seconds, copy_rate;
    void *memory[12];
    size_t bytes[12];
    int n_memory;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A view of new memory with values in (-1, 1). */
static zrt_view view(bench *b, zrt_dtype dtype, int64_t rows, int64_t columns, int64_t more)
{
    zrt_view v = {.dtype = dtype, .n_dims = more > 0 ? 3 : 2, .dims = {rows, columns, more}};
    size_t bytes = (size_t)zrt_view_elements(&v) * zrt_dtype_bytes(dtype);
    if (zrt__device_cpu_ops.allocate(b->device, ZRT__MEMORY_DEVICE, bytes, &v.data) != ZRT_OK) {
        fprintf(stderr, "kernels: %s\n", zrt_error_message());
        exit(1);
    }
    uint32_t random = 1;
    for (size_t i = 0; i < (size_t)zrt_view_elements(&v); i++) {
        random = random * 1664525u + 1013904223u;
        float x = (float)(int32_t)random * (1.0f / 2147483648.0f);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (dtype == ZRT_FLOAT32)
            ((float *)v.data)[i] = x;
        else if (dtype == ZRT_BFLOAT16)
            ((uint16_t *)v.data)[i] = (uint16_t)(bits >> 16);
        else if (dtype == ZRT_INT32)
            ((int32_t *)v.data)[i] = (int32_t)(random >> 16) % 1000;
        else if (dtype == ZRT_INT64)
            ((int64_t *)v.data)[i] = (int64_t)i;
    }
    b->memory[b->n_memory] = v.data;
    b->bytes[b->n_memory++] = bytes;
    return v;
}

static void release(bench *b)
{
    while (b->n_memory > 0) {
        b->n_memory--;
        zrt__device_cpu_ops.release(b->device, ZRT__MEMORY_DEVICE, b->memory[b->n_memory], b->bytes[b->n_memory]);
    }
}

static zrt_status copy_kernel(zrt__stream *stream, const void *arg)
{
    (void)stream;
    const zrt__call *call = arg;
    memcpy(call->out[0].data, call->in[0].data,
           (size_t)zrt_view_elements(&call->in[0]) * zrt_dtype_bytes(call->in[0].dtype));
    return ZRT_OK;
}

/* bytes: read and written by one call; operations: 0 where they do not limit. Prints and returns bytes a second. */
static double measure(bench *b, const char *name, const char *shape, zrt_dtype dtype, zrt__launch_fn *fn,
                      const zrt__call *call, double bytes, double operations)
{
    double seconds[N_RUNS_MAX], start = now();
    int n = 0;
    while (n < N_RUNS_MAX && (n < 5 || now() - start < b->seconds)) {
        double from = now();
        if (zrt__device_cpu_ops.launch(b->stream, fn, call) != ZRT_OK ||
            zrt__device_cpu_ops.stream_synchronize(b->stream) != ZRT_OK) {
            fprintf(stderr, "kernels: %s: %s\n", name, zrt_error_message());
            exit(1);
        }
        seconds[n++] = now() - from;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, by_size);
    double median = seconds[n / 2];
    printf("{\"benchmark\": \"kernel\", \"kernel\": \"%s\", \"shape\": \"%s\", \"dtype\": \"%s\", \"threads\": %d, "
           "\"median_s\": %.3e, "
           "\"fastest_s\": %.3e, \"slowest_s\": %.3e",
           name, shape, zrt_dtype_name(dtype), b->n_threads, median, seconds[0], seconds[n - 1]);
    if (operations > 0.0)
        printf(", \"gflop_per_s\": %.1f}\n", operations / median * 1e-9);
    else
        printf(", \"gb_per_s\": %.2f, \"of_copy\": %.2f}\n", bytes / median * 1e-9,
               b->copy_rate > 0.0 ? bytes / median / b->copy_rate : 1.0);
    fflush(stdout);
    return bytes / median;
}

static void flat(bench *b, zrt_dtype dtype)
{
    const zrt__kernel_ops *k = &zrt__kernel_cpu_ops;
    const int64_t n = 1 << 24, width = 768, rows = n / width;
    double size = (double)zrt_dtype_bytes(dtype), count = (double)(rows * width);
    zrt__step_state state = {.update_scale = 1.0f, .learning_rate = 1e-4f, .unskipped = 1, .loss_scale = 1.0};
    zrt_view a = view(b, dtype, rows, width, 0), c = view(b, dtype, rows, width, 0), d = view(b, dtype, rows, width, 0);
    zrt_view w = view(b, dtype, 1, width, 0), mean = view(b, ZRT_FLOAT32, rows, 1, 0),
             rstd = view(b, ZRT_FLOAT32, rows, 1, 0);
    zrt_view dw = view(b, ZRT_FLOAT32, 1, width, 0), db = view(b, ZRT_FLOAT32, 1, width, 0),
             ids = view(b, ZRT_INT64, rows, 1, 0);
    zrt_view sums = view(b, ZRT_FLOAT64, 1, 2, 0),
             step = {.data = &state, .dtype = ZRT_UINT8, .n_dims = 1, .dims = {sizeof state}};
    w.n_dims = dw.n_dims = db.n_dims = 1;
    w.dims[0] = dw.dims[0] = db.dims[0] = width;

    zrt__call copy = {.in = {a}, .out = {c}};
    b->copy_rate = measure(b, "memcpy (one thread)", "16M", dtype, copy_kernel, &copy, 2.0 * count * size, 0.0);
    zrt__call add = {.in = {a, c}, .out = {d}};
    measure(b, "add", "16M", dtype, k->add, &add, 3.0 * count * size, 0.0);
    zrt__call gelu = {.in = {a}, .out = {c}, .attributes.activation.kind = ZRT_GELU_TANH};
    measure(b, "activation_forward gelu_tanh", "16M", dtype, k->activation_forward, &gelu, 2.0 * count * size, 0.0);
    gelu.attributes.activation.kind = ZRT_GELU;
    measure(b, "activation_forward gelu", "16M", dtype, k->activation_forward, &gelu, 2.0 * count * size, 0.0);
    zrt__call gelu_back = {.in = {a, c}, .out = {d}, .attributes.activation.kind = ZRT_GELU_TANH};
    measure(b, "activation_backward gelu_tanh", "16M", dtype, k->activation_backward, &gelu_back, 3.0 * count * size,
            0.0);
    zrt__call norm = {.in = {a, w, w}, .out = {c, mean, rstd}, .attributes.norm.eps = 1e-5f};
    measure(b, "layernorm_forward", "21845 x 768", dtype, k->layernorm_forward, &norm, 2.0 * count * size, 0.0);
    zrt__call norm_back = {.in = {a, c, w, mean, rstd}, .out = {d, dw, db}};
    measure(b, "layernorm_backward", "21845 x 768", dtype, k->layernorm_backward, &norm_back, 3.0 * count * size, 0.0);
    zrt__call drop = {.in = {a, {.data = NULL}, ids, step}, .out = {c}, .attributes.dropout = {0.1f, 1, 1}};
    measure(b, "dropout", "21845 x 768", dtype, k->dropout, &drop, 2.0 * count * size, 0.0);
    zrt__call squares = {.in = {a}, .out = {sums}};
    measure(b, "sum_squares", "16M", dtype, k->sum_squares, &squares, count * size, 0.0);
    release(b);
}

static void update(bench *b, zrt_dtype dtype)
{
    const int64_t n = 1 << 24;
    zrt__step_state state = {.update_scale = 1.0f, .learning_rate = 1e-4f, .unskipped = 1, .loss_scale = 1.0};
    zrt_view g = view(b, dtype, 1, n, 0), p = view(b, ZRT_FLOAT32, 1, n, 0), m = view(b, ZRT_FLOAT32, 1, n, 0),
             v = view(b, ZRT_FLOAT32, 1, n, 0);
    zrt_view step = {.data = &state, .dtype = ZRT_UINT8, .n_dims = 1, .dims = {sizeof state}},
             sums = view(b, ZRT_FLOAT64, 1, 2, 0);
    memset(v.data, 0, (size_t)n * 4);
    zrt__call adamw = {.in = {g, step},
                       .out = {p, m, v},
                       .attributes.optimizer = {.beta1 = 0.9f,
                                                .beta2 = 0.999f,
                                                .eps = 1e-8f,
                                                .weight_decay = 0.01f,
                                                .lr_factor = 1.0f,
                                                .adam_w_mode = true,
                                                .bias_correction = true}};
    measure(b, "adamw", "16M", dtype, zrt__kernel_cpu_ops.adamw, &adamw,
            (double)n * (24.0 + (double)zrt_dtype_bytes(dtype)), 0.0);
    zrt__call reduced = {.in = {g}, .out = {p, sums}, .accumulate = 1};
    measure(b, "gradient_reduced", "16M", dtype, zrt__kernel_cpu_ops.gradient_reduced, &reduced,
            (double)n * (8.0 + (double)zrt_dtype_bytes(dtype)), 0.0);
    release(b);
}

static void losses(bench *b, zrt_dtype dtype)
{
    const int64_t n = 256, width = 50304;
    zrt_view x = view(b, dtype, n, width, 0), labels = view(b, ZRT_INT32, 1, n, 0), lse = view(b, ZRT_FLOAT32, 1, n, 0);
    zrt_view sums = view(b, ZRT_FLOAT64, 1, 2, 0), scale = view(b, ZRT_FLOAT32, 1, 1, 0),
             dx = view(b, dtype, n, width, 0);
    double bytes = (double)(n * width) * (double)zrt_dtype_bytes(dtype);
    zrt__call forward = {.in = {x, labels}, .out = {sums, lse}};
    measure(b, "cross_entropy_forward", "256 x 50304", dtype, zrt__kernel_cpu_ops.cross_entropy_forward, &forward,
            bytes, 0.0);
    zrt__call backward = {.in = {x, labels, lse, scale}, .out = {dx}};
    measure(b, "cross_entropy_backward", "256 x 50304", dtype, zrt__kernel_cpu_ops.cross_entropy_backward, &backward,
            2.0 * bytes, 0.0);
    release(b);
}

/* Causal, 12 heads of 64; operations of the unmasked half alone are counted, backward as five products. */
static void attention(bench *b, zrt_dtype dtype, int64_t length)
{
    const int heads = 12, dim = 64;
    int64_t rows = length <= 256 ? 4 : 1, width = 3 * heads * dim;
    char shape[64];
    snprintf(shape, sizeof shape, "%lld x %lld, 12 heads of 64, causal", (long long)rows, (long long)length);
    zrt_view qkv = view(b, dtype, rows, length, width), o = view(b, dtype, rows, length, heads * dim),
             d_o = view(b, dtype, rows, length, heads * dim);
    zrt_view lse = view(b, ZRT_FLOAT32, rows, heads, length), dqkv = view(b, dtype, rows, length, width);
    zrt__attributes a = {
        .attention = {.n_heads = heads, .n_kv_heads = heads, .head_dim = dim, .causal = true, .scale = 0.125f}};
    double product = 2.0 * (double)(rows * heads * dim) * (double)length * (double)(length + 1) / 2.0;
    zrt__call forward = {.in = {qkv}, .out = {o, lse}, .attributes = a};
    measure(b, "attention_forward", shape, dtype, zrt__kernel_cpu_ops.attention_forward, &forward, 0.0, 2.0 * product);
    zrt__call backward = {.in = {d_o, qkv, o, lse}, .out = {dqkv}, .attributes = a};
    measure(b, "attention_backward", shape, dtype, zrt__kernel_cpu_ops.attention_backward, &backward, 0.0,
            5.0 * product);
    release(b);
}

int main(int argc, char **argv)
{
    bench b = {.n_threads = argc > 1 ? atoi(argv[1]) : 1, .seconds = argc > 2 ? atof(argv[2]) : 0.3};
    zrt__device_options options = {.n_threads = b.n_threads};
    if (b.n_threads < 1 || zrt__device_cpu_ops.open(&options, &b.device) != ZRT_OK ||
        zrt__device_cpu_ops.stream_create(b.device, "compute", true, &b.stream) != ZRT_OK) {
        fprintf(stderr, "kernels [THREADS [SECONDS_EACH]]: %s\n", zrt_error_message());
        return 2;
    }
    static const zrt_dtype dtypes[] = {ZRT_FLOAT32, ZRT_BFLOAT16};
    for (int t = 0; t < 2; t++) {
        flat(&b, dtypes[t]);
        update(&b, dtypes[t]);
        losses(&b, dtypes[t]);
        for (int64_t length = 64; length <= 1024; length *= 2)
            attention(&b, dtypes[t], length);
    }
    zrt__device_cpu_ops.stream_destroy(&b.stream);
    zrt__device_cpu_ops.close(&b.device);
    return 0;
}
