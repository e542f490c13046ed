/* Philox4x32-10 of as many counters as a vector has lanes (included by the body of a kernel file, once an instruction
 * set). */
#define philox_factors ZRT__EACH(zrt__philox_factors)
#define vu ZRT__EACH(zrt__vu)

typedef uint32_t vu __attribute__((vector_size(4 * VW)));

#if ZRT__ISA == 2
#define MULTIPLY_EVEN(a, b) ((vu)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#define SHIFT_HALF(a, right) \
    ((right) ? (vu)_mm512_srli_epi64((__m512i)(a), 32) : (vu)_mm512_slli_epi64((__m512i)(a), 32))
#elif ZRT__ISA == 1
#define MULTIPLY_EVEN(a, b) ((vu)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#define SHIFT_HALF(a, right) \
    ((right) ? (vu)_mm256_srli_epi64((__m256i)(a), 32) : (vu)_mm256_slli_epi64((__m256i)(a), 32))
#endif

#if ZRT__ISA > 0
static inline void ZRT__EACH(multiply_wide)(vu a, uint32_t by, vu *high_out, vu *low_out)
{
    const vu odd = SHIFT_HALF((vu){0} + 0xffffffffu, false);
    vu factor = (vu){0} + by;
    vu even_products = MULTIPLY_EVEN(a, factor), odd_products = MULTIPLY_EVEN(SHIFT_HALF(a, true), factor);
    *high_out = (odd_products & odd) | (SHIFT_HALF(even_products, true) & ~odd);
    *low_out = (even_products & ~odd) | SHIFT_HALF(odd_products, false);
}
#else
static inline void ZRT__EACH(multiply_wide)(vu a, uint32_t by, vu *high_out, vu *low_out)
{
    for (int i = 0; i < VW; i++) {
        uint64_t product = (uint64_t)a[i] * by;
        (*high_out)[i] = (uint32_t)(product >> 32);
        (*low_out)[i] = (uint32_t)product;
    }
}
#endif
#undef MULTIPLY_EVEN
#undef SHIFT_HALF

/* factors[i] = keep(first + i) ? kept : 0 of the n elements from `first` on, as kernels.h documents dropout's draws. */
static inline void philox_factors(const struct zrt__cpu_draw *draw, uint64_t key, uint64_t first, size_t n, float kept,
                                  float *factors)
{
    /* uniform >= p compares 24 bits, exactly, as whole numbers */
    uint32_t threshold = (uint32_t)ceil((double)draw->probability * 16777216.0);
    uint64_t counter = first / 4, last = n > 0 ? (first + n - 1) / 4 : 0;
    for (; n > 0 && counter <= last; counter += VW) {
        vu x0, x1;
        for (int i = 0; i < VW; i++) {
            x0[i] = (uint32_t)(counter + (uint64_t)i);
            x1[i] = (uint32_t)((counter + (uint64_t)i) >> 32);
        }
        vu x2 = (vu){0} + draw->op, x3 = (vu){0} + draw->step;
        uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
        for (int round = 0; round < 10; round++) {
            vu high0, low0, high1, low1;
            ZRT__EACH(multiply_wide)(x0, 0xD2511F53u, &high0, &low0);
            ZRT__EACH(multiply_wide)(x2, 0xCD9E8D57u, &high1, &low1);
            x0 = high1 ^ x1 ^ key0;
            x1 = low1;
            x2 = high0 ^ x3 ^ key1;
            x3 = low0;
            key0 += 0x9E3779B9u;
            key1 += 0xBB67AE85u;
        }
        float words[4][VW];
        vf yes = v_all(kept), no = v_all(0.0f);
        v_store(words[0], v_select((vi)((x0 >> 8) >= threshold), yes, no));
        v_store(words[1], v_select((vi)((x1 >> 8) >= threshold), yes, no));
        v_store(words[2], v_select((vi)((x2 >> 8) >= threshold), yes, no));
        v_store(words[3], v_select((vi)((x3 >> 8) >= threshold), yes, no));
        if (4 * counter >= first && 4 * (counter + VW) <= first + n) {
            float *to = factors + (4 * counter - first);
            for (int i = 0; i < VW; i += 4)
                transpose4(&words[0][i], VW, 1.0f, to + 4 * i, 4);
        } else {
            for (uint64_t i = 0; i < 4 * VW; i++) {
                uint64_t element = 4 * counter + i;
                if (element >= first && element < first + n)
                    factors[element - first] = words[i % 4][i / 4];
            }
        }
    }
}
