/* Packing of buffers: no two that live together overlap, and the size is near the most that lives at once. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/random.h"
#include "plan/plan.h"
#include "tap.h"

static bool overlap(const zrt__buffer *a, const zrt__buffer *b)
{
    return a->region == b->region && a->begin <= b->end && b->begin <= a->end && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

static void random_buffers(uint64_t seed)
{
    zrt__buffers buffers = {0};
    size_t bytes[ZRT__N_REGIONS], live[ZRT__N_CATEGORIES], most = 0;
    bool apart = true, inside = true, aligned = true;
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t h = zrt__hash_mix(seed, i);
        int buffer = zrt__buffers_add(&buffers, (zrt__region)(h % 2), ZRT__CATEGORY_WORKSPACE, h / 7 % 100000 + 1);
        zrt__buffers_touch(&buffers, buffer, (int)(h / 11 % 200));
        zrt__buffers_touch(&buffers, buffer, (int)(h / 11 % 200 + h / 13 % 30));
    }
    zrt_status status = zrt__buffers_pack(&buffers, bytes);
    for (size_t i = 0; i < buffers.n; i++) {
        const zrt__buffer *a = &buffers.items[i];
        inside = inside && a->offset + a->bytes <= bytes[a->region];
        aligned = aligned && a->offset % ZRT__MEMORY_ALIGNMENT == 0 && a->bytes % ZRT__MEMORY_ALIGNMENT == 0;
        for (size_t k = 0; k < i; k++)
            apart = apart && !overlap(a, &buffers.items[k]);
    }
    zrt__buffers_peak(&buffers, live);
    for (int c = 0; c < ZRT__N_CATEGORIES; c++)
        most += live[c];
    tap_ok(status == ZRT_OK && apart, "seed %d: buffers that live together lie apart", (int)seed);
    tap_ok(inside && aligned, "seed %d: inside the region, aligned", (int)seed);
    tap_ok(bytes[0] + bytes[1] >= most && bytes[0] + bytes[1] < most * 3 / 2, "seed %d: %zu bytes for %zu live",
           (int)seed, bytes[0] + bytes[1], most);
    zrt__buffers_free(&buffers);
}

static void sequence(void)
{
    /* a -> b -> c -> d: each lives for two positions, so two places do. */
    zrt__memory memory = {0};
    zrt__plan *plan = NULL;
    zrt__plan_create(&memory, &plan);
    zrt__plan_segment(plan);
    zrt__ref last = zrt__plan_buffer(plan, ZRT__REGION_DEVICE, ZRT__CATEGORY_WORKSPACE, 1024);
    for (int i = 0; i < 6; i++) {
        zrt__ref next = zrt__plan_buffer(plan, ZRT__REGION_DEVICE, ZRT__CATEGORY_WORKSPACE, 1024);
        zrt__operand in = {.ref = last, .view = {.dtype = ZRT_FLOAT32, .n_dims = 1, .dims = {256}}};
        zrt__operand out = {.ref = next, .view = in.view};
        zrt__plan_kernel(plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_scale, &in, 1, &out, 1, 0, NULL);
        last = next;
    }
    tap_ok(zrt__plan_finish(plan) == ZRT_OK && plan->scratch_bytes[ZRT__REGION_DEVICE] == 2048,
           "a chain needs two places: %zu bytes", plan->scratch_bytes[ZRT__REGION_DEVICE]);
    uint64_t hash = zrt__plan_hash(plan);
    plan->entries[3].call->call.out[0].dims[0] = 255;
    tap_ok(zrt__plan_hash(plan) != hash, "the hash sees a shape that differs");
    zrt__plan_destroy(&plan);
}

static void other_stream(void)
{
    /* What a gather writes is not the memory of what still runs before the point it waits for. */
    zrt__memory memory = {0};
    zrt__plan *plan = NULL;
    zrt__plan_create(&memory, &plan);
    zrt__plan_segment(plan);
    zrt__ref a = zrt__plan_buffer(plan, ZRT__REGION_REGISTERED, ZRT__CATEGORY_GATHERED, 4096);
    zrt__ref b = zrt__plan_buffer(plan, ZRT__REGION_REGISTERED, ZRT__CATEGORY_GATHERED, 4096);
    zrt__operand use_a = {.view = {.dtype = ZRT_FLOAT32, .n_dims = 1, .dims = {1}}}, use_b = use_a;
    use_a.ref = a;
    use_b.ref = b;
    zrt__plan_point(plan, ZRT__STREAM_COMPUTE);
    zrt__plan_collective(plan, ZRT__STREAM_GATHER, ZRT__COLLECTIVE_ALL_GATHER, a, a, 1, ZRT_FLOAT32, ZRT__REDUCE_SUM,
                         "a");
    zrt__plan_wait(plan, ZRT__STREAM_GATHER, zrt__plan_record(plan, ZRT__STREAM_COMPUTE));
    zrt__plan_collective(plan, ZRT__STREAM_GATHER, ZRT__COLLECTIVE_ALL_GATHER, b, b, 1, ZRT_FLOAT32, ZRT__REDUCE_SUM,
                         "b");
    zrt__plan_kernel(plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_zero, NULL, 0, &use_a, 1, 0, NULL);
    zrt__plan_kernel(plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_zero, NULL, 0, &use_b, 1, 0, NULL);
    zrt__plan_finish(plan);
    tap_ok(plan->scratch_bytes[ZRT__REGION_REGISTERED] == 8192, "two gathers in flight have two places");
    tap_ok(plan->entries[2].n_waits == 1 && plan->entries[2].waits[0] == plan->entries[0].record,
           "the second gather waits for the point before it");
    zrt__plan_destroy(&plan);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        random_buffers(seed);
    sequence();
    other_stream();
    return tap_done();
}
