/* Flat buffers: which parameters lie together, and what of them this rank holds. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "offload/tile.h"
#include "zero/zero.h"

/* Elements: 256 bytes of fp32, and 16-byte vectors of 16-bit types. */
#define ALIGNMENT 64

static int64_t align_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

zrt__ref zrt__ref_at(zrt__ref ref, size_t bytes)
{
    if (zrt__ref_is_none(ref))
        return ref;
    return (zrt__ref){ref.buffer, ref.offset + bytes};
}

static bool is_persistent(const zrt__zero *zero, const zrt__slot *slot, int64_t persistent_so_far)
{
    const zrt__zero_options *options = &zero->options;
    return slot->n_elements <= options->persistence_threshold &&
           persistent_so_far + slot->n_elements <= options->model_persistence_threshold;
}

static zrt__flat *new_flat(zrt__zero *zero, char *name, zrt__flat_kind kind, bool trainable)
{
    zrt__flat *flats = name != NULL ? zrt__realloc(zero->flats, (size_t)(zero->n_flats + 1) * sizeof *flats) : NULL;
    if (flats == NULL) {
        free(name);
        zero->status = ZRT_ERR_MEMORY;
        return NULL;
    }
    zero->flats = flats;
    zrt__flat *flat = &flats[zero->n_flats++];
    *flat = (zrt__flat){.name = name,
                        .kind = kind,
                        .trainable = trainable,
                        .parameter = ZRT__NO_REF,
                        .master = ZRT__NO_REF,
                        .states = {ZRT__NO_REF, ZRT__NO_REF},
                        .gradient = ZRT__NO_REF,
                        .second = {ZRT__NO_REF, ZRT__NO_REF, ZRT__NO_REF}};
    return flat;
}

/* Lays the slots out: matrices first, so that weight decay covers one run of elements. */
static zrt_status lay_out(zrt__zero *zero, int index, const int *slots, int n_slots)
{
    zrt__flat *flat = &zero->flats[index];
    const zrt__zero_options *options = &zero->options;
    flat->slots = zrt__malloc((size_t)n_slots * sizeof *flat->slots);
    if (flat->slots == NULL)
        return ZRT_ERR_MEMORY;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n_slots; i++) {
            const zrt__slot *slot = &zero->model->slots[slots[i]];
            if ((slot->n_dims >= 2) != (pass == 0))
                continue;
            zero->slot_flat[slots[i]] = index;
            zero->slot_offset[slots[i]] = flat->n_elements;
            flat->slots[flat->n_slots++] = slots[i];
            flat->n_elements = align_up(flat->n_elements + slot->n_elements, ALIGNMENT);
        }
        if (pass == 0)
            flat->decay_elements = flat->n_elements;
    }
    bool one_shard = options->stage == 0 || (!flat->trainable && flat->kind == ZRT__FLAT_RESIDENT);
    flat->n_shards = one_shard ? 1 : options->n_ranks;
    flat->n_elements = align_up(flat->n_elements, (int64_t)flat->n_shards * ALIGNMENT);
    flat->shard_elements = flat->n_elements / flat->n_shards;
    flat->shard_first = flat->n_shards == 1 ? 0 : flat->shard_elements * options->rank;
    flat->local_gradient =
        flat->trainable && (options->n_ranks == 1 || (options->stage <= 1 && options->micro_steps > 1));
    return ZRT_OK;
}

/* What is on the host where optimizer states are offloaded; on the device only gradients that are added up there. */
static zrt_status allocate_offloaded(zrt__zero *zero, zrt__flat *flat)
{
    zrt__memory *memory = zero->memory;
    const zrt__zero_options *options = &zero->options;
    zrt__region region = options->staged ? ZRT__REGION_PAGEABLE : ZRT__REGION_PINNED;
    size_t n = (size_t)flat->shard_elements;
    bool at_once = !flat->local_gradient && options->micro_steps == 1;
    flat->host_gradient_dtype = at_once ? options->reduce_dtype : options->accumulate_dtype;
    flat->in_file = options->files.optimizer;
    if (flat->in_file)
        zrt__files_place(zero, flat);
    else
        flat->master = zrt__memory_persistent(memory, region, ZRT__CATEGORY_MASTER, n * sizeof(float));
    for (int i = 0; i < options->update.n_states && !flat->in_file; i++)
        flat->states[i] = zrt__memory_persistent(memory, region, ZRT__CATEGORY_OPTIMIZER, n * sizeof(float));
    flat->host_gradient = zrt__memory_persistent(memory, region, ZRT__CATEGORY_GRADIENT_SHARD,
                                                 n * zrt_dtype_bytes(flat->host_gradient_dtype));
    bool speculative = options->offload == ZRT__OFFLOAD_SPECULATIVE;
    for (int i = 0; speculative && i < 1 + options->update.n_states; i++)
        flat->second[i] = zrt__memory_persistent(memory, region, ZRT__CATEGORY_SECOND_COPY, n * sizeof(float));
    flat->host_parameter = flat->master;
    if ((options->compute_dtype != ZRT_FLOAT32 || speculative) && !flat->in_file)
        flat->host_parameter =
            zrt__memory_persistent(memory, region, ZRT__CATEGORY_STAGING, n * zrt_dtype_bytes(options->compute_dtype));
    flat->gradient = ZRT__NO_REF;
    if (!at_once)
        flat->gradient = zrt__memory_persistent(memory, ZRT__REGION_REGISTERED, ZRT__CATEGORY_GRADIENT_SHARD,
                                                (flat->local_gradient ? (size_t)flat->n_elements : n) *
                                                    zrt_dtype_bytes(options->accumulate_dtype));
    flat->updated = zrt__memory_mark(memory);
    flat->ready = zrt__memory_mark(memory);
    return memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
}

/* Persistent memory of a flat. In fp32 the master parameters are the parameters themselves. */
static zrt_status allocate(zrt__zero *zero, zrt__flat *flat)
{
    zrt__memory *memory = zero->memory;
    zrt_dtype dtype = zero->options.compute_dtype;
    size_t element = zrt_dtype_bytes(dtype);
    bool resident = flat->kind == ZRT__FLAT_RESIDENT;
    size_t held = (size_t)(resident ? flat->n_elements : flat->shard_elements);
    size_t shard = (size_t)flat->shard_elements * sizeof(float);
    flat->parameter = zrt__memory_persistent(memory, ZRT__REGION_REGISTERED, ZRT__CATEGORY_PARAMETERS, held * element);
    if (!flat->trainable)
        return memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
    if (flat->on_host)
        return allocate_offloaded(zero, flat);
    if (dtype == ZRT_FLOAT32)
        flat->master = zrt__ref_at(flat->parameter, resident ? (size_t)flat->shard_first * sizeof(float) : 0);
    else
        flat->master = zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_MASTER, shard);
    for (int i = 0; i < zero->options.update.n_states; i++)
        flat->states[i] = zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_OPTIMIZER, shard);
    size_t gradient = (size_t)(flat->local_gradient ? flat->n_elements : flat->shard_elements) *
                      zrt_dtype_bytes(zero->options.accumulate_dtype);
    flat->gradient = zrt__memory_persistent(memory, ZRT__REGION_REGISTERED, ZRT__CATEGORY_GRADIENT_SHARD, gradient);
    return memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
}

/* Which flats are offloaded. On the device stay the first: backward reaches them last and the next forward pass asks for them
 * first, so that what the host does is hidden best. */
static void place(zrt__zero *zero)
{
    int64_t all = 0, placed = 0;
    for (int i = 0; i < zero->n_flats; i++)
        all += zero->flats[i].trainable ? zero->flats[i].shard_elements : 0;
    double wanted = zero->options.device_share * (double)all;
    for (int i = 0; i < zero->n_flats; i++) {
        zrt__flat *flat = &zero->flats[i];
        if (!flat->trainable || zero->options.offload == ZRT__OFFLOAD_NONE)
            continue;
        flat->on_host = (double)placed + 0.5 * (double)flat->shard_elements > wanted;
        /* One rank with nothing to add up sends its gradients down as they are written, in 16 bits; the others are rounded
         * likewise, so that the ratio changes no result. */
        if (zero->options.micro_steps == 1)
            flat->local_gradient = false;
        placed += flat->shard_elements;
    }
}

void zrt__zero_shares(const zrt__zero *zero, int64_t *all_out, int64_t *on_device_out)
{
    *all_out = *on_device_out = 0;
    for (int i = 0; i < zero->n_flats; i++) {
        const zrt__flat *flat = &zero->flats[i];
        *all_out += flat->trainable ? flat->shard_elements : 0;
        *on_device_out += flat->trainable && !flat->on_host ? flat->shard_elements : 0;
    }
}

static zrt_status partition(zrt__zero *zero)
{
    const zrt_model *model = zero->model;
    bool sharded = zero->options.stage == 3 && zero->options.n_ranks > 1;
    enum { SHARED, TRAINED, FROZEN, PERSISTENT, N_GROUPS };
    int *group = zrt__malloc((model->n_slots + 1) * sizeof *group);
    int *members = zrt__malloc((model->n_slots + 1) * sizeof *members);
    zrt_status status = group != NULL && members != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    int64_t persistent = 0;
    for (size_t i = 0; i < model->n_slots && status == ZRT_OK; i++) {
        const zrt__slot *slot = &model->slots[i];
        bool trained = zrt__slot_trainable(model, (int)i);
        group[i] = slot->shared ? SHARED : trained ? TRAINED : FROZEN;
        if (sharded && trained && !slot->shared && is_persistent(zero, slot, persistent)) {
            group[i] = PERSISTENT;
            persistent += slot->n_elements;
        }
    }
    /* One flat for a shared parameter (each of its uses reduces its own contribution), one a unit and kind, one for what is persistent. */
    for (int g = SHARED; g < N_GROUPS && status == ZRT_OK; g++) {
        for (size_t u = 0; u < model->n_units && status == ZRT_OK; u++) {
            int n = 0;
            for (size_t i = 0; i < model->n_slots && status == ZRT_OK; i++) {
                if (group[i] != g || (g != PERSISTENT && model->slots[i].unit != (int)u))
                    continue;
                members[n++] = (int)i;
                if (g != SHARED)
                    continue;
                const char *name = model->parameters[model->slots[i].first_parameter].name;
                if (new_flat(zero, zrt__strdup(name), sharded ? ZRT__FLAT_SHARDED : ZRT__FLAT_RESIDENT,
                             zrt__slot_trainable(model, (int)i)) == NULL)
                    status = zero->status;
                else
                    status = lay_out(zero, zero->n_flats - 1, &members[n - 1], 1);
            }
            if (status != ZRT_OK || n == 0 || g == SHARED)
                continue;
            const char *suffix = g == FROZEN ? " (frozen)" : "";
            char *name = g == PERSISTENT ? zrt__strdup("persistent parameters")
                                         : zrt__format("%s%s", model->units[u].prefix, suffix);
            bool resident = !sharded || g == PERSISTENT;
            if (new_flat(zero, name, resident ? ZRT__FLAT_RESIDENT : ZRT__FLAT_SHARDED, g != FROZEN) == NULL)
                status = zero->status;
            else
                status = lay_out(zero, zero->n_flats - 1, members, n);
            if (g == PERSISTENT)
                break;
        }
    }
    free(group);
    free(members);
    place(zero);
    for (int i = 0; i < zero->n_flats && status == ZRT_OK; i++)
        status = allocate(zero, &zero->flats[i]);
    if (status == ZRT_OK && zero->options.offload != ZRT__OFFLOAD_NONE)
        status = zrt__offload_allocate(zero);
    return status == ZRT_OK && zero->options.files.optimizer ? zrt__files_allocate(zero) : status;
}

static zrt_status allocate_batch(zrt__zero *zero)
{
    const zrt__zero_options *options = &zero->options;
    zrt__memory *memory = zero->memory;
    int64_t rows = options->rows > options->evaluation_rows ? options->rows : options->evaluation_rows;
    zero->fields_rows = rows;
    zero->fields_length = options->length;
    for (size_t i = 0; i < zero->model->n_fields; i++) {
        const zrt__field *field = &zero->model->fields[i];
        int64_t n = rows;
        for (int d = 0; d < field->n_dims; d++)
            n *= field->dims[d] < 0 ? options->length : field->dims[d];
        zero->fields[i] = zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_BATCH,
                                                 (size_t)n * zrt_dtype_bytes(field->dtype));
    }
    zero->sample_ids =
        zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_BATCH, (size_t)rows * sizeof(int64_t));
    zero->state = zrt__memory_persistent(memory, ZRT__REGION_REGISTERED, ZRT__CATEGORY_BATCH, sizeof(zrt__step_state));
    zero->host_state = ZRT__NO_REF;
    if (options->offload != ZRT__OFFLOAD_NONE) {
        zero->host_state =
            zrt__memory_persistent(memory, ZRT__REGION_PINNED, ZRT__CATEGORY_STAGING, sizeof(zrt__step_state));
        zero->host_state_read = zrt__memory_mark(memory);
        zero->host_decided = zrt__memory_mark(memory);
    }
    zero->predicted = zero->host_predicted = zero->control = ZRT__NO_REF;
    if (options->offload == ZRT__OFFLOAD_SPECULATIVE) {
        zero->predicted =
            zrt__memory_persistent(memory, ZRT__REGION_REGISTERED, ZRT__CATEGORY_BATCH, sizeof(zrt__step_state));
        zero->host_predicted =
            zrt__memory_persistent(memory, ZRT__REGION_PINNED, ZRT__CATEGORY_STAGING, sizeof(zrt__step_state));
        zero->control =
            zrt__memory_persistent(memory, ZRT__REGION_PINNED, ZRT__CATEGORY_STAGING, sizeof(zrt__speculation));
    }
    zero->capacity = zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_BATCH, sizeof(double));
    zero->dummy_sums = zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_BATCH, 2 * sizeof(double));
    zero->rates = zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_BATCH,
                                         (size_t)options->rules->n_learning_rates * sizeof(double));
    return memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
}

zrt_status zrt__zero_create(const zrt__zero_options *options, zrt_model *model, zrt__memory *memory,
                            zrt__zero **zero_out)
{
    zrt__zero *zero = zrt__calloc(1, sizeof *zero);
    if (zero == NULL)
        return ZRT_ERR_MEMORY;
    zero->options = *options;
    zero->model = model;
    zero->memory = memory;
    zero->slot_flat = zrt__calloc(model->n_slots + 1, sizeof *zero->slot_flat);
    zero->slot_offset = zrt__calloc(model->n_slots + 1, sizeof *zero->slot_offset);
    zrt_status status = zero->slot_flat != NULL && zero->slot_offset != NULL ? partition(zero) : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = allocate_batch(zero);
    if (status != ZRT_OK) {
        zrt__zero_destroy(&zero);
        return status;
    }
    *zero_out = zero;
    return ZRT_OK;
}

void zrt__zero_destroy(zrt__zero **zero)
{
    if (zero == NULL || *zero == NULL)
        return;
    zrt__zero *z = *zero;
    for (int i = 0; i < z->n_flats; i++) {
        free(z->flats[i].name);
        free(z->flats[i].slots);
    }
    for (size_t i = 0; i < z->n_constants; i++)
        free(z->constants[i].values);
    free(z->constants);
    free(z->flats);
    free(z->slot_flat);
    free(z->slot_offset);
    free(z);
    *zero = NULL;
}

void zrt__zero_locate(const zrt__zero *zero, int parameter, int *flat_out, int64_t *first_out)
{
    const zrt__parameter *p = &zero->model->parameters[parameter];
    *flat_out = zero->slot_flat[p->slot];
    *first_out = zero->slot_offset[p->slot] + p->offset;
}

zrt__ref zrt__state_shard(const zrt__flat *flat, int which, int current)
{
    return current > 0 ? flat->second[which] : which > 0 ? flat->states[which - 1] : flat->master;
}

zrt_dtype zrt__gradient_shard(const zrt__zero *zero, const zrt__flat *flat, zrt__ref *ref_out)
{
    zrt_dtype dtype = zero->options.accumulate_dtype;
    if (zrt__ref_is_none(flat->gradient)) {
        *ref_out = flat->host_gradient;
        return flat->host_gradient_dtype;
    }
    *ref_out = flat->gradient;
    if (flat->local_gradient)
        *ref_out = zrt__ref_at(flat->gradient, (size_t)flat->shard_first * zrt_dtype_bytes(dtype));
    return dtype;
}
