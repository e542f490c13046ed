/* Products and softmax of attention's tiles (included by the body of a kernel file, once an instruction set). Matrices
 * of a tile have the queries as lanes: scores [key][query], transposed rows [d][query]. */
#include "device/cpu/cpu_random.h"

#define ROWS_AT_ONCE (ZRT__ISA == 2 ? 8 : 6)
#define QV (ZRT__QUERIES / VW)

/* c[i][0 .. vectors) = (or +=) sum over k of a[i * a_row + k * a_step] b[k][0 .. vectors), i < rows, in order of k */
static inline __attribute__((always_inline)) void ZRT__EACH(micro)(int rows, int vectors, int depth, const float *a,
                                                                   size_t a_row, size_t a_step, const float *b,
                                                                   size_t b_row, float *c, size_t c_row,
                                                                   bool accumulate)
{
    vf sums[8][2];
    /* the formatter takes pragmas for statements */
    /* clang-format off */
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            sums[i][v] = accumulate ? v_load(c + (size_t)i * c_row + v * VW) : v_all(0.0f);
    for (int k = 0; k < depth; k++) {
        vf right[2];
        UNROLL for (int v = 0; v < vectors; v++)
            right[v] = v_load(b + v * VW);
        UNROLL for (int i = 0; i < rows; i++) {
            vf left = v_all(a[(size_t)i * a_row]);
            UNROLL for (int v = 0; v < vectors; v++)
                sums[i][v] = v_fma(left, right[v], sums[i][v]);
        }
        a += a_step;
        b += b_row;
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            v_store(c + (size_t)i * c_row + v * VW, sums[i][v]);
    /* clang-format on */
}

static inline __attribute__((always_inline)) void ZRT__EACH(panel)(int rows, int vectors, int depth, const float *a,
                                                                   size_t a_row, size_t a_step, const float *b,
                                                                   size_t b_row, float *c, size_t c_row,
                                                                   bool accumulate)
{
    for (; rows >= ROWS_AT_ONCE; rows -= ROWS_AT_ONCE, a += ROWS_AT_ONCE * a_row, c += ROWS_AT_ONCE * c_row)
        ZRT__EACH(micro)(ROWS_AT_ONCE, vectors, depth, a, a_row, a_step, b, b_row, c, c_row, accumulate);
    for (; rows >= 2; rows -= 2, a += 2 * a_row, c += 2 * c_row)
        ZRT__EACH(micro)(2, vectors, depth, a, a_row, a_step, b, b_row, c, c_row, accumulate);
    if (rows > 0)
        ZRT__EACH(micro)(1, vectors, depth, a, a_row, a_step, b, b_row, c, c_row, accumulate);
}

/* a is row-major [rows][depth] */
static __attribute__((noinline)) void ZRT__EACH(product)(int rows, int lanes, int depth, const float *a, size_t a_row,
                                                         const float *b, size_t b_row, float *c, size_t c_row,
                                                         bool accumulate)
{
    int at = 0;
    for (; at + 2 * VW <= lanes; at += 2 * VW)
        ZRT__EACH(panel)(rows, 2, depth, a, a_row, 1, b + at, b_row, c + at, c_row, accumulate);
    for (; at < lanes; at += VW)
        ZRT__EACH(panel)(rows, 1, depth, a, a_row, 1, b + at, b_row, c + at, c_row, accumulate);
}

/* a is [depth][rows]: its transpose is taken; always accumulates, over the lanes of a tile */
static __attribute__((noinline)) void ZRT__EACH(product_transposed)(int rows, int depth, const float *a, size_t a_step,
                                                                    const float *b, float *c)
{
    for (int at = 0; at < ZRT__QUERIES; at += 2 * VW)
        ZRT__EACH(panel)(rows, 2, depth, a, 1, a_step, b + at, ZRT__QUERIES, c + at, ZRT__QUERIES, true);
}

/* out[j][i] = in[i][j] * factor */
static inline void ZRT__EACH(transpose)(const float *in, size_t in_row, int rows, int columns, float factor, float *out,
                                        size_t out_row)
{
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        int j = 0;
        for (; j + 4 <= columns; j += 4)
            transpose4(in + (size_t)i * in_row + j, in_row, factor, out + (size_t)j * out_row + i, out_row);
        for (; j < columns; j++)
            for (int k = 0; k < 4; k++)
                out[(size_t)j * out_row + i + k] = in[(size_t)(i + k) * in_row + j] * factor;
    }
    for (; i < rows; i++)
        for (int j = 0; j < columns; j++)
            out[(size_t)j * out_row + i] = in[(size_t)i * in_row + j] * factor;
}

/* Copies rows of `width` elements, `stride` apart, into rows `padded` apart, the rest of each 0. */
static inline void ZRT__EACH(take_rows)(const zrt_view *from, int64_t at, int64_t stride, int n, int width, int padded,
                                        float *to)
{
    for (int i = 0; i < n; i++, at += stride, to += padded) {
        widen(from, at, (size_t)width, to);
        for (int k = width; k < padded; k++)
            to[k] = 0.0f;
    }
}

static inline void ZRT__EACH(put_rows)(const zrt_view *to, int64_t at, int64_t stride, int n, int width, int padded,
                                       const float *from)
{
    for (int i = 0; i < n; i++, at += stride, from += padded)
        narrow(to, at, (size_t)width, from);
}

/* The keys or values [first, first + n) of one head. */
static inline void ZRT__EACH(take_keys)(const struct zrt__attend *a, const zrt_view *from,
                                        const struct zrt__query_tile *t, int64_t first, int n, float *to)
{
    int64_t at = t->row * a->key_row_stride + first * a->key_stride + t->head / a->group * a->head_dim;
    ZRT__EACH(take_rows)(from, at, a->key_stride, n, a->head_dim, a->padded, to);
}

/* Scores that are not to be seen become -inf. */
static inline void ZRT__EACH(mask)(const struct zrt__attend *a, const struct zrt__query_tile *t, int64_t first, int n,
                                   float *scores)
{
    bool diagonal = a->causal && first + n > t->offset + t->first + 1;
    if (!diagonal && a->segments == NULL)
        return;
    int32_t numbers[ZRT__QUERIES];
    for (int q = 0; q < ZRT__QUERIES; q++)
        numbers[q] = q;
    for (int key = 0; key < n; key++) {
        /* the query of the tile that is the first to see this key */
        int64_t earliest = first + key - t->offset - t->first;
        int32_t from = !diagonal || earliest < 0 ? 0 : earliest < ZRT__QUERIES ? (int32_t)earliest : ZRT__QUERIES;
        if (from == 0 && a->segments == NULL)
            continue;
        for (int v = 0; v < QV; v++) {
            vi seen = vi_load(numbers + v * VW) >= from;
            if (a->segments != NULL)
                seen &= vi_load(t->segments + v * VW) == a->segments[t->row * a->n_keys + first + key];
            float *p = scores + key * ZRT__QUERIES + v * VW;
            v_store(p, v_select(seen, v_load(p), v_all(-INFINITY)));
        }
    }
}

/* Factors of the dropout, [key][query]. */
static inline void ZRT__EACH(draw_tile)(const struct zrt__attend *a, const struct zrt__query_tile *t, int64_t first,
                                        int n, float *factors)
{
    float rows[ZRT__QUERIES * ZRT__KEYS];
    for (int q = 0; q < t->n; q++) {
        uint64_t element = (uint64_t)((t->head * a->n_queries + t->first + q) * a->n_keys + first);
        philox_factors(&a->draw, t->key, element, (size_t)n, a->kept, rows + q * ZRT__KEYS);
    }
    memset(rows + t->n * ZRT__KEYS, 0, (size_t)(ZRT__QUERIES - t->n) * ZRT__KEYS * sizeof *rows);
    ZRT__EACH(transpose)(rows, ZRT__KEYS, ZRT__QUERIES, n, 1.0f, factors, ZRT__QUERIES);
}

/* Queries of a tile, transposed and times `factor`; the lanes without a query 0. rows [n][padded] gets them as they
 * are. */
static inline void ZRT__EACH(take_queries)(const struct zrt__attend *a, const struct zrt__query_tile *t,
                                           const zrt_view *from, int64_t stride, float factor, float *rows,
                                           float *transposed)
{
    int64_t at = (t->row * a->n_queries + t->first) * stride + t->head * a->head_dim;
    ZRT__EACH(take_rows)(from, at, stride, t->n, a->head_dim, a->padded, rows);
    if (t->n < ZRT__QUERIES)
        memset(transposed, 0, (size_t)a->head_dim * ZRT__QUERIES * sizeof *transposed);
    ZRT__EACH(transpose)(rows, (size_t)a->padded, t->n, a->head_dim, factor, transposed, ZRT__QUERIES);
}
