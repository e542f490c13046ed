#include "config.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/random.h"
#include "tap.h"

enum { N = 65536 };

static uint16_t halves[N], back[N];
static float floats[N], other[N];
static double doubles[N];

static const char *const isas[] = {"portable", "avx2", "avx512"};

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* What IEEE 754 says a bit pattern of 16 bits means. */
static double meaning(uint16_t h, int exponent_bits)
{
    int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (h >> mantissa_bits) & ((1 << exponent_bits) - 1), mantissa = h & ((1 << mantissa_bits) - 1);
    double magnitude;

    if (exponent == (1 << exponent_bits) - 1)
        magnitude = mantissa != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(mantissa, 1 - bias - mantissa_bits);
    else
        magnitude = ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
    return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

/* The nearest of the two neighbours of f, the even one of equals, by search over the ordered patterns. */
static uint16_t nearest(float f, int exponent_bits)
{
    double x = fabs((double)f);
    uint16_t infinity = (uint16_t)(((1 << exponent_bits) - 1) << (15 - exponent_bits)), low = 0, high = infinity,
             result;
    double step, below, above;

    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (meaning(middle, exponent_bits) <= x)
            low = middle;
        else
            high = middle;
    }
    below = meaning(low, exponent_bits);
    step = below - meaning((uint16_t)(low - 1), exponent_bits);
    above = high == infinity ? below + step : meaning(high, exponent_bits);
    if (x - below < above - x)
        result = low;
    else if (x - below > above - x)
        result = high;
    else
        result = (low & 1) == 0 ? low : high;
    return (uint16_t)(result | (signbit(f) ? 0x8000 : 0));
}

static void test_all_values(zrt_dtype dtype, int exponent_bits)
{
    int n_wrong = 0, n_back = 0;

    for (int i = 0; i < N; i++)
        halves[i] = (uint16_t)i;
    zrt__convert(floats, ZRT_FLOAT32, halves, dtype, N);
    zrt__convert(back, dtype, floats, ZRT_FLOAT32, N);
    for (int i = 0; i < N; i++) {
        double want = meaning((uint16_t)i, exponent_bits);
        float one = dtype == ZRT_FLOAT16 ? zrt__fp16_to_float((uint16_t)i) : zrt__bf16_to_float((uint16_t)i);
        uint16_t again = dtype == ZRT_FLOAT16 ? zrt__float_to_fp16(floats[i]) : zrt__float_to_bf16(floats[i]);
        if (isnan(want)) {
            n_wrong += !isnan(floats[i]) || bits_of(one) != bits_of(floats[i]);
            n_back += !isnan(meaning(back[i], exponent_bits)) || again != back[i];
        } else {
            n_wrong += (double)floats[i] != want || !signbit(floats[i]) != !signbit(want) ||
                       bits_of(one) != bits_of(floats[i]);
            n_back += back[i] != i || again != back[i];
        }
    }
    tap_ok(n_wrong == 0, "%s: all 65536 values become the float they mean (%d do not)", zrt_dtype_name(dtype), n_wrong);
    tap_ok(n_back == 0, "%s: and come back (%d do not)", zrt_dtype_name(dtype), n_back);
}

/* Floats at, between and beside neighbours, over the whole range. */
static void test_rounding(zrt_dtype dtype, int exponent_bits)
{
    int n_wrong = 0;

    for (int i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)zrt__hash_mix(17, (uint64_t)i);
        int kind = i % 4;
        if (kind != 0) {
            double low = meaning((uint16_t)(bits & 0x7FFF), exponent_bits);
            double high = meaning((uint16_t)((bits & 0x7FFF) + 1), exponent_bits);
            float middle = (float)((low + high) / 2);
            if (!isfinite(low) || !isfinite(high))
                middle = exponent_bits == 5 ? 65520.0f : 3.3961775e38f;
            bits = bits_of(middle) + (kind == 1 ? 0 : kind == 2 ? 1 : -1u);
            bits |= (uint32_t)(i & 8) << 28;
        }
        if ((bits & 0x7FFFFFFF) > 0x7F800000)
            bits &= 0xFF000000;
        memcpy(&floats[i], &bits, sizeof bits);
    }
    for (size_t isa = 0; isa < sizeof isas / sizeof isas[0]; isa++) {
        if (!zrt__convert_by(isas[isa], back, dtype, floats, ZRT_FLOAT32, N))
            continue;
        for (int i = 0; i < N; i++) {
            uint16_t infinity = (uint16_t)((exponent_bits == 5 ? 0x7C00 : 0x7F80) | (signbit(floats[i]) ? 0x8000 : 0));
            uint16_t want = isinf(floats[i]) ? infinity : nearest(floats[i], exponent_bits);
            if (back[i] != want && n_wrong++ < 5)
                tap_diag("%s: %s of %a (%08x) is %04x, should be %04x", isas[isa], zrt_dtype_name(dtype),
                         (double)floats[i], bits_of(floats[i]), back[i], want);
        }
    }
    tap_ok(n_wrong == 0, "%s: rounds to nearest, ties to even (%d do not)", zrt_dtype_name(dtype), n_wrong);
}

/* Bit-equal for every float pattern, at lengths with every kind of tail. */
static void test_instructions(const char *isa)
{
    static const zrt_dtype types[] = {ZRT_FLOAT16, ZRT_BFLOAT16, ZRT_FLOAT64};
    size_t n_wrong = 0;

    for (int i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)zrt__hash_mix(23, (uint64_t)i);
        if (i % 8 == 0)
            bits |= 0x7F800000u;
        memcpy(&floats[i], &bits, sizeof bits);
        halves[i] = (uint16_t)i;
    }
    if (!zrt__convert_by(isa, back, ZRT_FLOAT16, floats, ZRT_FLOAT32, 1)) {
        tap_skip(1, "the processor has no %s", isa);
        return;
    }
    for (int t = 0; t < 3; t++) {
        for (size_t n = N - 40; n <= N; n++) {
            static char mine[N * 8], portable[N * 8];
            size_t bytes = n * zrt_dtype_bytes(types[t]), skip = n < N - 20 ? n - 40 : 0;
            zrt__convert_by(isa, mine, types[t], floats + skip, ZRT_FLOAT32, n - skip);
            zrt__convert_by("portable", portable, types[t], floats + skip, ZRT_FLOAT32, n - skip);
            n_wrong += memcmp(mine, portable, bytes - skip * zrt_dtype_bytes(types[t])) != 0;
            if (t == 2)
                continue;
            zrt__convert_by(isa, other, ZRT_FLOAT32, halves, types[t], n);
            zrt__convert_by("portable", floats, ZRT_FLOAT32, halves, types[t], n);
            n_wrong += memcmp(other, floats, n * sizeof *other) != 0;
        }
        for (int i = 0; i < N; i++) {
            uint32_t bits = (uint32_t)zrt__hash_mix(23, (uint64_t)i);
            memcpy(&floats[i], &bits, sizeof bits);
        }
    }
    tap_ok(n_wrong == 0, "%s gives the bits of the portable loops", isa);
}

/* Also those whose payload lies below the 16 bits that stay. */
static void test_nan(zrt_dtype dtype, int exponent_bits)
{
    int n_wrong = 0;

    for (int i = 0; i < 64; i++) {
        uint32_t bits = (i < 32 ? 0x7F800000u : 0xFF800000u) | ((i & 31) < 23 ? 1u << (i & 31) : 0x7FFFFFu);
        memcpy(&floats[i], &bits, sizeof bits);
    }
    for (size_t isa = 0; isa < sizeof isas / sizeof isas[0]; isa++) {
        if (!zrt__convert_by(isas[isa], back, dtype, floats, ZRT_FLOAT32, 64))
            continue;
        for (int i = 0; i < 64; i++)
            n_wrong += !isnan(meaning(back[i], exponent_bits)) || !signbit(floats[i]) != !(back[i] & 0x8000);
    }
    tap_ok(n_wrong == 0, "%s: a NaN stays one (%d do not)", zrt_dtype_name(dtype), n_wrong);
}

static void test_pairs(void)
{
    uint16_t in_place[700];
    int n_wrong = 0;

    for (int i = 0; i < N; i++)
        doubles[i] = (i - 30000) / 64.0;
    zrt__convert(halves, ZRT_BFLOAT16, doubles, ZRT_FLOAT64, N);
    for (int i = 0; i < N; i++)
        n_wrong += halves[i] != zrt__float_to_bf16((float)doubles[i]);
    zrt__convert(doubles, ZRT_FLOAT64, halves, ZRT_BFLOAT16, N);
    for (int i = 0; i < N; i++)
        n_wrong += doubles[i] != (double)zrt__bf16_to_float(halves[i]);
    tap_ok(n_wrong == 0, "fp64 to bf16 and back goes through fp32");
    for (int i = 0; i < 700; i++)
        in_place[i] = zrt__float_to_bf16((float)i);
    zrt__convert(in_place, ZRT_FLOAT16, in_place, ZRT_BFLOAT16, 700);
    for (int i = 0; i < 700; i++)
        n_wrong += in_place[i] != zrt__float_to_fp16(zrt__bf16_to_float(zrt__float_to_bf16((float)i)));
    tap_ok(n_wrong == 0, "equal sizes convert in place");
    zrt__convert(other, ZRT_FLOAT32, floats, ZRT_FLOAT32, N);
    tap_ok(memcmp(other, floats, sizeof other) == 0, "a type to itself is a copy");
}

int main(void)
{
    test_all_values(ZRT_FLOAT16, 5);
    test_all_values(ZRT_BFLOAT16, 8);
    test_rounding(ZRT_FLOAT16, 5);
    test_rounding(ZRT_BFLOAT16, 8);
    test_nan(ZRT_FLOAT16, 5);
    test_nan(ZRT_BFLOAT16, 8);
    test_instructions("avx2");
    test_instructions("avx512");
    test_pairs();
    return tap_done();
}
