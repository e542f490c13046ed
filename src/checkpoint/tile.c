#include "config.h"

#include "checkpoint/tile.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/error.h"

enum { PAGE = 4096 };
/* What is shorter goes with its neighbours through the slot: one long write is cheaper than many. */
#define LEAST_LENT ((int64_t)64 << 10)

typedef struct place {
    int dataset;
    int64_t first_byte, bytes; /* of the dataset */
} place;

/* Bytes of a tile that lie end to end in memory. */
typedef struct span {
    const char *lent;  /* NULL: in the slot */
    int64_t at, bytes; /* of the tile */
} span;

static int64_t tiles_of(const zrt__tiles *tiles, int dataset)
{
    return (tiles->manifest->geometry.bytes[dataset] + tiles->tile_bytes - 1) / tiles->tile_bytes;
}

int64_t zrt__tiles_count(const zrt__tiles *tiles)
{
    int64_t n = 0;
    for (int d = 0; d < tiles->manifest->geometry.n_datasets; d++)
        n += tiles_of(tiles, d);
    return n;
}

static place place_of(const zrt__tiles *tiles, int64_t index)
{
    place p = {.dataset = 0};
    for (; index >= tiles_of(tiles, p.dataset); p.dataset++)
        index -= tiles_of(tiles, p.dataset);
    p.first_byte = index * tiles->tile_bytes;
    int64_t left = tiles->manifest->geometry.bytes[p.dataset] - p.first_byte;
    p.bytes = left < tiles->tile_bytes ? left : tiles->tile_bytes;
    return p;
}

/* Elements of [first, first + n) that the dataset has; padding follows them. */
static int64_t used(const zrt__tiles *tiles, int dataset, int64_t first, int64_t n)
{
    int64_t left = tiles->manifest->layout.rank_elements[dataset > 0] - first;
    return left < 0 ? 0 : left < n ? left : n;
}

/* The span at byte `at` of a tile. What is lent is whole pages, in memory as in the file. */
static span span_at(const zrt__tiles *tiles, const place *p, int64_t at)
{
    const int64_t element = (int64_t)sizeof(float);
    span found = {.at = at};
    for (int64_t end = at; end < p->bytes;) {
        int64_t first = (p->first_byte + end) / element, n = (p->bytes - end) / element, lent = 0;
        const float *values = NULL;
        if (tiles->lends && used(tiles, p->dataset, first, n) > 0)
            values = tiles->source.lend(tiles->source.user, p->dataset, first, &lent);
        if (lent < 1 || lent > n)
            lent = n;
        int64_t pages = lent * element / PAGE * PAGE;
        if (values != NULL && pages >= LEAST_LENT &&
            ((uintptr_t)values | (uint64_t)(p->first_byte + end)) % PAGE == 0) {
            if (found.bytes > 0)
                return found;
            return (span){(const char *)values, at, pages};
        }
        end += lent * element;
        found.bytes = end - at;
    }
    return found;
}

zrt_status zrt__tile_copy(const zrt__tiles *tiles, int64_t index, zrt__stream *stream, float *slot)
{
    place p = place_of(tiles, index);
    for (int64_t at = 0; at < p.bytes;) {
        span s = span_at(tiles, &p, at);
        at += s.bytes;
        if (s.lent != NULL)
            continue;
        float *out = slot + s.at / (int64_t)sizeof(float);
        int64_t first = (p.first_byte + s.at) / (int64_t)sizeof(float), n = s.bytes / (int64_t)sizeof(float);
        int64_t n_used = used(tiles, p.dataset, first, n);
        memset(out + n_used, 0, (size_t)(n - n_used) * sizeof *out);
        if (n_used > 0)
            ZRT_TRY(tiles->source.copy(tiles->source.user, stream, p.dataset, first, n_used, out));
    }
    return ZRT_OK;
}

/* Goes on with the checksums of the blocks that a span lies in. */
static void add_to_sums(uint32_t *sums, int64_t first_byte, const char *data, int64_t bytes)
{
    while (bytes > 0) {
        int64_t block = first_byte / ZRT__CHECKPOINT_BLOCK, left = (block + 1) * ZRT__CHECKPOINT_BLOCK - first_byte;
        int64_t n = left < bytes ? left : bytes;
        sums[block] = zrt__crc32c(first_byte % ZRT__CHECKPOINT_BLOCK == 0 ? 0 : sums[block], data, (size_t)n);
        first_byte += n;
        data += n;
        bytes -= n;
    }
}

zrt_status zrt__tile_write(const zrt__tiles *tiles, int64_t index, float *slot)
{
    const zrt__shard_geometry *g = &tiles->manifest->geometry;
    place p = place_of(tiles, index);
    uint32_t *sums = tiles->sums->blocks + zrt__shard_first_block(g, p.dataset);
    for (int64_t at = 0; at < p.bytes;) {
        span s = span_at(tiles, &p, at);
        const char *data = s.lent;
        if (data == NULL) {
            float *values = slot + s.at / (int64_t)sizeof(float);
            int64_t first = (p.first_byte + s.at) / (int64_t)sizeof(float);
            int64_t n = used(tiles, p.dataset, first, s.bytes / (int64_t)sizeof(float));
            if (n > 0)
                tiles->source.convert(tiles->source.user, p.dataset, first, n, values);
            data = (const char *)values;
        }
        add_to_sums(sums, p.first_byte + s.at, data, s.bytes);
        ZRT_TRY(zrt__disk_write(tiles->file, data, (size_t)s.bytes, g->offsets[p.dataset] + p.first_byte + s.at));
        at += s.bytes;
    }
    return ZRT_OK;
}
