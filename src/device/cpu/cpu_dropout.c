/* Dropout, drawn by counters: its own backward pass. */
#include "config.h"

#ifndef ZRT__ISA

#include "base/random.h"
#include "device/cpu/cpu_draw.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_dropout.c"
#define ZRT__BLOCK 4096 /* elements of a row that a thread takes at a time; a multiple of 4 */

struct job {
    const zrt__call *call;
    struct zrt__cpu_draw draw;
    uint64_t seed;
    int64_t row, blocks; /* elements of a row, blocks of a row */
    float kept;
};

#include "device/cpu/cpu_isa.h"

zrt_status zrt__cpu_dropout(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    int64_t n_rows = call->in[0].dims[0];
    struct job job = {.call = call, .row = n_rows > 0 ? zrt_view_elements(&call->in[0]) / n_rows : 0};
    const zrt__step_state *state = call->in[3].data;
    job.draw = zrt__cpu_draw_make(state, call->attributes.dropout.probability, call->attributes.dropout.unit_index,
                                  call->attributes.dropout.op_index);
    job.seed = state->seed;
    job.kept = 1.0f / (1.0f - call->attributes.dropout.probability);
    job.blocks = (job.row + ZRT__BLOCK - 1) / ZRT__BLOCK;
    zrt__cpu_parallel(stream, n_rows * job.blocks, 2, ZRT__PICK(drop), &job);
    return ZRT_OK;
}

#else

#include "device/cpu/cpu_random.h"

static void ZRT__EACH(drop)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    const zrt_view *x = &job->call->in[0], *add = job->call->in[1].data != NULL ? &job->call->in[1] : NULL,
                   *y = &job->call->out[0];
    const int64_t *samples = job->call->in[2].data;
    float x_buffer[ZRT__TILE], add_buffer[ZRT__TILE], y_buffer[ZRT__TILE], factors[ZRT__TILE];
    for (int64_t block = begin; block < end; block++) {
        int64_t row = block / job->blocks, first = block % job->blocks * ZRT__BLOCK;
        int64_t last = job->row - first < ZRT__BLOCK ? job->row : first + ZRT__BLOCK;
        uint64_t key = zrt__hash_mix(job->seed, (uint64_t)samples[row]);
        for (int64_t at = first; at < last; at += ZRT__TILE) {
            size_t n = last - at < ZRT__TILE ? (size_t)(last - at) : ZRT__TILE;
            int64_t place = row * job->row + at;
            const float *p = tile_in(x, place, n, x_buffer),
                        *q = add != NULL ? tile_in(add, place, n, add_buffer) : NULL;
            float *out = tile_out(y, place, y_buffer);
            philox_factors(&job->draw, key, (uint64_t)at, n, job->kept, factors);
            for (size_t k = 0; k < n; k += VW) {
                /* a dropped value is 0 even where it is infinite */
                vf factor = v_load_n(factors + k, n - k);
                vf kept = v_select(factor > 0.0f, v_load_n(p + k, n - k) * factor, v_all(0.0f));
                v_store_n(out + k, q != NULL ? kept + v_load_n(q + k, n - k) : kept, n - k);
            }
            tile_done(y, place, n, out);
        }
    }
}

#endif
