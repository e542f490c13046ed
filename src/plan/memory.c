#include "config.h"

#include "plan/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static size_t align_up(size_t bytes)
{
    return (bytes + ZRT__MEMORY_ALIGNMENT - 1) / ZRT__MEMORY_ALIGNMENT * ZRT__MEMORY_ALIGNMENT;
}

const char *zrt__category_text(zrt__category category)
{
    static const char *const texts[] = {
#define ZRT__CATEGORY_TEXT(name, text) text,
        ZRT__CATEGORY_TABLE(ZRT__CATEGORY_TEXT)
#undef ZRT__CATEGORY_TEXT
    };
    return texts[category];
}

int zrt__buffers_add(zrt__buffers *buffers, zrt__region region, zrt__category category, size_t bytes)
{
    if (zrt__grow(&buffers->items, &buffers->capacity, buffers->n, sizeof *buffers->items) != ZRT_OK) {
        buffers->failed = true;
        return -1;
    }
    buffers->items[buffers->n] = (zrt__buffer){region, category, align_up(bytes), 0, -1, 0};
    return (int)buffers->n++;
}

void zrt__buffers_touch(zrt__buffers *buffers, int buffer, int position)
{
    zrt__buffer *item = &buffers->items[buffer];
    if (item->end < item->begin) {
        item->begin = item->end = position;
        return;
    }
    if (position < item->begin)
        item->begin = position;
    if (position > item->end)
        item->end = position;
}

static int larger_first(const void *a, const void *b, void *items)
{
    const zrt__buffer *x = &((zrt__buffer *)items)[*(const int *)a], *y = &((zrt__buffer *)items)[*(const int *)b];
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return *(const int *)a - *(const int *)b;
}

static bool live_together(const zrt__buffer *a, const zrt__buffer *b)
{
    return a->region == b->region && a->begin <= b->end && b->begin <= a->end;
}

/* Greedy by size (Pisarchyk and Lee 2020): each buffer, the largest first, at the lowest gap between those that are placed and live with it. */
zrt_status zrt__buffers_pack(zrt__buffers *buffers, size_t bytes_out[ZRT__N_REGIONS])
{
    memset(bytes_out, 0, ZRT__N_REGIONS * sizeof *bytes_out);
    if (buffers->n == 0)
        return ZRT_OK;
    int *order = zrt__malloc(2 * buffers->n * sizeof *order);
    if (order == NULL)
        return ZRT_ERR_MEMORY;
    int *placed = order + buffers->n; /* by offset */
    size_t n_placed = 0;
    for (size_t i = 0; i < buffers->n; i++)
        order[i] = (int)i;
    qsort_r(order, buffers->n, sizeof *order, larger_first, buffers->items);
    for (size_t i = 0; i < buffers->n; i++) {
        zrt__buffer *buffer = &buffers->items[order[i]];
        if (buffer->end < buffer->begin)
            continue;
        size_t offset = 0;
        for (size_t k = 0; k < n_placed; k++) {
            const zrt__buffer *other = &buffers->items[placed[k]];
            if (!live_together(buffer, other))
                continue;
            if (other->offset >= offset + buffer->bytes)
                break;
            if (other->offset + other->bytes > offset)
                offset = other->offset + other->bytes;
        }
        buffer->offset = offset;
        size_t at = n_placed++;
        for (; at > 0 && buffers->items[placed[at - 1]].offset > offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = order[i];
        if (offset + buffer->bytes > bytes_out[buffer->region])
            bytes_out[buffer->region] = offset + buffer->bytes;
    }
    free(order);
    return ZRT_OK;
}

int zrt__buffers_peak(const zrt__buffers *buffers, size_t by_category_out[ZRT__N_CATEGORIES])
{
    int last = 0, peak = 0;
    size_t most = 0;
    for (size_t i = 0; i < buffers->n; i++)
        if (buffers->items[i].end > last)
            last = buffers->items[i].end;
    for (int position = 0; position <= last; position++) {
        size_t live = 0;
        for (size_t i = 0; i < buffers->n; i++)
            if (buffers->items[i].begin <= position && position <= buffers->items[i].end)
                live += buffers->items[i].bytes;
        if (live > most) {
            most = live;
            peak = position;
        }
    }
    memset(by_category_out, 0, ZRT__N_CATEGORIES * sizeof *by_category_out);
    for (size_t i = 0; i < buffers->n; i++)
        if (buffers->items[i].begin <= peak && peak <= buffers->items[i].end)
            by_category_out[buffers->items[i].category] += buffers->items[i].bytes;
    return peak;
}

void zrt__buffers_free(zrt__buffers *buffers)
{
    free(buffers->items);
    *buffers = (zrt__buffers){0};
}

zrt__ref zrt__memory_persistent(zrt__memory *memory, zrt__region region, zrt__category category, size_t bytes)
{
    if (bytes >= ZRT__MEMORY_LARGE)
        bytes = (bytes + ZRT__MEMORY_PAGE - 1) / ZRT__MEMORY_PAGE * ZRT__MEMORY_PAGE;
    int index = zrt__buffers_add(&memory->persistent, region, category, bytes);
    return (zrt__ref){index < 0 ? 0 : ~index, 0};
}

int zrt__memory_mark(zrt__memory *memory)
{
    return memory->n_marks++;
}

void zrt__memory_layout(zrt__memory *memory)
{
    memset(memory->persistent_bytes, 0, sizeof memory->persistent_bytes);
    /* The large ones first: all of them lie at pages then, without a gap. */
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < memory->persistent.n; i++) {
            zrt__buffer *buffer = &memory->persistent.items[i];
            if ((buffer->bytes >= ZRT__MEMORY_LARGE) != (pass == 0))
                continue;
            buffer->offset = memory->persistent_bytes[buffer->region];
            memory->persistent_bytes[buffer->region] += buffer->bytes;
        }
}

size_t zrt__memory_total(const zrt__memory *memory)
{
    size_t total = 0;
    for (int region = 0; region < ZRT__N_REGIONS; region++)
        total += memory->persistent_bytes[region] + memory->scratch_bytes[region];
    return total;
}

size_t zrt__memory_on_device(const zrt__memory *memory)
{
    size_t bytes = 0;
    for (int region = ZRT__REGION_DEVICE; region <= ZRT__REGION_REGISTERED; region++)
        bytes += memory->persistent_bytes[region] + memory->scratch_bytes[region];
    return bytes;
}
