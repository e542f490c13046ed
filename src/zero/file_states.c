/* Master parameters and optimizer states in a file (Rajbhandari et al. 2021, ZeRO-Infinity): a tile of them is read into a slot of
 * the host, updated there, and written back, while the next one is read and the one before is written. A slot is free again when its
 * tile is in the file and its parameters are on the device. Reads follow writes of the same place because tile i of every step has
 * slot i modulo their number, and writes are in order. */
#include "config.h"

#include <inttypes.h>

#include "base/error.h"
#include "zero/zero.h"

/* Elements: whole pages of fp32 and of 16-bit types. */
enum { TILE_ALIGNMENT = 2048 };

static int64_t align_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static int n_parts(const zrt__zero *zero)
{
    return 1 + zero->options.update.n_states;
}

/* Bytes of a slot for each element of its tile. */
static int64_t element_bytes(const zrt__zero *zero)
{
    zrt_dtype dtype = zero->options.compute_dtype;
    return (int64_t)(n_parts(zero) * (int)sizeof(float) + (dtype != ZRT_FLOAT32 ? (int)zrt_dtype_bytes(dtype) : 0));
}

void zrt__files_place(zrt__zero *zero, zrt__flat *flat)
{
    int64_t *end = &zero->file_bytes[ZRT__TIER_OPTIMIZER];
    for (int i = 0; i < n_parts(zero); i++) {
        flat->file_states[i] = *end;
        *end += align_up(flat->shard_elements * (int64_t)sizeof(float), ZRT__TIER_ALIGNMENT);
    }
}

zrt_status zrt__files_allocate(zrt__zero *zero)
{
    const zrt__file_options *files = &zero->options.files;
    zrt__memory *memory = zero->memory;
    int64_t largest = 0, n_tiles = 0;
    for (int i = 0; i < zero->n_flats; i++)
        if (zero->flats[i].in_file && zero->flats[i].shard_elements > largest)
            largest = zero->flats[i].shard_elements;
    if (largest == 0)
        return ZRT_OK;
    zero->n_slots = 1 + files->read_ahead + files->write_behind;
    int64_t room = files->buffer_bytes / (zero->n_slots * element_bytes(zero));
    int64_t tile = room / TILE_ALIGNMENT * TILE_ALIGNMENT;
    if (tile == 0)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "zero_optimization.offload_optimizer: buffer_count x buffer_size are %" PRId64
                         " elements; %d tiles of an update need at least %" PRId64,
                         files->buffer_bytes / (int64_t)sizeof(float), zero->n_slots,
                         zero->n_slots * element_bytes(zero) * TILE_ALIGNMENT / (int64_t)sizeof(float));
    /* sub_group_size is a bound too, but a disk is not read in smaller pieces than pages. */
    int64_t bound = zero->options.offload_tile < largest ? zero->options.offload_tile : largest;
    bound = align_up(bound, TILE_ALIGNMENT);
    zero->slot_elements = tile < bound ? tile : bound;
    for (int i = 0; i < zero->n_flats; i++)
        if (zero->flats[i].in_file)
            n_tiles += (zero->flats[i].shard_elements + zero->slot_elements - 1) / zero->slot_elements;
    zero->n_slots = n_tiles < zero->n_slots ? (int)n_tiles : zero->n_slots;
    zero->slot_bytes = (size_t)(zero->slot_elements * element_bytes(zero));
    size_t bytes = (size_t)zero->n_slots * zero->slot_bytes;
    /* Large ones lie at pages. */
    zero->slots = zrt__memory_persistent(memory, ZRT__REGION_PINNED, ZRT__CATEGORY_FILE_BUFFERS,
                                         bytes < ZRT__MEMORY_LARGE ? ZRT__MEMORY_LARGE : bytes);
    zero->slot_free = memory->n_marks;
    for (int i = 0; i < zero->n_slots; i++)
        zrt__memory_mark(memory);
    return memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
}

/* Part of a slot: master, states, then the parameters of the compute dtype. */
static zrt__ref part_of(const zrt__zero *zero, int slot, int part)
{
    return zrt__ref_at(zero->slots,
                       (size_t)slot * zero->slot_bytes + (size_t)part * (size_t)zero->slot_elements * sizeof(float));
}

static void transfer(const zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, bool write, int slot, int64_t first,
                     int64_t n)
{
    size_t bytes = (size_t)align_up(n * (int64_t)sizeof(float), ZRT__TIER_ALIGNMENT);
    for (int i = 0; i < n_parts(zero); i++)
        zrt__plan_transfer(plan, write ? ZRT__STREAM_FILE_WRITE : ZRT__STREAM_FILE_READ, ZRT__TIER_OPTIMIZER, write,
                           flat->file_states[i] + first * (int64_t)sizeof(float), part_of(zero, slot, i), bytes,
                           flat->name);
}

/* Elements [from, from + n) of the tile, which begins with element `first` of the shard. */
static void update(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, int slot, int64_t first, int64_t from,
                   int64_t n, bool decay)
{
    const zrt__zero_options *options = &zero->options;
    if (n <= 0)
        return;
    size_t element = zrt_dtype_bytes(flat->host_gradient_dtype), at = (size_t)from * sizeof(float);
    zrt__operand in[2] = {
        zrt__operand_1d(zrt__ref_at(flat->host_gradient, (size_t)(first + from) * element), flat->host_gradient_dtype,
                        n),
        zrt__operand_1d(zero->host_state, ZRT_UINT8, (int64_t)sizeof(zrt__step_state)),
    };
    zrt__operand out[4] = {ZRT__NO_OPERAND, ZRT__NO_OPERAND, ZRT__NO_OPERAND, ZRT__NO_OPERAND};
    for (int i = 0; i < n_parts(zero); i++)
        out[i] = zrt__operand_1d(zrt__ref_at(part_of(zero, slot, i), at), ZRT_FLOAT32, n);
    zrt__plan_kernel(plan, ZRT__STREAM_HOST, options->update.kernel, in, 2, out, 4, 0,
                     decay ? &options->update.decay : &options->update.no_decay);
}

void zrt__files_update(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, int *tile)
{
    const zrt__zero_options *options = &zero->options;
    size_t element = zrt_dtype_bytes(options->compute_dtype);
    for (int64_t first = 0; first < flat->shard_elements; first += zero->slot_elements) {
        int slot = *tile % zero->n_slots;
        int64_t left = flat->shard_elements - first, n = left < zero->slot_elements ? left : zero->slot_elements;
        int64_t decayed = flat->decay_elements - flat->shard_first - first;
        decayed = decayed < 0 ? 0 : decayed > n ? n : decayed;
        (*tile)++;
        zrt__plan_await(plan, ZRT__STREAM_FILE_READ, zero->slot_free + slot);
        if (!options->files.read_ahead)
            zrt__plan_wait(plan, ZRT__STREAM_FILE_READ, zrt__plan_record(plan, ZRT__STREAM_HOST));
        transfer(zero, plan, flat, false, slot, first, n);

        zrt__plan_wait(plan, ZRT__STREAM_HOST, zrt__plan_record(plan, ZRT__STREAM_FILE_READ));
        if (!options->files.write_behind)
            zrt__plan_wait(plan, ZRT__STREAM_HOST, zrt__plan_record(plan, ZRT__STREAM_FILE_WRITE));
        update(zero, plan, flat, slot, first, 0, decayed, true);
        update(zero, plan, flat, slot, first, decayed, n - decayed, false);
        zrt__ref parameter = part_of(zero, slot, 0);
        if (options->compute_dtype != ZRT_FLOAT32) { /* of a skipped step, too: what goes up is of this tile */
            zrt__operand in = zrt__operand_1d(parameter, ZRT_FLOAT32, n);
            parameter = part_of(zero, slot, n_parts(zero));
            zrt__operand out = zrt__operand_1d(parameter, options->compute_dtype, n);
            zrt__plan_kernel(plan, ZRT__STREAM_HOST, ZRT__KERNEL_convert, &in, 1, &out, 1, 0, NULL);
        }

        int updated = zrt__plan_record(plan, ZRT__STREAM_HOST);
        int64_t held = flat->kind == ZRT__FLAT_RESIDENT ? flat->shard_first + first : first;
        zrt__plan_wait(plan, ZRT__STREAM_TO_DEVICE, updated);
        zrt__plan_copy(plan, ZRT__STREAM_TO_DEVICE, zrt__ref_at(flat->parameter, (size_t)held * element), parameter,
                       (size_t)n * element, flat->name);
        zrt__plan_wait(plan, ZRT__STREAM_FILE_WRITE, updated);
        transfer(zero, plan, flat, true, slot, first, n);
        zrt__plan_wait(plan, ZRT__STREAM_FILE_WRITE, zrt__plan_record(plan, ZRT__STREAM_TO_DEVICE));
        zrt__plan_point(plan, ZRT__STREAM_FILE_WRITE);
        zrt__plan_reach(plan, ZRT__STREAM_FILE_WRITE, zero->slot_free + slot);
    }
}
