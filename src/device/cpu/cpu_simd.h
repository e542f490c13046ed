/* Vectors of floats, of the width of the instruction set that cpu_isa.h compiles for (no include guard: once each).
 * Polynomials are Cephes' (Moshier), within 2 units in the last place. NaN goes through every function. */
#ifndef ZRT_DEVICE_CPU_CPU_SIMD_H
#define ZRT_DEVICE_CPU_CPU_SIMD_H
#define ZRT__LANES 64 /* logical lanes of every sum, whatever the width */
#define ZRT__TILE 512 /* elements of 16-bit data that are widened at a time: a multiple of ZRT__LANES */
#define VW (4 << ZRT__ISA)
/* Sums of several vectors stay in registers only when their loops are unrolled, which -O2 does not do by itself. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define EACH_UNIT UNROLL for (int u = 0; u < ZRT__LANES / VW; u++)
#define vf ZRT__EACH(zrt__vf)
#define vi ZRT__EACH(zrt__vi)
#define vf_unaligned ZRT__EACH(zrt__vf_unaligned)
#define vi_unaligned ZRT__EACH(zrt__vi_unaligned)
#define v_load ZRT__EACH(zrt__v_load)
#define v_store ZRT__EACH(zrt__v_store)
#define v_load_n ZRT__EACH(zrt__v_load_n)
#define v_store_n ZRT__EACH(zrt__v_store_n)
#define vi_load ZRT__EACH(zrt__vi_load)
#define v_all ZRT__EACH(zrt__v_all)
#define v_fma ZRT__EACH(zrt__v_fma)
#define v_max ZRT__EACH(zrt__v_max)
#define v_sqrt ZRT__EACH(zrt__v_sqrt)
#define v_select ZRT__EACH(zrt__v_select)
#define v_exp ZRT__EACH(zrt__v_exp)
#define v_sigmoid ZRT__EACH(zrt__v_sigmoid)
#define v_tanh ZRT__EACH(zrt__v_tanh)
#define v_normal_cdf ZRT__EACH(zrt__v_normal_cdf)
#define vs ZRT__EACH(zrt__vs)
#define v4 ZRT__EACH(zrt__v4)
#define transpose4 ZRT__EACH(zrt__transpose4)
#define widen ZRT__EACH(zrt__widen)
#define narrow ZRT__EACH(zrt__narrow)
#define tile_in ZRT__EACH(zrt__tile_in)
#define tile_out ZRT__EACH(zrt__tile_out)
#define tile_done ZRT__EACH(zrt__tile_done)

/* Elements that one tile of a run of n may have: all of them when nothing has to be converted. */
static inline size_t tile_size(bool direct, size_t n)
{
    return direct || n < ZRT__TILE ? n : ZRT__TILE;
}

/* Sum of the lanes, in a fixed order. */
static inline float lanes_total(float lanes[ZRT__LANES])
{
    for (int half = ZRT__LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}
#endif

typedef float vf __attribute__((vector_size(4 * VW)));
typedef int32_t vi __attribute__((vector_size(4 * VW)));
typedef float vf_unaligned __attribute__((vector_size(4 * VW), aligned(4), may_alias));
typedef int32_t vi_unaligned __attribute__((vector_size(4 * VW), aligned(4), may_alias));

static inline vf v_load(const float *p)
{
    return *(const vf_unaligned *)p;
}

static inline void v_store(float *p, vf v)
{
    *(vf_unaligned *)p = v;
}

static inline vi vi_load(const int32_t *p)
{
    return *(const vi_unaligned *)p;
}

/* The first n elements at p, the rest 0. */
static inline vf v_load_n(const float *p, size_t n)
{
    if (n >= VW)
        return v_load(p);
    float padded[VW] = {0};
    for (size_t i = 0; i < n; i++)
        padded[i] = p[i];
    return v_load(padded);
}

static inline void v_store_n(float *p, vf v, size_t n)
{
    if (n >= VW) {
        v_store(p, v);
        return;
    }
    float padded[VW];
    v_store(padded, v);
    for (size_t i = 0; i < n; i++)
        p[i] = padded[i];
}

static inline vf v_all(float x)
{
    return x - (vf){0}; /* 0 + x would be an addition: it turns -0 into 0 */
}

static inline vf v_select(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

#if ZRT__ISA == 2
static inline vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

/* b where one of them is NaN */
static inline vf v_max(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}

static inline vf v_sqrt(vf a)
{
    return (vf)_mm512_sqrt_ps((__m512)a);
}
#elif ZRT__ISA == 1
static inline vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

static inline vf v_max(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}

static inline vf v_sqrt(vf a)
{
    return (vf)_mm256_sqrt_ps((__m256)a);
}
#else
static inline vf v_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

static inline vf v_max(vf a, vf b)
{
    return v_select(a > b, a, b);
}

static inline vf v_sqrt(vf a)
{
    for (int i = 0; i < VW; i++)
        a[i] = sqrtf(a[i]);
    return a;
}
#endif

/* Results below the normal numbers are 0. */
static inline vf v_exp(vf x)
{
    vf bounded = v_max(v_all(-104.0f), x);
    bounded = v_select(bounded > 89.0f, v_all(89.0f), bounded);
    vf shifted = v_fma(bounded, v_all(1.44269504088896341f), v_all(12582912.0f)); /* 1.5 * 2^23: rounds to an integer */
    vi exponent = (vi)shifted - (vi)v_all(12582912.0f);
    vf n = shifted - 12582912.0f;
    vf r = v_fma(n, v_all(-0.693359375f), bounded);
    r = v_fma(n, v_all(2.12194440e-4f), r);
    vf p = v_fma(v_all(1.9875691500e-4f), r, v_all(1.3981999507e-3f));
    p = v_fma(p, r, v_all(8.3334519073e-3f));
    p = v_fma(p, r, v_all(4.1665795894e-2f));
    p = v_fma(p, r, v_all(1.6666665459e-1f));
    p = v_fma(p, r, v_all(5.0000001201e-1f));
    vf y = v_fma(p, r * r, r) + 1.0f;
#if ZRT__ISA == 2
    (void)exponent;
    y = (vf)_mm512_scalef_ps((__m512)y, (__m512)n);
    return (vf)_mm512_mask_mov_ps(_mm512_setzero_ps(),
                                  _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.3365448f), _CMP_NLT_UQ), (__m512)y);
#else
    vi half = exponent >> 1; /* 2^128 and 2^-150 are no floats: in two factors */
    y = y * (vf)((half + 127) << 23) * (vf)((exponent - half + 127) << 23);
    return (vf)((vi)y & ~(x < -87.3365448f));
#endif
}

static inline vf v_sigmoid(vf x)
{
    return 1.0f / (1.0f + v_exp(-x));
}

static inline vf v_tanh(vf x)
{
    vf s = x * x;
    vf p = v_fma(v_all(-5.70498872745e-3f), s, v_all(2.06390887954e-2f));
    p = v_fma(p, s, v_all(-5.37397155531e-2f));
    p = v_fma(p, s, v_all(1.33314422036e-1f));
    p = v_fma(p, s, v_all(-3.33332819422e-1f));
    vf small = v_fma(p * s, x, x);
    vf large = 1.0f - 2.0f / (v_exp(2.0f * x) + 1.0f);
    return v_select((s < 0.625f * 0.625f), small, large);
}

/* (1 + erf(x / sqrt 2)) / 2, with its relative accuracy in the lower tail too */
static inline vf v_normal_cdf(vf x)
{
    vf z = x * 0.70710678118654752f;
    vf s = z * z;
    vf p = v_fma(v_all(7.853861353153693e-5f), s, v_all(-8.010193625184903e-4f));
    p = v_fma(p, s, v_all(5.188327685732524e-3f));
    p = v_fma(p, s, v_all(-2.685381193529856e-2f));
    p = v_fma(p, s, v_all(1.128358514861418e-1f));
    p = v_fma(p, s, v_all(-3.761262582423300e-1f));
    p = v_fma(p, s, v_all(1.128379165726710f));
    vf inner = v_fma(p * z, v_all(0.5f), v_all(0.5f));
    vf a = (vf)((vi)z & 0x7fffffff);
    vf q = 1.0f / v_max(v_all(1.0f), a);
    vf y = q * q;
    vf near = v_fma(v_all(2.326819970068386e-2f), y, v_all(-1.387039388740657e-1f));
    near = v_fma(near, y, v_all(3.687424674597105e-1f));
    near = v_fma(near, y, v_all(-5.824733027278666e-1f));
    near = v_fma(near, y, v_all(6.210004621745983e-1f));
    near = v_fma(near, y, v_all(-4.944515323274145e-1f));
    near = v_fma(near, y, v_all(3.404879937665872e-1f));
    near = v_fma(near, y, v_all(-2.741127028184656e-1f));
    near = v_fma(near, y, v_all(5.638259427386472e-1f));
    vf far = v_fma(v_all(-1.047766399936249e+1f), y, v_all(1.297719955372516e+1f));
    far = v_fma(far, y, v_all(-7.495518717768503f));
    far = v_fma(far, y, v_all(2.921019019210786f));
    far = v_fma(far, y, v_all(-1.015265279202700f));
    far = v_fma(far, y, v_all(4.218463358204948e-1f));
    far = v_fma(far, y, v_all(-2.820767439740514e-1f));
    far = v_fma(far, y, v_all(5.641895067754075e-1f));
    vf tail = v_exp(-0.5f * x * x) * q * v_select(a < 2.0f, near, far) * 0.5f; /* erfc(a) / 2 */
    vf outer = v_select(z > 0.0f, 1.0f - tail, tail);
    return v_select(a < 1.0f, inner, outer);
}

typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));

/* out[j][i] = in[i][j] * factor, 4 x 4 */
static inline void transpose4(const float *in, size_t in_row, float factor, float *out, size_t out_row)
{
    v4 a = *(const v4 *)in, b = *(const v4 *)(in + in_row);
    v4 c = *(const v4 *)(in + 2 * in_row), d = *(const v4 *)(in + 3 * in_row);
    v4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    v4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(v4 *)out = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5) * factor;
    *(v4 *)(out + out_row) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7) * factor;
    *(v4 *)(out + 2 * out_row) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5) * factor;
    *(v4 *)(out + 3 * out_row) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7) * factor;
}

/* ---- 16-bit data: rounding to nearest even, a NaN stays one ---- */

typedef uint16_t vs __attribute__((vector_size(2 * VW), aligned(2), may_alias));

static inline vf ZRT__EACH(bf16_in)(const uint16_t *p)
{
    return (vf)(__builtin_convertvector(*(const vs *)p, vi) << 16);
}

static inline void ZRT__EACH(bf16_out)(uint16_t *p, vf x)
{
    vi bits = (vi)x, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    vi is_nan = x != x, chosen = (is_nan & ((bits >> 16) | 0x40)) | (~is_nan & rounded);
    *(vs *)p = __builtin_convertvector(chosen, vs);
}

#if ZRT__ISA == 2
static inline vf ZRT__EACH(fp16_in)(const uint16_t *p)
{
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static inline void ZRT__EACH(fp16_out)(uint16_t *p, vf x)
{
    _mm256_storeu_si256((__m256i *)(void *)p,
                        _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif ZRT__ISA == 1
static inline vf ZRT__EACH(fp16_in)(const uint16_t *p)
{
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline void ZRT__EACH(fp16_out)(uint16_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
}
#else
static inline vf ZRT__EACH(fp16_in)(const uint16_t *p)
{
    float lanes[VW];
    zrt__convert(lanes, ZRT_FLOAT32, p, ZRT_FLOAT16, VW);
    return v_load(lanes);
}

static inline void ZRT__EACH(fp16_out)(uint16_t *p, vf x)
{
    float lanes[VW];
    v_store(lanes, x);
    zrt__convert(p, ZRT_FLOAT16, lanes, ZRT_FLOAT32, VW);
}
#endif

/* n elements of x from `at` on, as floats */
static inline void widen(const zrt_view *x, int64_t at, size_t n, float *to)
{
    const uint16_t *p = (const uint16_t *)x->data + at;
    uint16_t last[VW] = {0};
    size_t i = 0;
    if (x->dtype == ZRT_FLOAT32) {
        memcpy(to, (const float *)x->data + at, n * sizeof *to);
    } else if (x->dtype == ZRT_BFLOAT16) {
        for (; i + VW <= n; i += VW)
            v_store(to + i, ZRT__EACH(bf16_in)(p + i));
        if (i < n) {
            memcpy(last, p + i, (n - i) * sizeof *p);
            v_store_n(to + i, ZRT__EACH(bf16_in)(last), n - i);
        }
    } else {
        for (; i + VW <= n; i += VW)
            v_store(to + i, ZRT__EACH(fp16_in)(p + i));
        if (i < n) {
            memcpy(last, p + i, (n - i) * sizeof *p);
            v_store_n(to + i, ZRT__EACH(fp16_in)(last), n - i);
        }
    }
}

static inline void narrow(const zrt_view *y, int64_t at, size_t n, const float *from)
{
    uint16_t *p = (uint16_t *)y->data + at, last[VW];
    size_t i = 0;
    if (y->dtype == ZRT_FLOAT32) {
        memcpy((float *)y->data + at, from, n * sizeof *from);
    } else if (y->dtype == ZRT_BFLOAT16) {
        for (; i + VW <= n; i += VW)
            ZRT__EACH(bf16_out)(p + i, v_load(from + i));
        if (i < n) {
            ZRT__EACH(bf16_out)(last, v_load_n(from + i, n - i));
            memcpy(p + i, last, (n - i) * sizeof *p);
        }
    } else {
        for (; i + VW <= n; i += VW)
            ZRT__EACH(fp16_out)(p + i, v_load(from + i));
        if (i < n) {
            ZRT__EACH(fp16_out)(last, v_load_n(from + i, n - i));
            memcpy(p + i, last, (n - i) * sizeof *p);
        }
    }
}

/* Elements [at, at + n) as floats: the memory itself for fp32, else widened into buffer. */
static inline const float *tile_in(const zrt_view *v, int64_t at, size_t n, float *buffer)
{
    if (v->dtype == ZRT_FLOAT32)
        return (const float *)v->data + at;
    widen(v, at, n, buffer);
    return buffer;
}

/* Where to write elements from `at` on; tile_done puts them where they belong. */
static inline float *tile_out(const zrt_view *v, int64_t at, float *buffer)
{
    return v->dtype == ZRT_FLOAT32 ? (float *)v->data + at : buffer;
}

static inline void tile_done(const zrt_view *v, int64_t at, size_t n, const float *buffer)
{
    if (v->dtype != ZRT_FLOAT32)
        narrow(v, at, n, buffer);
}
