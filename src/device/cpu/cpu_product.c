#include "config.h"

#ifndef ZRT__ISA

#include <string.h>

#include "base/half.h"
#include "device/cpu/cpu_product.h"

#define ZRT__SELF "device/cpu/cpu_product.c"

/* A stored matrix, seen as lanes (rows of A, columns of B) and steps of the inner dimension. */
typedef struct operand {
    zrt_view view;
    int64_t ld;
    bool lanes_contiguous; /* or the steps are */
} operand;

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What the product is added to, in a panel of C as fp32. True when there is something. */
static bool prepare(const zrt__cpu_product *p, float *c, int64_t ldc, int64_t row, int64_t column, int64_t rows,
                    int64_t columns)
{
    if (p->accumulate || p->add != NULL) {
        const char *source = p->accumulate ? p->c : p->add;
        if (p->c_dtype == ZRT_FLOAT32 && source == p->c)
            return true;
        for (int64_t r = 0; r < rows; r++)
            zrt__convert(c + r * ldc, ZRT_FLOAT32,
                         source + (size_t)((row + r) * p->columns + column) * zrt_dtype_bytes(p->c_dtype), p->c_dtype,
                         (size_t)columns);
        return true;
    }
    if (p->bias == NULL)
        return false;
    zrt__convert(c, ZRT_FLOAT32, (const char *)p->bias + (size_t)column * zrt_dtype_bytes(p->b_dtype), p->b_dtype,
                 (size_t)columns);
    for (int64_t r = 1; r < rows; r++)
        memcpy(c + r * ldc, c, (size_t)columns * sizeof *c);
    return true;
}

/* Part `part` of `parts` of what packs a panel, from memory to the level-2 cache while another one is multiplied. */
static void prefetch_panel(const operand *o, int64_t lane, int64_t n_lanes, int64_t step, int64_t n_steps, int64_t part,
                           int64_t parts)
{
    enum { LINE = 64 };
    size_t element = zrt_dtype_bytes(o->view.dtype);
    int64_t rows = o->lanes_contiguous ? n_steps : n_lanes, first = o->lanes_contiguous ? step : lane;
    int64_t at = o->lanes_contiguous ? lane : step;
    int64_t bytes = (o->lanes_contiguous ? n_lanes : n_steps) * (int64_t)element;
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++) {
        const char *row = (const char *)o->view.data + (size_t)((first + r) * o->ld + at) * element;
        for (int64_t b = 0; b < bytes; b += LINE)
            __builtin_prefetch(row + b, 0, 2);
    }
}

#include "device/cpu/cpu_isa.h"

void zrt__cpu_product_tile(const zrt__cpu_product *product, float *scratch, int64_t row, int64_t column, int64_t rows,
                           int64_t columns)
{
    ZRT__PICK(tile)(product, scratch, row, column, rows, columns);
}

#else

/* The block of C that registers hold: LANES_A rows x LANES_B columns. */
#undef LANES_A
#undef VECTORS
#undef LANES_B
#if ZRT__ISA == 2
#define LANES_A 12
#define VECTORS 2
#elif ZRT__ISA == 1
#define LANES_A 4
#define VECTORS 3
#else
#define LANES_A 4
#define VECTORS 2
#endif
#define LANES_B (VECTORS * VW)
#define pack ZRT__EACH(pack)
#define block ZRT__EACH(block)
#define block_of ZRT__EACH(block_of)

/* Lanes [lane, lane + n_lanes) x steps [step, step + n_steps) as panels of `width` lanes: [panel][step][width], zeros
 * beyond the last lane. `row` holds ZRT__TILE_ROWS floats, or 4 of ZRT__TILE_INNER. */
static inline __attribute__((always_inline)) void pack(const operand *o, int64_t lane, int64_t n_lanes, int64_t step,
                                                       int64_t n_steps, const int width, float *to, float *row)
{
    bool fp32 = o->view.dtype == ZRT_FLOAT32;
    int64_t whole = n_lanes / width * width, panel = n_steps * width;
    if (o->lanes_contiguous) {
        for (int64_t s = 0; s < n_steps; s++) {
            int64_t at = (step + s) * o->ld + lane;
            const float *from = (const float *)o->view.data + at;
            if (width < 16) /* rows of A are short runs too */
                for (int64_t i = 0; i < n_lanes; i += 16)
                    __builtin_prefetch(from + 4 * o->ld + i);
            if (!fp32) {
                widen(&o->view, at, (size_t)n_lanes, row);
                from = row;
            }
            float *next = to + s * width;
            for (int64_t i = 0; i < whole; i += width, next += panel)
                memcpy(next, from + i, (size_t)width * sizeof *to);
            if (whole < n_lanes)
                for (int i = 0; i < width; i++)
                    next[i] = i < n_lanes - whole ? from[whole + i] : 0.0f;
        }
        return;
    }
    for (int64_t i = 0; i < n_lanes || i % width != 0; i += 4) {
        int64_t at = (lane + i) * o->ld + step, ld = o->ld, s = 0;
        const float *from = (const float *)o->view.data + at;
        if (!fp32 || n_lanes - i < 4) {
            for (int64_t j = 0; j < 4; j++)
                if (i + j < n_lanes)
                    widen(&o->view, at + j * o->ld, (size_t)n_steps, row + j * n_steps);
                else
                    memset(row + j * n_steps, 0, (size_t)n_steps * sizeof *row);
            from = row;
            ld = n_steps;
        }
        float *next = to + i / width * panel + i % width;
        for (; s + 4 <= n_steps; s += 4) {
            if (s % 16 == 0) /* runs are too short for the processor to foresee the next rows */
                UNROLL for (int j = 4; j < 8; j++) __builtin_prefetch(from + j * ld + s);
            transpose4(from + s, (size_t)ld, 1.0f, next + s * width, (size_t)width);
        }
        for (; s < n_steps; s++)
            for (int64_t j = 0; j < 4; j++)
                next[s * width + j] = from[j * ld + s];
    }
}

/* C [n, LANES_B] (+)= A [n_steps, LANES_A]^T B [n_steps, LANES_B] */
static inline __attribute__((always_inline)) void block(const int n, int64_t n_steps, const float *a, const float *b,
                                                        int64_t ldb, float *c, int64_t ldc, bool add)
{
    vf sums[LANES_A][VECTORS];
    UNROLL for (int i = 0; i < n; i++)
    {
        UNROLL for (int v = 0; v < VECTORS; v++)
        {
            __builtin_prefetch(c + i * ldc + v * VW, 1);
            sums[i][v] = (vf){0};
        }
    }
    for (int64_t s = 0; s < n_steps; s++, a += LANES_A, b += ldb) {
        vf right[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) right[v] = v_load(b + v * VW);
        UNROLL for (int i = 0; i < n; i++)
        {
            vf left = v_all(a[i]);
            UNROLL for (int v = 0; v < VECTORS; v++) sums[i][v] = v_fma(left, right[v], sums[i][v]);
        }
    }
    UNROLL for (int i = 0; i < n; i++)
    {
        UNROLL for (int v = 0; v < VECTORS; v++)
        {
            float *to = c + i * ldc + v * VW;
            v_store(to, add ? v_load(to) + sums[i][v] : sums[i][v]);
        }
    }
}

static void block_of(int n, int64_t n_steps, const float *a, const float *b, int64_t ldb, float *c, int64_t ldc,
                     bool add)
{
#define CASE(n)                                    \
    case n:                                        \
        block(n, n_steps, a, b, ldb, c, ldc, add); \
        break;
    switch (n) {
        CASE(1)
        CASE(2)
        CASE(3)
#if LANES_A > 4
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
#endif
    default:
        block(LANES_A, n_steps, a, b, ldb, c, ldc, add);
    }
#undef CASE
}

static void ZRT__EACH(tile)(const zrt__cpu_product *p, float *scratch, int64_t row, int64_t column, int64_t rows,
                            int64_t columns)
{
    operand left = {.view = {.data = (void *)p->a, .dtype = p->a_dtype},
                    .ld = p->trans_a ? p->rows : p->inner,
                    .lanes_contiguous = p->trans_a};
    operand right = {.view = {.data = (void *)p->b, .dtype = p->b_dtype},
                     .ld = p->trans_b ? p->inner : p->columns,
                     .lanes_contiguous = !p->trans_b};
    float *a = scratch, *b = a + ZRT__TILE_ROWS * ZRT__TILE_INNER, *wide = b + 32 * ZRT__TILE_INNER;
    float *edge = wide + 4 * ZRT__TILE_INNER, *c = edge + 512;
    int64_t ldc = columns, size = zrt_dtype_bytes(p->c_dtype);
    if (p->c_dtype == ZRT_FLOAT32) {
        c = (float *)p->c + row * p->columns + column;
        ldc = p->columns;
    }
    int64_t blocks = (p->inner + ZRT__TILE_INNER - 1) / ZRT__TILE_INNER, steps = (p->inner + blocks - 1) / blocks;
    for (int64_t step = 0; step < p->inner; step += steps) {
        int64_t n_steps = min64(steps, p->inner - step);
        pack(&left, row, rows, step, n_steps, LANES_A, a, wide);
        for (int64_t j = 0; j < columns; j += LANES_B) {
            int64_t n = min64(LANES_B, columns - j), ldb = LANES_B;
            bool add = step > 0 || prepare(p, c + j, ldc, row, column + j, rows, n);
            const float *panel = b;
            if (rows <= LANES_A && n == LANES_B && right.lanes_contiguous && p->b_dtype == ZRT_FLOAT32) {
                panel = (const float *)p->b + step * right.ld + column + j; /* read once: not worth packing */
                ldb = right.ld;
            } else {
                pack(&right, column + j, n, step, n_steps, LANES_B, b, wide);
            }
            int64_t next_step = j + LANES_B < columns ? step : step + steps, next = next_step == step ? j + LANES_B : 0;
            for (int64_t i = 0; i < rows; i += LANES_A) {
                if (next_step < p->inner)
                    prefetch_panel(&right, column + next, min64(LANES_B, columns - next), next_step,
                                   min64(steps, p->inner - next_step), i / LANES_A, (rows + LANES_A - 1) / LANES_A);
                int m = (int)min64(LANES_A, rows - i);
                float *to = c + i * ldc + j;
                if (n == LANES_B) {
                    block_of(m, n_steps, a + i * n_steps, panel, ldb, to, ldc, add);
                    continue;
                }
                block_of(m, n_steps, a + i * n_steps, panel, ldb, edge, LANES_B, false);
                for (int r = 0; r < m; r++)
                    for (int64_t x = 0; x < n; x++)
                        to[r * ldc + x] = (add ? to[r * ldc + x] : 0.0f) + edge[r * LANES_B + x];
            }
        }
    }
    if (p->c_dtype != ZRT_FLOAT32)
        for (int64_t r = 0; r < rows; r++)
            zrt__convert((char *)p->c + ((row + r) * p->columns + column) * size, p->c_dtype, c + r * columns,
                         ZRT_FLOAT32, (size_t)columns);
}

#endif
