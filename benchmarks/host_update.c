/* The host's AdamW update as offload runs it, beside a copy of memory and a bare AdamW loop by the same threads in the same run.
 * One JSON line a case: parameters a second, and GB/s of the 28 bytes that a parameter takes with a 16-bit gradient in and a
 * 16-bit parameter out (a copy's are what it reads and writes). benchmarks/host_update.py does it beside PyTorch.
 *
 *   benchmarks/host_update [PARAMETERS [ROUNDS [THREADS]]] */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "device/cpu/cpu_device.h"
#include "device/kernels.h"

enum { BYTES = 28, GRAIN = 65536, MOST_ROUNDS = 100 };

typedef struct bench {
    int64_t n;
    float *master, *first, *second, *other[3];
    uint16_t *gradient, *parameter;
    zrt__step_state *state;
    zrt__device *device;
    zrt__stream *stream;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill(void *arg, int64_t begin, int64_t end)
{
    bench *b = arg;
    for (int64_t i = begin; i < end; i++) {
        b->master[i] = 1e-3f * (float)(i % 1000);
        b->first[i] = b->other[0][i] = b->other[1][i] = b->other[2][i] = 0.0f;
        b->second[i] = 1e-8f;
        b->gradient[i] = (uint16_t)(0x3c00 + i % 64);
        b->parameter[i] = 0;
    }
}

static void copy(void *arg, int64_t begin, int64_t end)
{
    bench *b = arg;
    memcpy(b->other[0] + begin, b->master + begin, (size_t)(end - begin) * sizeof(float));
}

/* ---- the bare loop: bf16 gradients, in place, nothing else ---- */

#define RATE 1e-3f
#define BETA1 0.9f
#define BETA2 0.999f
#define EPSILON 1e-8f
#define DECAY (1.0f - 1e-3f * 0.01f)

static void bare_portable(void *arg, int64_t begin, int64_t end)
{
    bench *b = arg;
    for (int64_t i = begin; i < end; i++) {
        uint32_t bits = (uint32_t)b->gradient[i] << 16;
        float g;
        memcpy(&g, &bits, sizeof g);
        float m = BETA1 * b->first[i] + (1 - BETA1) * g, v = BETA2 * b->second[i] + (1 - BETA2) * g * g;
        float p = b->master[i] * DECAY - RATE * m / (__builtin_sqrtf(v) + EPSILON);
        b->first[i] = m;
        b->second[i] = v;
        b->master[i] = p;
        memcpy(&bits, &p, sizeof bits);
        b->parameter[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))) static void bare_avx512(void *arg, int64_t begin,
                                                                                      int64_t end)
{
    bench *b = arg;
    int64_t i = begin;
    for (; i + 16 <= end; i += 16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)(b->gradient + i));
        __m512 g = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
        __m512 m = _mm512_fmadd_ps(_mm512_set1_ps(1 - BETA1), g,
                                   _mm512_mul_ps(_mm512_loadu_ps(b->first + i), _mm512_set1_ps(BETA1)));
        __m512 v = _mm512_fmadd_ps(_mm512_mul_ps(g, g), _mm512_set1_ps(1 - BETA2),
                                   _mm512_mul_ps(_mm512_loadu_ps(b->second + i), _mm512_set1_ps(BETA2)));
        __m512 step = _mm512_div_ps(_mm512_mul_ps(m, _mm512_set1_ps(RATE)),
                                    _mm512_add_ps(_mm512_sqrt_ps(v), _mm512_set1_ps(EPSILON)));
        __m512 p = _mm512_fmsub_ps(_mm512_loadu_ps(b->master + i), _mm512_set1_ps(DECAY), step);
        _mm512_storeu_ps(b->first + i, m);
        _mm512_storeu_ps(b->second + i, v);
        _mm512_storeu_ps(b->master + i, p);
        __m512i bits = _mm512_castps_si512(p);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        _mm256_storeu_si256((__m256i *)(void *)(b->parameter + i), _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
    }
    bare_portable(arg, i, end);
}

__attribute__((target("avx2,fma"))) static void bare_avx2(void *arg, int64_t begin, int64_t end)
{
    bench *b = arg;
    int64_t i = begin;
    for (; i + 8 <= end; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(b->gradient + i));
        __m256 g = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
        __m256 m = _mm256_fmadd_ps(_mm256_set1_ps(1 - BETA1), g,
                                   _mm256_mul_ps(_mm256_loadu_ps(b->first + i), _mm256_set1_ps(BETA1)));
        __m256 v = _mm256_fmadd_ps(_mm256_mul_ps(g, g), _mm256_set1_ps(1 - BETA2),
                                   _mm256_mul_ps(_mm256_loadu_ps(b->second + i), _mm256_set1_ps(BETA2)));
        __m256 step = _mm256_div_ps(_mm256_mul_ps(m, _mm256_set1_ps(RATE)),
                                    _mm256_add_ps(_mm256_sqrt_ps(v), _mm256_set1_ps(EPSILON)));
        __m256 p = _mm256_fmsub_ps(_mm256_loadu_ps(b->master + i), _mm256_set1_ps(DECAY), step);
        _mm256_storeu_ps(b->first + i, m);
        _mm256_storeu_ps(b->second + i, v);
        _mm256_storeu_ps(b->master + i, p);
        __m256i bits = _mm256_castps_si256(p);
        __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        bits = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
        bits = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
        _mm_storeu_si128((__m128i *)(void *)(b->parameter + i), _mm256_castsi256_si128(bits));
    }
    bare_portable(arg, i, end);
}
#endif

static zrt__cpu_range_fn *bare(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return bare_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return bare_avx2;
#endif
    return bare_portable;
}

/* ---- zerort's ---- */

static void update(const bench *b, zrt_dtype dtype, bool speculated)
{
    zrt_view view = {.dtype = ZRT_FLOAT32, .n_dims = 1, .dims = {b->n}};
    zrt_view master = view, first = view, second = view, half = view;
    master.data = b->master;
    first.data = b->first;
    second.data = b->second;
    half.dtype = dtype;
    zrt__call call = {.attributes.optimizer = {.beta1 = BETA1,
                                               .beta2 = BETA2,
                                               .eps = EPSILON,
                                               .weight_decay = 0.01f,
                                               .lr_factor = 1,
                                               .adam_w_mode = true,
                                               .bias_correction = true}};
    call.in[0] = half;
    call.in[0].data = b->gradient;
    call.in[1] = (zrt_view){b->state, ZRT_UINT8, 1, {(int64_t)sizeof *b->state}};
    call.out[0] = master;
    call.out[1] = first;
    call.out[2] = second;
    call.out[3] = half;
    call.out[3].data = b->parameter;
    for (int i = 0; i < 3 && speculated; i++) {
        call.in[2 + i] = call.out[i];
        call.out[i].data = b->other[i];
    }
    zrt__device_cpu_ops.launch(b->stream, zrt__kernel_cpu_ops.adamw, &call);
    zrt__device_cpu_ops.stream_synchronize(b->stream);
}

enum { COPY, BARE, BF16, FP16, SPECULATED, N_CASES };

static double seconds_of(bench *b, int which)
{
    zrt__cpu_pool *pool = ((zrt__cpu_device *)b->device)->pool;
    double begin = now();
    if (which == COPY)
        zrt__cpu_pool_run(pool, b->n, GRAIN, copy, b);
    else if (which == BARE)
        zrt__cpu_pool_run(pool, b->n, GRAIN, bare(), b);
    else
        update(b, which == FP16 ? ZRT_FLOAT16 : ZRT_BFLOAT16, which == SPECULATED);
    return now() - begin;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static zrt_status run(bench *b, int n_threads, int rounds)
{
    static const char *const names[N_CASES] = {"copy", "bare AdamW, bf16", "zerort AdamW, bf16", "zerort AdamW, fp16",
                                               "zerort AdamW, bf16, into the second copy"};
    const zrt__device_options options = {.n_threads = n_threads};
    double seconds[N_CASES][MOST_ROUNDS], bare_rate = 0;
    size_t bytes = (size_t)b->n * sizeof(float);
    void **floats[] = {(void **)&b->master,   (void **)&b->first,    (void **)&b->second,
                       (void **)&b->other[0], (void **)&b->other[1], (void **)&b->other[2]};
    ZRT_TRY(zrt__device_cpu_ops.open(&options, &b->device));
    ZRT_TRY(zrt__device_cpu_ops.stream_create(b->device, "host", true, &b->stream));
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        ZRT_TRY(zrt__device_cpu_ops.allocate(b->device, ZRT__MEMORY_PINNED, bytes, floats[i]));
    ZRT_TRY(zrt__device_cpu_ops.allocate(b->device, ZRT__MEMORY_PINNED, bytes / 2, (void **)&b->gradient));
    ZRT_TRY(zrt__device_cpu_ops.allocate(b->device, ZRT__MEMORY_PINNED, bytes / 2, (void **)&b->parameter));
    zrt__cpu_pool_run(((zrt__cpu_device *)b->device)->pool, b->n, GRAIN, fill, b);
    for (int r = -1; r < rounds; r++) /* the first is not counted */
        for (int c = 0; c < N_CASES; c++) {
            double s = seconds_of(b, c);
            if (r >= 0)
                seconds[c][r] = s;
        }
    for (int c = 0; c < N_CASES; c++) {
        qsort(seconds[c], (size_t)rounds, sizeof **seconds, ascending);
        double median = seconds[c][rounds / 2], rate = (double)b->n * (c == COPY ? 8 : BYTES) / median * 1e-9;
        if (c == BARE)
            bare_rate = rate;
        printf("{\"benchmark\": \"host_update\", \"case\": \"%s\", \"threads\": %d, \"parameters\": %lld, "
               "\"parameters_per_second\": %.4g, \"gb_per_second\": %.2f",
               names[c], n_threads, (long long)b->n, (double)b->n / median, rate);
        if (c > BARE)
            printf(", \"of_bare\": %.3f", rate / bare_rate);
        printf("}\n");
    }
    zrt__device_cpu_ops.stream_destroy(&b->stream);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        zrt__device_cpu_ops.release(b->device, ZRT__MEMORY_PINNED, *floats[i], bytes);
    zrt__device_cpu_ops.release(b->device, ZRT__MEMORY_PINNED, b->gradient, bytes / 2);
    zrt__device_cpu_ops.release(b->device, ZRT__MEMORY_PINNED, b->parameter, bytes / 2);
    zrt__device_cpu_ops.close(&b->device);
    return ZRT_OK;
}

int main(int argc, char **argv)
{
    zrt__step_state state = {.update_scale = 1.0f, .learning_rate = RATE, .unskipped = 10};
    bench b = {.n = argc > 1 ? strtoll(argv[1], NULL, 10) : 50000000, .state = &state};
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 7;
    int n_threads = argc > 3 ? (int)strtol(argv[3], NULL, 10) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (b.n < 1 || rounds < 1 || rounds > MOST_ROUNDS || n_threads < 1) {
        fprintf(stderr, "usage: host_update [PARAMETERS [ROUNDS [THREADS]]], up to %d rounds\n", MOST_ROUNDS);
        return 2;
    }
    if (run(&b, n_threads, rounds) != ZRT_OK) {
        fprintf(stderr, "host_update: %s\n", zrt_error_message());
        return 1;
    }
    return 0;
}
