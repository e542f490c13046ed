/* Rotary positions on packed query, key and value. */
#include "config.h"

#ifndef ZRT__ISA

#include "base/error.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_rope.c"
#define ZRT__GRAIN 8192 /* elements worth a thread's waking */

struct job {
    const zrt__call *call;
    int64_t row; /* elements of one position */
};

#include "device/cpu/cpu_isa.h"

zrt_status zrt__cpu_rope(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const int32_t *positions = call->in[1].data;
    int64_t n = zrt_view_elements(&call->in[1]), n_positions = call->in[2].dims[0];
    int heads = call->attributes.rope.n_heads + 2 * call->attributes.rope.n_kv_heads;
    struct job job = {call, (int64_t)heads * call->attributes.rope.head_dim};
    for (int64_t i = 0; i < n; i++)
        if (positions[i] < 0 || positions[i] >= n_positions)
            return zrt__fail(ZRT_ERR_INPUT,
                             "rotary positions: position %ld is outside the table of %lld; the sequence is longer than "
                             "the model's maximum",
                             (long)positions[i], (long long)n_positions);
    if (job.row > 0)
        zrt__cpu_parallel(stream, n, 1 + ZRT__GRAIN / job.row, ZRT__PICK(rotate), &job);
    return ZRT_OK;
}

#else

static void ZRT__EACH(rotate)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    const zrt__call *call = job->call;
    const zrt_view *in = &call->in[0], *out = &call->out[0];
    int rotated = call->attributes.rope.n_heads + call->attributes.rope.n_kv_heads;
    size_t bytes = zrt_dtype_bytes(in->dtype), half = (size_t)call->attributes.rope.head_dim / 2;
    float sign = call->attributes.rope.inverse ? -1.0f : 1.0f;
    float a_buffer[ZRT__TILE], b_buffer[ZRT__TILE], a_out[ZRT__TILE], b_out[ZRT__TILE];
    for (int64_t row = begin; row < end; row++) {
        const float *cosines =
            (const float *)call->in[2].data + (size_t)((const int32_t *)call->in[1].data)[row] * 2 * half;
        for (int head = 0; head < rotated; head++) {
            for (size_t at = 0; at < half; at += ZRT__TILE) {
                size_t n = half - at < ZRT__TILE ? half - at : ZRT__TILE;
                int64_t a_at = row * job->row + head * (int64_t)(2 * half) + (int64_t)at, b_at = a_at + (int64_t)half;
                const float *a = tile_in(in, a_at, n, a_buffer), *b = tile_in(in, b_at, n, b_buffer);
                float *to_a = tile_out(out, a_at, a_out), *to_b = tile_out(out, b_at, b_out);
                for (size_t k = 0; k < n; k += VW) {
                    vf c = v_load_n(cosines + at + k, n - k), s = v_load_n(cosines + half + at + k, n - k) * sign;
                    vf x = v_load_n(a + k, n - k), y = v_load_n(b + k, n - k);
                    v_store_n(to_a + k, x * c - y * s, n - k);
                    v_store_n(to_b + k, y * c + x * s, n - k);
                }
                tile_done(out, a_at, n, to_a);
                tile_done(out, b_at, n, to_b);
            }
        }
        size_t values = (size_t)rotated * 2 * half, first = (size_t)(row * job->row) + values;
        if (in->data != out->data)
            memcpy((char *)out->data + first * bytes, (const char *)in->data + first * bytes,
                   ((size_t)job->row - values) * bytes);
    }
}

#endif
