/* Layer and root-mean-square normalisation of rows. Statistics are of the values as stored, in fp32. */
#include "config.h"

#ifndef ZRT__ISA

#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_norm.c"
#define ZRT__GRAIN 8192  /* elements worth a thread's waking */
#define ZRT__SUM_ROWS 64 /* rows summed on their own, so that rounding grows with the root of the rows */

struct forward {
    const zrt_view *x, *r, *w, *b, *y, *mean, *rstd, *sum; /* r, b, mean, sum: NULL when absent */
    int64_t width;
    float eps;
};

struct backward {
    const zrt_view *dy, *x, *w, *mean, *rstd, *add, *dx, *dw, *db; /* mean, add, dw, db: NULL when absent */
    int64_t n, width;
    bool accumulate_dw, accumulate_db;
};

#include "device/cpu/cpu_isa.h"

static const zrt_view *given(const zrt_view *v)
{
    return v->data != NULL ? v : NULL;
}

static zrt_status forward(zrt__stream *stream, struct forward *job)
{
    job->width = job->x->dims[job->x->n_dims - 1];
    int64_t n = job->width > 0 ? zrt_view_elements(job->x) / job->width : 0;
    if (n > 0)
        zrt__cpu_parallel(stream, n, 1 + ZRT__GRAIN / job->width, ZRT__PICK(forward_rows), job);
    return ZRT_OK;
}

static zrt_status backward(zrt__stream *stream, struct backward *job)
{
    job->width = job->x->dims[job->x->n_dims - 1];
    job->n = job->width > 0 ? zrt_view_elements(job->x) / job->width : 0;
    /* before dx, which may take the place of dy */
    if (job->width > 0 && (job->dw != NULL || job->db != NULL))
        zrt__cpu_parallel(stream, job->width, ZRT__LANES + ZRT__GRAIN / (job->n + 1), ZRT__PICK(backward_columns), job);
    if (job->n > 0)
        zrt__cpu_parallel(stream, job->n, 1 + ZRT__GRAIN / job->width, ZRT__PICK(backward_rows), job);
    return ZRT_OK;
}

zrt_status zrt__cpu_layernorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = arg;
    return forward(stream, &(struct forward){.x = &c->in[0],
                                             .w = &c->in[1],
                                             .b = given(&c->in[2]),
                                             .y = &c->out[0],
                                             .mean = &c->out[1],
                                             .rstd = &c->out[2],
                                             .eps = c->attributes.norm.eps});
}

zrt_status zrt__cpu_rmsnorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = arg;
    return forward(
        stream,
        &(struct forward){
            .x = &c->in[0], .w = &c->in[1], .y = &c->out[0], .rstd = &c->out[1], .eps = c->attributes.norm.eps});
}

zrt_status zrt__cpu_add_layernorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = arg;
    return forward(stream, &(struct forward){.x = &c->in[0],
                                             .r = &c->in[1],
                                             .w = &c->in[2],
                                             .b = given(&c->in[3]),
                                             .y = &c->out[0],
                                             .mean = &c->out[1],
                                             .rstd = &c->out[2],
                                             .sum = &c->out[3],
                                             .eps = c->attributes.norm.eps});
}

zrt_status zrt__cpu_add_rmsnorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = arg;
    return forward(stream, &(struct forward){.x = &c->in[0],
                                             .r = &c->in[1],
                                             .w = &c->in[2],
                                             .y = &c->out[0],
                                             .rstd = &c->out[1],
                                             .sum = &c->out[2],
                                             .eps = c->attributes.norm.eps});
}

zrt_status zrt__cpu_layernorm_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = arg;
    return backward(stream, &(struct backward){.dy = &c->in[0],
                                               .x = &c->in[1],
                                               .w = &c->in[2],
                                               .mean = &c->in[3],
                                               .rstd = &c->in[4],
                                               .add = given(&c->in[5]),
                                               .dx = &c->out[0],
                                               .dw = given(&c->out[1]),
                                               .db = given(&c->out[2]),
                                               .accumulate_dw = c->accumulate & 2u,
                                               .accumulate_db = c->accumulate & 4u});
}

zrt_status zrt__cpu_rmsnorm_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = arg;
    return backward(stream, &(struct backward){.dy = &c->in[0],
                                               .x = &c->in[1],
                                               .w = &c->in[2],
                                               .rstd = &c->in[3],
                                               .add = given(&c->in[4]),
                                               .dx = &c->out[0],
                                               .dw = given(&c->out[1]),
                                               .accumulate_dw = c->accumulate & 2u});
}

#else

/* lanes[i % ZRT__LANES] += (x[i] - shift)^power, power 1 or 2 */
static inline void ZRT__EACH(sum_powers)(const float *x, size_t n, float shift, int power, float lanes[ZRT__LANES])
{
    vf sums[ZRT__LANES / VW];
    size_t i = 0;
    EACH_UNIT sums[u] = v_load(lanes + u * VW);
    for (; i + ZRT__LANES <= n; i += ZRT__LANES) {
        EACH_UNIT
        {
            vf v = v_load(x + i + u * VW) - shift;
            sums[u] = power == 1 ? sums[u] + v : v_fma(v, v, sums[u]);
        }
    }
    EACH_UNIT v_store(lanes + u * VW, sums[u]);
    for (size_t k = 0; i + k < n; k++) {
        float v = x[i + k] - shift;
        lanes[k] += power == 1 ? v : v * v;
    }
}

static inline float ZRT__EACH(row_total)(const zrt_view *x, int64_t at, size_t width, float shift, int power)
{
    float lanes[ZRT__LANES] = {0}, buffer[ZRT__TILE];
    size_t step = tile_size(x->dtype == ZRT_FLOAT32, width);
    for (size_t i = 0; i < width; i += step) {
        size_t n = width - i < step ? width - i : step;
        ZRT__EACH(sum_powers)(tile_in(x, at + (int64_t)i, n, buffer), n, shift, power, lanes);
    }
    return lanes_total(lanes);
}

static inline void ZRT__EACH(add_row)(const struct forward *job, int64_t at, size_t width)
{
    float x_buffer[ZRT__TILE], r_buffer[ZRT__TILE], sum_buffer[ZRT__TILE];
    size_t step = tile_size(job->x->dtype == ZRT_FLOAT32, width);
    for (size_t i = 0; i < width; i += step) {
        size_t n = width - i < step ? width - i : step;
        int64_t first = at + (int64_t)i;
        const float *x = tile_in(job->x, first, n, x_buffer), *r = tile_in(job->r, first, n, r_buffer);
        float *sum = tile_out(job->sum, first, sum_buffer);
        for (size_t k = 0; k < n; k += VW)
            v_store_n(sum + k, v_load_n(x + k, n - k) + v_load_n(r + k, n - k), n - k);
        tile_done(job->sum, first, n, sum);
    }
}

static void ZRT__EACH(forward_rows)(void *arg, int64_t begin, int64_t end)
{
    const struct forward *job = arg;
    size_t width = (size_t)job->width, step = tile_size(job->x->dtype == ZRT_FLOAT32, width);
    const zrt_view *x = job->sum != NULL ? job->sum : job->x;
    float x_buffer[ZRT__TILE], w_buffer[ZRT__TILE], b_buffer[ZRT__TILE], y_buffer[ZRT__TILE];
    for (int64_t row = begin; row < end; row++) {
        int64_t at = row * job->width;
        if (job->sum != NULL)
            ZRT__EACH(add_row)(job, at, width);
        float mean = job->mean != NULL ? ZRT__EACH(row_total)(x, at, width, 0.0f, 1) / (float)width : 0.0f;
        float rstd = 1.0f / sqrtf(ZRT__EACH(row_total)(x, at, width, mean, 2) / (float)width + job->eps);
        if (job->mean != NULL)
            ((float *)job->mean->data)[row] = mean;
        ((float *)job->rstd->data)[row] = rstd;
        for (size_t i = 0; i < width; i += step) {
            size_t n = width - i < step ? width - i : step;
            const float *in = tile_in(x, at + (int64_t)i, n, x_buffer), *w = tile_in(job->w, (int64_t)i, n, w_buffer);
            const float *b = job->b != NULL ? tile_in(job->b, (int64_t)i, n, b_buffer) : NULL;
            float *y = tile_out(job->y, at + (int64_t)i, y_buffer);
            for (size_t k = 0; k < n; k += VW) {
                vf v = (v_load_n(in + k, n - k) - mean) * rstd, weight = v_load_n(w + k, n - k);
                v_store_n(y + k, b != NULL ? v_fma(v, weight, v_load_n(b + k, n - k)) : v * weight, n - k);
            }
            tile_done(job->y, at + (int64_t)i, n, y);
        }
    }
}

/* Adds dy w to lanes_g and dy w (x - mean) to lanes_gx. */
static inline void ZRT__EACH(sum_products)(const float *dy, const float *w, const float *x, float mean, size_t n,
                                           float lanes_g[ZRT__LANES], float lanes_gx[ZRT__LANES])
{
    size_t i = 0;
    for (; i + ZRT__LANES <= n; i += ZRT__LANES) {
        EACH_UNIT
        {
            vf g = v_load(dy + i + u * VW) * v_load(w + i + u * VW);
            v_store(lanes_g + u * VW, v_load(lanes_g + u * VW) + g);
            v_store(lanes_gx + u * VW, v_fma(g, v_load(x + i + u * VW) - mean, v_load(lanes_gx + u * VW)));
        }
    }
    for (size_t k = 0; i + k < n; k++) {
        float g = dy[i + k] * w[i + k];
        lanes_g[k] += g;
        lanes_gx[k] += g * (x[i + k] - mean);
    }
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy w; root-mean-square: without mean(g) */
static void ZRT__EACH(backward_rows)(void *arg, int64_t begin, int64_t end)
{
    const struct backward *job = arg;
    size_t width = (size_t)job->width, step = tile_size(job->x->dtype == ZRT_FLOAT32, width);
    float dy_buffer[ZRT__TILE], x_buffer[ZRT__TILE], w_buffer[ZRT__TILE], add_buffer[ZRT__TILE], dx_buffer[ZRT__TILE];
    for (int64_t row = begin; row < end; row++) {
        int64_t at = row * job->width;
        float mean = job->mean != NULL ? ((const float *)job->mean->data)[row] : 0.0f;
        float rstd = ((const float *)job->rstd->data)[row];
        float lanes_g[ZRT__LANES] = {0}, lanes_gx[ZRT__LANES] = {0};
        for (size_t i = 0; i < width; i += step) {
            size_t n = width - i < step ? width - i : step;
            int64_t first = at + (int64_t)i;
            ZRT__EACH(sum_products)
            (tile_in(job->dy, first, n, dy_buffer), tile_in(job->w, (int64_t)i, n, w_buffer),
             tile_in(job->x, first, n, x_buffer), mean, n, lanes_g, lanes_gx);
        }
        float g_mean = job->mean != NULL ? lanes_total(lanes_g) / (float)width : 0.0f;
        float slope = lanes_total(lanes_gx) * rstd * rstd / (float)width; /* of x - mean */
        for (size_t i = 0; i < width; i += step) {
            size_t n = width - i < step ? width - i : step;
            int64_t first = at + (int64_t)i;
            const float *dy = tile_in(job->dy, first, n, dy_buffer), *w = tile_in(job->w, (int64_t)i, n, w_buffer);
            const float *x = tile_in(job->x, first, n, x_buffer);
            const float *add = job->add != NULL ? tile_in(job->add, first, n, add_buffer) : NULL;
            float *dx = tile_out(job->dx, first, dx_buffer);
            for (size_t k = 0; k < n; k += VW) {
                vf g = v_fma(v_load_n(dy + k, n - k), v_load_n(w + k, n - k), v_all(-g_mean));
                vf d = v_fma(v_load_n(x + k, n - k) - mean, v_all(-slope), g) * rstd;
                v_store_n(dx + k, add != NULL ? d + v_load_n(add + k, n - k) : d, n - k);
            }
            tile_done(job->dx, first, n, dx);
        }
    }
}

static inline void ZRT__EACH(put_sums)(const zrt_view *out, int64_t at, size_t n, bool accumulate, float *sums)
{
    float buffer[ZRT__LANES];
    if (accumulate) {
        const float *old = tile_in(out, at, n, buffer);
        for (size_t k = 0; k < n; k++)
            sums[k] += old[k];
    }
    narrow(out, at, n, sums);
}

/* n columns of a row, from buffer when they are not fp32 or not as many as the lanes; the rest is 0. */
static inline const float *ZRT__EACH(columns)(const zrt_view *x, int64_t at, size_t n, float buffer[ZRT__LANES])
{
    if (x->dtype == ZRT_FLOAT32 && n == ZRT__LANES)
        return (const float *)x->data + at;
    widen(x, at, n, buffer);
    return buffer;
}

/* dw = sum of dy xhat, db = sum of dy, of columns [begin, end): as many at a time as sums fit in registers */
static void ZRT__EACH(backward_columns)(void *arg, int64_t begin, int64_t end)
{
    const struct backward *job = arg;
    const float *means = job->mean != NULL ? job->mean->data : NULL, *rstds = job->rstd->data;
    float dy_buffer[ZRT__LANES] = {0}, x_buffer[ZRT__LANES] = {0}, dw[ZRT__LANES], db[ZRT__LANES];
    for (int64_t at = begin; at < end; at += ZRT__LANES) {
        size_t n = end - at < ZRT__LANES ? (size_t)(end - at) : ZRT__LANES;
        memset(dw, 0, sizeof dw);
        memset(db, 0, sizeof db);
        for (int64_t block = 0; block < job->n; block += ZRT__SUM_ROWS) {
            int64_t block_end = job->n - block < ZRT__SUM_ROWS ? job->n : block + ZRT__SUM_ROWS;
            vf w_sums[ZRT__LANES / VW] = {{0}}, b_sums[ZRT__LANES / VW] = {{0}};
            for (int64_t row = block; row < block_end; row++) {
                float mean = means != NULL ? means[row] : 0.0f, rstd = rstds[row];
                const float *dy = ZRT__EACH(columns)(job->dy, row * job->width + at, n, dy_buffer);
                const float *x = ZRT__EACH(columns)(job->x, row * job->width + at, n, x_buffer);
                EACH_UNIT
                {
                    vf g = v_load(dy + u * VW);
                    w_sums[u] = v_fma(g, (v_load(x + u * VW) - mean) * rstd, w_sums[u]);
                    b_sums[u] += g;
                }
            }
            EACH_UNIT
            {
                v_store(dw + u * VW, v_load(dw + u * VW) + w_sums[u]);
                v_store(db + u * VW, v_load(db + u * VW) + b_sums[u]);
            }
        }
        if (job->dw != NULL)
            ZRT__EACH(put_sums)(job->dw, at, n, job->accumulate_dw, dw);
        if (job->db != NULL)
            ZRT__EACH(put_sums)(job->db, at, n, job->accumulate_db, db);
    }
}

#endif
