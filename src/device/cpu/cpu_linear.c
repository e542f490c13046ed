/* Linear layers: products cut into tiles of the output whose size depends on the shape alone. The sum over the inner
 * dimension is never split between threads, so results do not depend on their number. */
#include "config.h"

#include <string.h>

#include "base/half.h"
#include "device/cpu/cpu_device.h"
#include "device/cpu/cpu_kernels.h"
#include "device/cpu/cpu_product.h"

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A product cut into tiles of its output, from its shape alone. */
typedef struct tiling {
    const zrt__cpu_product *product;
    int64_t rows, columns, across;
} tiling;

static void compute_tiles(void *arg, int64_t begin, int64_t end)
{
    const tiling *t = arg;
    const zrt__cpu_product *p = t->product;
    size_t bytes;
    float *scratch = zrt__cpu_thread_scratch(&bytes);
    for (int64_t i = begin; i < end; i++) {
        int64_t row = i / t->across * t->rows, column = i % t->across * t->columns;
        zrt__cpu_product_tile(p, scratch, row, column, min64(t->rows, p->rows - row),
                              min64(t->columns, p->columns - column));
    }
}

/* n cut evenly into pieces of at most `most`, which are multiples of `unit`. */
static int64_t piece(int64_t n, int64_t most, int64_t unit)
{
    int64_t pieces = (n + most - 1) / most, each = (n + pieces - 1) / pieces;
    return min64(n, (each + unit - 1) / unit * unit);
}

static zrt_status multiply(zrt__stream *stream, const zrt__cpu_product *p)
{
    if (p->rows == 0 || p->columns == 0)
        return ZRT_OK;
    if (p->inner == 0) { /* no rows in the batch: the sum over them is zero */
        if (!p->accumulate)
            memset(p->c, 0, (size_t)(p->rows * p->columns) * zrt_dtype_bytes(p->c_dtype));
        return ZRT_OK;
    }
    /* Wide tiles, since A is packed for each, but some for every thread. 16-bit tiles are held whole in scratch memory. */
    const zrt__cpu_device *device = (const zrt__cpu_device *)stream->device;
    const int64_t multiplications = ((int64_t)1 << 29) / (device->n_threads < 4 ? device->n_threads : 4);
    tiling t = {.product = p, .rows = piece(p->rows, ZRT__TILE_ROWS, 12)};
    int64_t columns = multiplications / (t.rows * p->inner), most = 4 * ZRT__TILE_COLUMNS;
    if (p->c_dtype != ZRT_FLOAT32)
        most = ZRT__TILE_COLUMNS;
    columns = columns < most ? columns / ZRT__TILE_UNIT_COLUMNS * ZRT__TILE_UNIT_COLUMNS : most;
    if (columns < ZRT__TILE_UNIT_COLUMNS)
        columns = ZRT__TILE_UNIT_COLUMNS;
    t.columns = piece(p->columns, columns, ZRT__TILE_UNIT_COLUMNS);
    t.across = (p->columns + t.columns - 1) / t.columns;
    zrt__cpu_parallel(stream, (p->rows + t.rows - 1) / t.rows * t.across, 1, compute_tiles, &t);
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
    zrt__cpu_product p = {.a = x->data,
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
    zrt__cpu_product p = {.a = dy->data,
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

zrt_status zrt__cpu_linear_activation_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    zrt__call product = *call, activation = {.out = {call->out[0]}};
    if (call->out[1].data != NULL)
        product.out[0] = call->out[1];
    activation.in[0] = product.out[0];
    activation.attributes.activation.kind = call->attributes.linear.activation;
    ZRT_TRY(zrt__cpu_linear_forward(stream, &product));
    return zrt__cpu_activation_forward(stream, &activation);
}

zrt_status zrt__cpu_linear_activation_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    zrt__call product = *call, activation = {.in = {call->out[0], call->in[2]}, .out = {call->out[0]}};
    product.in[2].data = NULL;
    activation.attributes.activation.kind = call->attributes.linear.activation;
    ZRT_TRY(zrt__cpu_linear_backward_input(stream, &product));
    return zrt__cpu_activation_backward(stream, &activation);
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
                const char *dy = (const char *)s->dy->data + (size_t)(r * columns + c) * zrt_dtype_bytes(s->dy->dtype);
                zrt__convert(row, ZRT_FLOAT32, dy, s->dy->dtype, (size_t)n);
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
    zrt__cpu_product p = {.a = a->data,
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
