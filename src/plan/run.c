/* Binding plans to memory and running them. */
#include "config.h"

#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "plan/plan.h"

void *zrt__memory_address(const zrt__memory *memory, const zrt__plan *plan, zrt__ref ref)
{
    if (zrt__ref_is_none(ref))
        return NULL;
    const zrt__buffer *buffer =
        ref.buffer < 0 ? &memory->persistent.items[~ref.buffer] : &plan->buffers.items[ref.buffer];
    char *base = ref.buffer < 0 ? memory->persistent_base[buffer->region] : memory->scratch_base[buffer->region];
    return base + buffer->offset + ref.offset;
}

static void bind_view(const zrt__plan *plan, zrt_view *view, zrt__ref ref)
{
    if (!zrt__ref_is_none(ref))
        view->data = zrt__memory_address(plan->memory, plan, ref);
}

zrt_status zrt__plan_bind(zrt__plan *plan, const zrt__runtime *runtime)
{
    for (size_t i = 0; i < plan->n_entries; i++) {
        zrt__entry *entry = &plan->entries[i];
        if (entry->call != NULL) {
            for (int k = 0; k < ZRT__MAX_INPUTS; k++)
                bind_view(plan, &entry->call->call.in[k], entry->call->in[k]);
            for (int k = 0; k < ZRT__MAX_OUTPUTS; k++)
                bind_view(plan, &entry->call->call.out[k], entry->call->out[k]);
        }
        if (entry->collective != NULL) {
            zrt__collective *collective = &entry->collective->collective;
            collective->comm = runtime->comms[entry->stream];
            collective->send = zrt__memory_address(plan->memory, plan, entry->collective->send);
            collective->recv = zrt__memory_address(plan->memory, plan, entry->collective->recv);
        }
        if (entry->copy != NULL) {
            entry->copy->to_data = zrt__memory_address(plan->memory, plan, entry->copy->to);
            entry->copy->from_data = zrt__memory_address(plan->memory, plan, entry->copy->from);
        }
        if (entry->transfer != NULL) {
            entry->transfer->transfer.tier = runtime->tiers[entry->transfer->tier];
            entry->transfer->transfer.data = zrt__memory_address(plan->memory, plan, entry->transfer->memory);
        }
    }
    if (plan->events == NULL && plan->n_events > 0) {
        plan->device = runtime->device;
        plan->events = zrt__calloc((size_t)plan->n_events, sizeof *plan->events);
        if (plan->events == NULL)
            return ZRT_ERR_MEMORY;
        for (int i = 0; i < plan->n_events; i++)
            ZRT_TRY(runtime->device->ops->event_create(runtime->device, &plan->events[i]));
    }
    plan->bound = true;
    return ZRT_OK;
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static zrt__launch_fn *collective_function(const zrt__comm_ops *ops, zrt__collective_kind kind)
{
    switch (kind) {
    case ZRT__COLLECTIVE_ALL_GATHER:
        return ops->all_gather;
    case ZRT__COLLECTIVE_REDUCE_SCATTER:
        return ops->reduce_scatter;
    case ZRT__COLLECTIVE_ALL_REDUCE:
        break;
    }
    return ops->all_reduce;
}

zrt_status zrt__plan_run(zrt__plan *plan, const zrt__runtime *runtime, int segment, zrt__trace *trace)
{
    const zrt__device_ops *device = runtime->device->ops;
    size_t end = segment + 1 < plan->n_segments ? plan->segments[segment + 1] : plan->n_entries;
    for (size_t i = plan->segments[segment]; i < end; i++) {
        const zrt__entry *entry = &plan->entries[i];
        zrt__stream *stream = runtime->streams[entry->stream];
        if (trace != NULL)
            trace->enqueued[i] = now();
        for (int k = 0; k < entry->n_waits; k++)
            ZRT_TRY(device->event_wait(
                entry->waits[k] >= 0 ? plan->events[entry->waits[k]] : runtime->marks[~entry->waits[k]], stream));
        if (trace != NULL)
            ZRT_TRY(device->timestamp(stream, &trace->begin[i]));
        if (entry->call != NULL) {
            zrt__launch_fn *fn = entry->call->fn;
            if (fn == NULL)
                fn = zrt__kernel_get(entry->stream == ZRT__STREAM_HOST ? runtime->host_kernels : runtime->kernels,
                                     entry->call->kernel);
            ZRT_TRY(device->launch(stream, fn, entry->call));
        } else if (entry->collective != NULL) {
            zrt__comm *comm = entry->collective->collective.comm;
            ZRT_TRY(device->launch(stream, collective_function(comm->ops, entry->collective_kind), entry->collective));
        } else if (entry->copy != NULL) {
            ZRT_TRY(device->copy(stream, entry->copy->to_data, entry->copy->from_data, entry->copy->bytes));
        } else if (entry->transfer != NULL) {
            ZRT_TRY(device->launch(stream, zrt__transfer_run, entry->transfer));
        }
        if (trace != NULL)
            ZRT_TRY(device->timestamp(stream, &trace->end[i]));
        if (entry->record >= 0)
            ZRT_TRY(device->event_record(plan->events[entry->record], stream));
        if (entry->record_mark >= 0)
            ZRT_TRY(device->event_record(runtime->marks[entry->record_mark], stream));
    }
    return ZRT_OK;
}
