/* Activations, gated activations, sums and products: one pass each. */
#include "config.h"

#ifndef ZRT__ISA

#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_elementwise.c"
#define ZRT__GRAIN 8192 /* elements worth a thread's waking */

struct job {
    const zrt__call *call;
};

enum binary { BINARY_ADD, BINARY_MUL };

#include "device/cpu/cpu_isa.h"

static zrt_status over_elements(zrt__stream *stream, zrt__cpu_range_fn *fn, const zrt__call *call, int64_t n)
{
    struct job job = {call};
    zrt__cpu_parallel(stream, n, ZRT__GRAIN, fn, &job);
    return ZRT_OK;
}

/* Over rows of `width` elements each. */
static zrt_status over_rows(zrt__stream *stream, zrt__cpu_range_fn *fn, const zrt__call *call, int64_t n, int64_t width)
{
    struct job job = {call};
    if (width > 0)
        zrt__cpu_parallel(stream, n, 1 + ZRT__GRAIN / width, fn, &job);
    return ZRT_OK;
}

static int64_t last_dim(const zrt_view *v)
{
    return v->n_dims > 0 ? v->dims[v->n_dims - 1] : 1;
}

zrt_status zrt__cpu_activation_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_elements(stream, ZRT__PICK(activation_forward), call, zrt_view_elements(&call->in[0]));
}

zrt_status zrt__cpu_activation_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_elements(stream, ZRT__PICK(activation_backward), call, zrt_view_elements(&call->in[0]));
}

zrt_status zrt__cpu_glu_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    int64_t width = last_dim(&call->out[0]);
    return over_rows(stream, ZRT__PICK(glu_forward), call, width > 0 ? zrt_view_elements(&call->out[0]) / width : 0,
                     width);
}

zrt_status zrt__cpu_glu_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    int64_t width = last_dim(&call->in[0]);
    return over_rows(stream, ZRT__PICK(glu_backward), call, width > 0 ? zrt_view_elements(&call->in[0]) / width : 0,
                     width);
}

zrt_status zrt__cpu_add(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_elements(stream, ZRT__PICK(add), call, zrt_view_elements(&call->in[0]));
}

zrt_status zrt__cpu_mul(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_elements(stream, ZRT__PICK(mul), call, zrt_view_elements(&call->in[0]));
}

zrt_status zrt__cpu_scale(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_elements(stream, ZRT__PICK(scale), call, zrt_view_elements(&call->in[0]));
}

static void last_forward(void *arg, int64_t begin, int64_t end)
{
    const zrt__call *call = ((struct job *)arg)->call;
    const zrt_view *x = &call->in[0];
    size_t row = (size_t)x->dims[2] * zrt_dtype_bytes(x->dtype);
    for (int64_t b = begin; b < end && row > 0; b++)
        memcpy((char *)call->out[0].data + (size_t)b * row,
               (const char *)x->data + (size_t)(b * x->dims[1] + call->attributes.last.index) * row, row);
}

static void last_backward(void *arg, int64_t begin, int64_t end)
{
    const zrt__call *call = ((struct job *)arg)->call;
    const zrt_view *dx = &call->out[0];
    size_t row = (size_t)dx->dims[2] * zrt_dtype_bytes(dx->dtype), rows = (size_t)dx->dims[1];
    for (int64_t b = begin; b < end && row * rows > 0; b++) {
        char *first = (char *)dx->data + (size_t)b * rows * row;
        memset(first, 0, rows * row);
        memcpy(first + (size_t)call->attributes.last.index * row, (const char *)call->in[0].data + (size_t)b * row,
               row);
    }
}

zrt_status zrt__cpu_last_position_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_rows(stream, last_forward, call, call->in[0].dims[0], call->in[0].dims[2]);
}

zrt_status zrt__cpu_last_position_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_rows(stream, last_backward, call, call->out[0].dims[0], call->out[0].dims[1] * call->out[0].dims[2]);
}

#else

/* sqrt(2 / pi) */
#define GELU_K 0.79788456080286536f

static inline vf ZRT__EACH(act)(zrt_activation_kind kind, vf x)
{
    switch (kind) {
    case ZRT_RELU:
        return v_select(x < 0.0f, v_all(0.0f), x);
    case ZRT_GELU:
        return x * v_normal_cdf(x);
    case ZRT_GELU_TANH: /* (1 + tanh u) / 2 = sigmoid(2 u), which does not cancel */
        return x * v_sigmoid(2.0f * GELU_K * v_fma(0.044715f * x * x, x, x));
    case ZRT_SILU:
        return x * v_sigmoid(x);
    case ZRT_TANH:
        return v_tanh(x);
    case ZRT_SIGMOID:
        break;
    }
    return v_sigmoid(x);
}

/* Sets *value_out to act(x); returns its derivative. */
static inline vf ZRT__EACH(act_slope)(zrt_activation_kind kind, vf x, vf *value_out)
{
    vf s, slope;
    switch (kind) {
    case ZRT_RELU:
        *value_out = v_select(x < 0.0f, v_all(0.0f), x);
        return v_select(x > 0.0f, v_all(1.0f), v_all(0.0f));
    case ZRT_GELU:
        s = v_normal_cdf(x);
        *value_out = x * s;
        return v_fma(x * 0.39894228040143268f, v_exp(-0.5f * x * x), s);
    case ZRT_GELU_TANH:
        s = v_sigmoid(2.0f * GELU_K * v_fma(0.044715f * x * x, x, x));
        *value_out = x * s;
        slope = 2.0f * GELU_K * v_fma(v_all(3.0f * 0.044715f) * x, x, v_all(1.0f));
        return v_fma(*value_out * (1.0f - s), slope, s);
    case ZRT_SILU:
        s = v_sigmoid(x);
        *value_out = x * s;
        return v_fma(*value_out, 1.0f - s, s);
    case ZRT_TANH:
        *value_out = v_tanh(x);
        s = v_exp(-2.0f * (vf)((vi)x & 0x7fffffff)); /* 1 - tanh^2 would cancel */
        return 4.0f * s / ((1.0f + s) * (1.0f + s));
    case ZRT_SIGMOID:
        break;
    }
    *value_out = v_sigmoid(x);
    s = v_exp(-(vf)((vi)x & 0x7fffffff));
    return s / ((1.0f + s) * (1.0f + s));
}

static void ZRT__EACH(activation_forward)(void *arg, int64_t begin, int64_t end)
{
    const zrt__call *call = ((struct job *)arg)->call;
    const zrt_view *x = &call->in[0], *y = &call->out[0];
    float x_buffer[ZRT__TILE], y_buffer[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *a = tile_in(x, at, n, x_buffer);
        float *out = tile_out(y, at, y_buffer);
        for (size_t i = 0; i < n; i += VW)
            v_store_n(out + i, ZRT__EACH(act)(call->attributes.activation.kind, v_load_n(a + i, n - i)), n - i);
        tile_done(y, at, n, out);
    }
}

static void ZRT__EACH(activation_backward)(void *arg, int64_t begin, int64_t end)
{
    const zrt__call *call = ((struct job *)arg)->call;
    const zrt_view *dy = &call->in[0], *x = &call->in[1], *dx = &call->out[0];
    float dy_buffer[ZRT__TILE], x_buffer[ZRT__TILE], dx_buffer[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *g = tile_in(dy, at, n, dy_buffer), *a = tile_in(x, at, n, x_buffer);
        float *out = tile_out(dx, at, dx_buffer);
        for (size_t i = 0; i < n; i += VW) {
            vf value, slope = ZRT__EACH(act_slope)(call->attributes.activation.kind, v_load_n(a + i, n - i), &value);
            v_store_n(out + i, v_load_n(g + i, n - i) * slope, n - i);
        }
        tile_done(dx, at, n, out);
    }
}

static void ZRT__EACH(glu_forward)(void *arg, int64_t begin, int64_t end)
{
    const zrt__call *call = ((struct job *)arg)->call;
    const zrt_view *x = &call->in[0], *y = &call->out[0];
    int64_t width = y->dims[y->n_dims - 1];
    float gate_buffer[ZRT__TILE], up_buffer[ZRT__TILE], y_buffer[ZRT__TILE];
    for (int64_t row = begin; row < end; row++) {
        for (int64_t at = 0; at < width; at += ZRT__TILE) {
            size_t n = width - at < ZRT__TILE ? (size_t)(width - at) : ZRT__TILE;
            const float *gate = tile_in(x, 2 * row * width + at, n, gate_buffer);
            const float *up = tile_in(x, (2 * row + 1) * width + at, n, up_buffer);
            float *out = tile_out(y, row * width + at, y_buffer);
            for (size_t i = 0; i < n; i += VW) {
                vf a = ZRT__EACH(act)(call->attributes.activation.kind, v_load_n(gate + i, n - i));
                v_store_n(out + i, a * v_load_n(up + i, n - i), n - i);
            }
            tile_done(y, row * width + at, n, out);
        }
    }
}

static void ZRT__EACH(glu_backward)(void *arg, int64_t begin, int64_t end)
{
    const zrt__call *call = ((struct job *)arg)->call;
    const zrt_view *dy = &call->in[0], *x = &call->in[1], *dx = &call->out[0];
    int64_t width = dy->dims[dy->n_dims - 1];
    float dy_buffer[ZRT__TILE], gate_buffer[ZRT__TILE], up_buffer[ZRT__TILE], gate_out[ZRT__TILE], up_out[ZRT__TILE];
    for (int64_t row = begin; row < end; row++) {
        for (int64_t at = 0; at < width; at += ZRT__TILE) {
            size_t n = width - at < ZRT__TILE ? (size_t)(width - at) : ZRT__TILE;
            int64_t gate_at = 2 * row * width + at, up_at = gate_at + width;
            const float *g = tile_in(dy, row * width + at, n, dy_buffer);
            const float *gate = tile_in(x, gate_at, n, gate_buffer), *up = tile_in(x, up_at, n, up_buffer);
            float *d_gate = tile_out(dx, gate_at, gate_out), *d_up = tile_out(dx, up_at, up_out);
            for (size_t i = 0; i < n; i += VW) {
                vf value,
                    slope = ZRT__EACH(act_slope)(call->attributes.activation.kind, v_load_n(gate + i, n - i), &value);
                vf dyi = v_load_n(g + i, n - i), upi = v_load_n(up + i, n - i);
                v_store_n(d_gate + i, dyi * upi * slope, n - i);
                v_store_n(d_up + i, dyi * value, n - i);
            }
            tile_done(dx, gate_at, n, d_gate);
            tile_done(dx, up_at, n, d_up);
        }
    }
}

static inline void ZRT__EACH(binary)(const zrt__call *call, enum binary op, int64_t begin, int64_t end)
{
    const zrt_view *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    float a_buffer[ZRT__TILE], b_buffer[ZRT__TILE], y_buffer[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *p = tile_in(a, at, n, a_buffer), *q = tile_in(b, at, n, b_buffer);
        float *out = tile_out(y, at, y_buffer);
        for (size_t i = 0; i < n; i += VW) {
            vf left = v_load_n(p + i, n - i), right = v_load_n(q + i, n - i);
            v_store_n(out + i, op == BINARY_ADD ? left + right : left * right, n - i);
        }
        tile_done(y, at, n, out);
    }
}

static void ZRT__EACH(add)(void *arg, int64_t begin, int64_t end)
{
    ZRT__EACH(binary)(((struct job *)arg)->call, BINARY_ADD, begin, end);
}

static void ZRT__EACH(mul)(void *arg, int64_t begin, int64_t end)
{
    ZRT__EACH(binary)(((struct job *)arg)->call, BINARY_MUL, begin, end);
}

static void ZRT__EACH(scale)(void *arg, int64_t begin, int64_t end)
{
    const zrt__call *call = ((struct job *)arg)->call;
    const zrt_view *x = &call->in[0], *y = &call->out[0];
    float x_buffer[ZRT__TILE], y_buffer[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *a = tile_in(x, at, n, x_buffer);
        float *out = tile_out(y, at, y_buffer);
        for (size_t i = 0; i < n; i += VW)
            v_store_n(out + i, v_load_n(a + i, n - i) * call->attributes.scale.factor, n - i);
        tile_done(y, at, n, out);
    }
}

#endif
