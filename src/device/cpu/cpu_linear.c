/* Linear layers: products by OpenBLAS, one thread a call, cut into tiles of the output whose size depends on the shape
 * alone. The sum over the inner dimension is never split between threads, so results do not depend on their number. */
#include "config.h"

#include <string.h>

#include "base/half.h"
#include "device/cpu/cpu_device.h"
#include "device/cpu/cpu_kernels.h"

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

/* C [rows, columns] = A B (+ what C holds after `prepare`); A is [rows, inner], or its transpose is stored; B likewise. */
typedef struct product {
    const zrt__cpu_blas *blas;
    const void *a, *b;
    void *c;
    zrt_dtype a_dtype, b_dtype, c_dtype;
    bool trans_a, trans_b;
    int64_t rows, columns, inner;
    const void *bias; /* [columns] of b_dtype, or NULL */
    const void *add;  /* [rows, columns] of c_dtype, or NULL; may be c */
    bool accumulate;
    int64_t tile_rows, tile_columns, tiles_across;
} product;

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static const char *at(const void *base, zrt_dtype dtype, int64_t element)
{
    return (const char *)base + (size_t)element * zrt_dtype_bytes(dtype);
}

/* What the product is added to, in the tile of C. True when there is something. */
static bool prepare(const product *p, float *c, int64_t ldc, int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    if (p->accumulate || p->add != NULL) {
        const void *source = p->accumulate ? p->c : p->add;
        if (source == p->c && (float *)p->c + row * p->columns + column == c)
            return true;
        for (int64_t r = 0; r < rows; r++)
            zrt__convert(c + r * ldc, ZRT_FLOAT32, at(source, p->c_dtype, (row + r) * p->columns + column), p->c_dtype,
                         (size_t)columns);
        return true;
    }
    if (p->bias == NULL)
        return false;
    for (int64_t r = 0; r < rows; r++) {
        if (r == 0)
            zrt__convert(c, ZRT_FLOAT32, at(p->bias, p->b_dtype, column), p->b_dtype, (size_t)columns);
        else
            memcpy(c + r * ldc, c, (size_t)columns * sizeof *c);
    }
    return true;
}

static void tile_fp32(const product *p, int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    float *c = (float *)p->c + row * p->columns + column;
    bool add = prepare(p, c, p->columns, row, column, rows, columns);
    int lda = (int)(p->trans_a ? p->rows : p->inner), ldb = (int)(p->trans_b ? p->inner : p->columns);
    const float *a = (const float *)p->a + (p->trans_a ? row : row * p->inner);
    const float *b = (const float *)p->b + (p->trans_b ? column * p->inner : column);
    p->blas->sgemm(ROW_MAJOR, p->trans_a ? TRANS : NO_TRANS, p->trans_b ? TRANS : NO_TRANS, (int)rows, (int)columns,
                   (int)p->inner, 1.0f, a, lda, b, ldb, add ? 1.0f : 0.0f, c, (int)p->columns);
}

/* Sizes of the fp32 panels of 16-bit products: together they fill a thread's scratch memory. */
enum { PANEL_ROWS = 64, PANEL_COLUMNS = 128, PANEL_INNER = 256 };

/* Rows [row, row + n) x columns [column, column + m) of a stored matrix to fp32. */
static void load(float *to, const void *matrix, zrt_dtype dtype, int64_t ld, int64_t row, int64_t column, int64_t n,
                 int64_t m)
{
    for (int64_t r = 0; r < n; r++)
        zrt__convert(to + r * m, ZRT_FLOAT32, at(matrix, dtype, (row + r) * ld + column), dtype, (size_t)m);
}

static void panel(const product *p, float *scratch, int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    float *a = scratch, *b = a + PANEL_ROWS * PANEL_INNER, *c = b + PANEL_INNER * PANEL_COLUMNS;
    bool add = prepare(p, c, columns, row, column, rows, columns);
    for (int64_t k = 0; k < p->inner; k += PANEL_INNER, add = true) {
        int64_t inner = min64(PANEL_INNER, p->inner - k);
        if (p->trans_a)
            load(a, p->a, p->a_dtype, p->rows, k, row, inner, rows);
        else
            load(a, p->a, p->a_dtype, p->inner, row, k, rows, inner);
        if (p->trans_b)
            load(b, p->b, p->b_dtype, p->inner, column, k, columns, inner);
        else
            load(b, p->b, p->b_dtype, p->columns, k, column, inner, columns);
        p->blas->sgemm(ROW_MAJOR, p->trans_a ? TRANS : NO_TRANS, p->trans_b ? TRANS : NO_TRANS, (int)rows, (int)columns,
                       (int)inner, 1.0f, a, (int)(p->trans_a ? rows : inner), b, (int)(p->trans_b ? inner : columns),
                       add ? 1.0f : 0.0f, c, (int)columns);
    }
    for (int64_t r = 0; r < rows; r++)
        zrt__convert((char *)p->c + (size_t)((row + r) * p->columns + column) * zrt_dtype_bytes(p->c_dtype), p->c_dtype,
                     c + r * columns, ZRT_FLOAT32, (size_t)columns);
}

static void tile_16bit(const product *p, int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    size_t bytes;
    float *scratch = zrt__cpu_thread_scratch(&bytes);
    for (int64_t r = 0; r < rows; r += PANEL_ROWS)
        for (int64_t c = 0; c < columns; c += PANEL_COLUMNS)
            panel(p, scratch, row + r, column + c, min64(PANEL_ROWS, rows - r), min64(PANEL_COLUMNS, columns - c));
}

static void tiles(void *arg, int64_t begin, int64_t end)
{
    const product *p = arg;
    bool fp32 = p->a_dtype == ZRT_FLOAT32 && p->b_dtype == ZRT_FLOAT32 && p->c_dtype == ZRT_FLOAT32;
    for (int64_t t = begin; t < end; t++) {
        int64_t row = t / p->tiles_across * p->tile_rows, column = t % p->tiles_across * p->tile_columns;
        int64_t rows = min64(p->tile_rows, p->rows - row), columns = min64(p->tile_columns, p->columns - column);
        if (fp32)
            tile_fp32(p, row, column, rows, columns);
        else
            tile_16bit(p, row, column, rows, columns);
    }
}

/* Tiles of about 64 million multiplications: BLAS packs its operands for each, so few, and yet enough for all threads. The
 * longer side of the output is cut. */
static void cut(product *p)
{
    const int64_t multiplications = (int64_t)1 << 26;
    int64_t longer = p->rows > p->columns ? p->rows : p->columns, shorter = p->rows > p->columns ? p->columns : p->rows;
    int64_t tile = multiplications / (shorter * p->inner + 1);
    tile = tile < 128 ? 128 : tile / 128 * 128;
    if (tile > longer)
        tile = longer;
    p->tile_rows = p->rows > p->columns ? tile : p->rows;
    p->tile_columns = p->rows > p->columns ? p->columns : tile;
    p->tiles_across = (p->columns + p->tile_columns - 1) / p->tile_columns;
}

static zrt_status multiply(zrt__stream *stream, product *p)
{
    if (p->rows == 0 || p->columns == 0)
        return ZRT_OK;
    p->blas = &((zrt__cpu_device *)stream->device)->blas;
    if (p->inner == 0) { /* no rows in the batch: the sum over them is zero */
        if (!p->accumulate)
            memset(p->c, 0, (size_t)(p->rows * p->columns) * zrt_dtype_bytes(p->c_dtype));
        return ZRT_OK;
    }
    cut(p);
    zrt__cpu_parallel(stream, (p->rows + p->tile_rows - 1) / p->tile_rows * p->tiles_across, 1, tiles, p);
    return ZRT_OK;
}

static int64_t columns_of(const zrt_view *view)
{
    return view->dims[view->n_dims - 1];
}

static int64_t rows_of(const zrt_view *view)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < view->n_dims; i++)
        n *= view->dims[i];
    return n;
}

zrt_status zrt__cpu_linear_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_view *x = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    product p = {.a = x->data,
                 .b = w->data,
                 .c = y->data,
                 .a_dtype = x->dtype,
                 .b_dtype = w->dtype,
                 .c_dtype = y->dtype,
                 .trans_b = !call->attributes.linear.weight_in_out,
                 .rows = rows_of(x),
                 .columns = columns_of(y),
                 .inner = columns_of(x),
                 .bias = call->in[2].data};
    return multiply(stream, &p);
}

zrt_status zrt__cpu_linear_backward_input(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_view *dy = &call->in[0], *w = &call->in[1], *dx = &call->out[0];
    product p = {.a = dy->data,
                 .b = w->data,
                 .c = dx->data,
                 .a_dtype = dy->dtype,
                 .b_dtype = w->dtype,
                 .c_dtype = dx->dtype,
                 .trans_b = call->attributes.linear.weight_in_out,
                 .rows = rows_of(dy),
                 .columns = columns_of(dx),
                 .inner = columns_of(dy),
                 .add = call->in[2].data};
    return multiply(stream, &p);
}

/* ---- gradients of the bias: sums down the columns, in the order of the rows ---- */

typedef struct column_sums {
    const zrt_view *dy, *db;
    bool accumulate;
} column_sums;

enum { SUM_COLUMNS = 256 };

static void sum_columns(void *arg, int64_t begin, int64_t end)
{
    const column_sums *s = arg;
    int64_t rows = rows_of(s->dy), columns = columns_of(s->dy);
    float sums[SUM_COLUMNS], row[SUM_COLUMNS];
    for (int64_t c = begin; c < end; c += SUM_COLUMNS) {
        int64_t n = min64(SUM_COLUMNS, end - c);
        char *db = (char *)s->db->data + (size_t)c * zrt_dtype_bytes(s->db->dtype);
        if (s->accumulate)
            zrt__convert(sums, ZRT_FLOAT32, db, s->db->dtype, (size_t)n);
        else
            memset(sums, 0, sizeof sums);
        for (int64_t r = 0; r < rows; r++) {
            const float *values = (const float *)s->dy->data + r * columns + c;
            if (s->dy->dtype != ZRT_FLOAT32) {
                zrt__convert(row, ZRT_FLOAT32, at(s->dy->data, s->dy->dtype, r * columns + c), s->dy->dtype, (size_t)n);
                values = row;
            }
            for (int64_t i = 0; i < n; i++)
                sums[i] += values[i];
        }
        zrt__convert(db, s->db->dtype, sums, ZRT_FLOAT32, (size_t)n);
    }
}

zrt_status zrt__cpu_linear_backward_weight(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_view *dy = &call->in[0], *x = &call->in[1], *dw = &call->out[0], *db = &call->out[1];
    bool in_out = call->attributes.linear.weight_in_out;
    const zrt_view *a = in_out ? x : dy, *b = in_out ? dy : x;
    product p = {.a = a->data,
                 .b = b->data,
                 .c = dw->data,
                 .a_dtype = a->dtype,
                 .b_dtype = b->dtype,
                 .c_dtype = dw->dtype,
                 .trans_a = true,
                 .rows = columns_of(a),
                 .columns = columns_of(b),
                 .inner = rows_of(dy),
                 .accumulate = (call->accumulate & 1u) != 0};
    if (db->data != NULL) {
        column_sums sums = {dy, db, (call->accumulate & 2u) != 0};
        zrt__cpu_parallel(stream, columns_of(dy), SUM_COLUMNS, sum_columns, &sums);
    }
    return dw->data != NULL ? multiply(stream, &p) : ZRT_OK;
}
