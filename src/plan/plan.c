/* Building plans. */
#include "config.h"

#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"

const char *zrt__stream_role_name(zrt__stream_role role)
{
    static const char *const names[] = {"compute",   "gather",    "reduce",     "to host",   "host",
                                        "to device", "file read", "file write", "file fetch"};
    return names[role];
}

zrt_status zrt__plan_create(zrt__memory *memory, zrt__plan **plan_out)
{
    zrt__plan *plan = zrt__calloc(1, sizeof *plan);
    if (plan == NULL)
        return ZRT_ERR_MEMORY;
    plan->memory = memory;
    plan->unit = -1;
    plan->phase = "";
    *plan_out = plan;
    return ZRT_OK;
}

void zrt__plan_destroy(zrt__plan **plan)
{
    if (plan == NULL || *plan == NULL)
        return;
    zrt__plan *p = *plan;
    for (size_t i = 0; i < p->n_entries; i++) {
        free(p->entries[i].call);
        free(p->entries[i].collective);
        free(p->entries[i].copy);
        free(p->entries[i].transfer);
        free(p->entries[i].label);
    }
    for (int i = 0; p->events != NULL && i < p->n_events; i++)
        if (p->events[i] != NULL)
            p->device->ops->event_destroy(&p->events[i]);
    free(p->events);
    free(p->entries);
    zrt__buffers_free(&p->buffers);
    free(p);
    *plan = NULL;
}

static void fail(zrt__plan *plan, zrt_status status)
{
    if (plan->status == ZRT_OK)
        plan->status = status;
}

zrt__ref zrt__plan_buffer(zrt__plan *plan, zrt__region region, zrt__category category, size_t bytes)
{
    int buffer = zrt__buffers_add(&plan->buffers, region, category, bytes);
    if (buffer < 0) {
        fail(plan, ZRT_ERR_MEMORY);
        return ZRT__NO_REF;
    }
    return (zrt__ref){buffer, 0};
}

int zrt__plan_segment(zrt__plan *plan)
{
    plan->segments[plan->n_segments] = plan->n_entries;
    return plan->n_segments++;
}

void zrt__plan_keep(zrt__plan *plan, zrt__ref ref)
{
    if (!zrt__ref_is_none(ref) && ref.buffer >= 0)
        zrt__buffers_touch(&plan->buffers, ref.buffer, plan->n_positions);
}

static zrt__entry *new_entry(zrt__plan *plan, zrt__stream_role stream)
{
    if (plan->status != ZRT_OK)
        return NULL;
    if (zrt__grow(&plan->entries, &plan->entries_capacity, plan->n_entries, sizeof *plan->entries) != ZRT_OK) {
        fail(plan, ZRT_ERR_MEMORY);
        return NULL;
    }
    zrt__entry *entry = &plan->entries[plan->n_entries++];
    *entry = (zrt__entry){.stream = stream,
                          .record = -1,
                          .record_mark = -1,
                          .position = plan->n_positions,
                          .unit = plan->unit,
                          .phase = plan->phase};
    for (int i = 0; i < plan->n_pending[stream]; i++)
        entry->waits[entry->n_waits++] = plan->pending[stream][i];
    plan->n_pending[stream] = 0;
    return entry;
}

void zrt__plan_kernel(zrt__plan *plan, zrt__stream_role stream, zrt__kernel kernel, const zrt__operand *in, int n_in,
                      const zrt__operand *out, int n_out, uint32_t accumulate, const zrt__attributes *attributes)
{
    zrt__entry *entry = new_entry(plan, stream);
    if (entry == NULL)
        return;
    zrt__planned_call *call = zrt__calloc(1, sizeof *call);
    entry->call = call;
    if (call == NULL) {
        fail(plan, ZRT_ERR_MEMORY);
        return;
    }
    call->kernel = kernel;
    call->call.accumulate = accumulate;
    if (attributes != NULL)
        call->call.attributes = *attributes;
    for (int i = 0; i < ZRT__MAX_INPUTS; i++) {
        call->in[i] = i < n_in ? in[i].ref : ZRT__NO_REF;
        if (i < n_in)
            call->call.in[i] = in[i].view;
        zrt__plan_keep(plan, call->in[i]);
    }
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++) {
        call->out[i] = i < n_out ? out[i].ref : ZRT__NO_REF;
        if (i < n_out)
            call->call.out[i] = out[i].view;
        zrt__plan_keep(plan, call->out[i]);
    }
    if (stream == ZRT__STREAM_COMPUTE)
        plan->n_positions++;
}

void zrt__plan_host_call(zrt__plan *plan, zrt__launch_fn *fn, const char *label, const zrt__operand *in, int n_in,
                         const zrt__operand *out, int n_out, uint32_t accumulate, const zrt__attributes *attributes)
{
    size_t before = plan->n_entries;
    zrt__plan_kernel(plan, ZRT__STREAM_HOST, ZRT__N_KERNELS, in, n_in, out, n_out, accumulate, attributes);
    if (plan->status != ZRT_OK || plan->n_entries == before)
        return;
    zrt__entry *entry = &plan->entries[plan->n_entries - 1];
    entry->call->fn = fn;
    entry->label = zrt__strdup(label);
    if (entry->label == NULL)
        fail(plan, ZRT_ERR_MEMORY);
}

void zrt__plan_collective(zrt__plan *plan, zrt__stream_role stream, zrt__collective_kind kind, zrt__ref send,
                          zrt__ref recv, size_t count, zrt_dtype dtype, zrt__reduce_op op, const char *label)
{
    zrt__entry *entry = new_entry(plan, stream);
    if (entry == NULL)
        return;
    entry->collective = zrt__calloc(1, sizeof *entry->collective);
    entry->label = zrt__strdup(label);
    if (entry->collective == NULL || entry->label == NULL) {
        fail(plan, ZRT_ERR_MEMORY);
        return;
    }
    entry->collective_kind = kind;
    entry->collective->send = send;
    entry->collective->recv = recv;
    entry->collective->collective = (zrt__collective){.count = count, .dtype = dtype, .op = op, .label = entry->label};
    zrt__plan_keep(plan, send);
    zrt__plan_keep(plan, recv);
    if (stream == ZRT__STREAM_COMPUTE)
        plan->n_positions++;
}

void zrt__plan_copy(zrt__plan *plan, zrt__stream_role stream, zrt__ref to, zrt__ref from, size_t bytes,
                    const char *label)
{
    zrt__entry *entry = new_entry(plan, stream);
    if (entry == NULL)
        return;
    entry->copy = zrt__calloc(1, sizeof *entry->copy);
    entry->label = zrt__strdup(label);
    if (entry->copy == NULL || entry->label == NULL) {
        fail(plan, ZRT_ERR_MEMORY);
        return;
    }
    *entry->copy = (zrt__planned_copy){.to = to, .from = from, .bytes = bytes};
    zrt__plan_keep(plan, to);
    zrt__plan_keep(plan, from);
    if (stream == ZRT__STREAM_COMPUTE)
        plan->n_positions++;
}

void zrt__plan_transfer(zrt__plan *plan, zrt__stream_role stream, zrt__tier_role tier, bool write, int64_t offset,
                        zrt__ref memory, size_t bytes, const char *label)
{
    zrt__entry *entry = new_entry(plan, stream);
    if (entry == NULL)
        return;
    entry->transfer = zrt__calloc(1, sizeof *entry->transfer);
    entry->label = zrt__strdup(label);
    if (entry->transfer == NULL || entry->label == NULL) {
        fail(plan, ZRT_ERR_MEMORY);
        return;
    }
    *entry->transfer = (zrt__planned_transfer){.transfer = {.channel = (int)stream - ZRT__STREAM_FILE_READ,
                                                            .write = write,
                                                            .offset = offset,
                                                            .bytes = (int64_t)bytes},
                                               .tier = tier,
                                               .memory = memory};
    zrt__plan_keep(plan, memory);
}

/* The last entry of a stream in this segment, NULL: none. */
static zrt__entry *last_entry(zrt__plan *plan, zrt__stream_role stream)
{
    size_t first = plan->n_segments > 0 ? plan->segments[plan->n_segments - 1] : 0;
    for (size_t i = plan->n_entries; i-- > first;)
        if (plan->entries[i].stream == stream)
            return &plan->entries[i];
    return NULL;
}

int zrt__plan_record(zrt__plan *plan, zrt__stream_role stream)
{
    zrt__entry *entry = last_entry(plan, stream);
    if (entry == NULL)
        return -1;
    if (entry->record < 0)
        entry->record = plan->n_events++;
    return entry->record;
}

void zrt__plan_reach(zrt__plan *plan, zrt__stream_role stream, int mark)
{
    zrt__entry *entry = last_entry(plan, stream);
    if (entry == NULL || entry->record_mark >= 0) {
        zrt__plan_point(plan, stream);
        entry = last_entry(plan, stream);
    }
    if (entry != NULL)
        entry->record_mark = mark;
}

/* event: ~mark where it is a mark. */
static void await(zrt__plan *plan, zrt__stream_role stream, int event)
{
    for (int i = 0; i < plan->n_pending[stream]; i++)
        if (plan->pending[stream][i] == event)
            return;
    if (plan->n_pending[stream] == ZRT__ENTRY_MAX_WAITS)
        zrt__plan_point(plan, stream);
    plan->pending[stream][plan->n_pending[stream]++] = event;
}

void zrt__plan_wait(zrt__plan *plan, zrt__stream_role stream, int event)
{
    if (event >= 0)
        await(plan, stream, event);
}

void zrt__plan_await(zrt__plan *plan, zrt__stream_role stream, int mark)
{
    await(plan, stream, ~mark);
}

void zrt__plan_point(zrt__plan *plan, zrt__stream_role stream)
{
    zrt__entry *entry = new_entry(plan, stream);
    if (entry != NULL && stream == ZRT__STREAM_COMPUTE)
        plan->n_positions++;
}

zrt_status zrt__plan_finish(zrt__plan *plan)
{
    if (plan->status != ZRT_OK)
        return plan->status;
    ZRT_TRY(zrt__buffers_pack(&plan->buffers, plan->scratch_bytes));
    for (int region = 0; region < ZRT__N_REGIONS; region++)
        if (plan->scratch_bytes[region] > plan->memory->scratch_bytes[region])
            plan->memory->scratch_bytes[region] = plan->scratch_bytes[region];
    return ZRT_OK;
}

static uint64_t hash_view(uint64_t hash, const zrt_view *view)
{
    hash = zrt__hash_mix(hash, (uint64_t)view->dtype * 8 + (uint64_t)view->n_dims);
    for (int i = 0; i < view->n_dims; i++)
        hash = zrt__hash_mix(hash, (uint64_t)view->dims[i]);
    return hash;
}

uint64_t zrt__plan_hash(const zrt__plan *plan)
{
    uint64_t hash = (uint64_t)plan->n_events;
    for (size_t i = 0; i < plan->n_entries; i++) {
        const zrt__entry *entry = &plan->entries[i];
        /* How a shard is cut into updates is each rank's own. */
        if ((strcmp(entry->phase, "step") == 0 && entry->collective == NULL) || entry->stream == ZRT__STREAM_HOST)
            continue;
        hash = zrt__hash_mix(hash, (uint64_t)(entry->record_mark + 1));
        if (entry->copy != NULL)
            hash = zrt__hash_mix(hash, entry->copy->bytes);
        if (entry->transfer != NULL)
            hash = zrt__hash_mix(hash, (uint64_t)entry->transfer->transfer.bytes);
        hash = zrt__hash_mix(hash, (uint64_t)entry->stream * 64 + (uint64_t)(entry->record + 1));
        for (int k = 0; k < entry->n_waits; k++)
            hash = zrt__hash_mix(hash, (uint64_t)entry->waits[k]);
        if (entry->call != NULL) {
            hash = zrt__hash_mix(hash, (uint64_t)entry->call->kernel);
            for (int k = 0; k < ZRT__MAX_INPUTS; k++)
                hash = hash_view(hash, &entry->call->call.in[k]);
            for (int k = 0; k < ZRT__MAX_OUTPUTS; k++)
                hash = hash_view(hash, &entry->call->call.out[k]);
        }
        if (entry->collective != NULL) {
            const zrt__collective *c = &entry->collective->collective;
            hash =
                zrt__hash_mix(hash, (uint64_t)entry->collective_kind * 64 + (uint64_t)c->dtype * 8 + (uint64_t)c->op);
            hash = zrt__hash_mix(hash, (uint64_t)c->count);
        }
    }
    return hash;
}
