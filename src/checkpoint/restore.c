#include "config.h"

#include "checkpoint/restore.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "checkpoint/disk.h"
#include "checkpoint/patient.h"

enum { N_CACHED = 8, MAX_OPEN = 128 };
/* Bytes that the disk is asked for ahead of what is read. */
#define AHEAD (8 * ZRT__CHECKPOINT_BLOCK)

/* A block that has been read and is right. */
typedef struct cached_block {
    int rank, dataset; /* rank -1: none */
    int64_t block;     /* of the dataset */
    uint64_t used;
    char *data;
} cached_block;

struct zrt__restore {
    char *folder;
    const zrt__group *group;
    zrt__manifest manifest;
    int *files; /* by rank; -1: closed */
    int n_open;
    cached_block cache[N_CACHED];
    uint64_t clock;
    unsigned char *seen; /* a bit of each block of each file, and after them one of each header */
};

void zrt__restore_close(zrt__restore **restore)
{
    if (restore == NULL || *restore == NULL)
        return;
    zrt__restore *r = *restore;
    for (int i = 0; r->files != NULL && i < r->manifest.layout.world; i++)
        if (r->files[i] >= 0)
            close(r->files[i]);
    for (int i = 0; i < N_CACHED; i++)
        free(r->cache[i].data);
    free(r->files);
    free(r->seen);
    free(r->folder);
    zrt__manifest_free(&r->manifest);
    free(r);
    *restore = NULL;
}

const zrt__manifest *zrt__restore_manifest(const zrt__restore *restore)
{
    return &restore->manifest;
}

static size_t n_bits(const zrt__restore *r)
{
    return (size_t)r->manifest.layout.world * (size_t)(r->manifest.geometry.n_blocks + 1);
}

static zrt_status open_all(zrt__restore *r, const char *folder)
{
    r->folder = zrt__strdup(folder);
    if (r->folder == NULL)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(zrt__manifest_read(folder, &r->manifest));
    r->files = zrt__malloc((size_t)r->manifest.layout.world * sizeof *r->files);
    r->seen = zrt__calloc(n_bits(r) / 8 + 1, 1);
    if (r->files == NULL || r->seen == NULL)
        return ZRT_ERR_MEMORY;
    for (int i = 0; i < r->manifest.layout.world; i++)
        r->files[i] = -1;
    for (int i = 0; i < N_CACHED; i++) {
        r->cache[i].rank = -1;
        r->cache[i].data = zrt__malloc((size_t)ZRT__CHECKPOINT_BLOCK);
        if (r->cache[i].data == NULL)
            return ZRT_ERR_MEMORY;
    }
    return ZRT_OK;
}

zrt_status zrt__restore_open(const char *folder, const zrt__group *group, zrt__restore **restore_out)
{
    *restore_out = NULL;
    zrt__restore *r = zrt__calloc(1, sizeof *r);
    if (r == NULL)
        return ZRT_ERR_MEMORY;
    r->group = group;
    zrt_status status = open_all(r, folder);
    if (status != ZRT_OK) {
        zrt__restore_close(&r);
        return status;
    }
    *restore_out = r;
    return ZRT_OK;
}

static char *shard_path(const zrt__restore *r, int rank)
{
    char name[16];
    zrt__shard_name(rank, name);
    return zrt__format("%s/%s", r->folder, name);
}

/* Opens a rank's file, whose size must be right. */
static zrt_status open_shard(zrt__restore *r, int rank)
{
    int64_t bytes = 0;
    if (r->files[rank] >= 0)
        return ZRT_OK;
    for (int i = 0; i < r->manifest.layout.world && r->n_open >= MAX_OPEN; i++)
        if (r->files[i] >= 0) {
            close(r->files[i]);
            r->files[i] = -1;
            r->n_open--;
        }
    char *path = shard_path(r, rank);
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__disk_open_read(path, &r->files[rank], &bytes);
    if (status == ZRT_OK) {
        r->n_open++;
        if (bytes != r->manifest.geometry.file_bytes)
            status = zrt__fail(ZRT_ERR_INPUT, "%s: has %" PRId64 " bytes instead of %" PRId64, path, bytes,
                               r->manifest.geometry.file_bytes);
    }
    free(path);
    return status;
}

/* Reads bytes of a rank's file, whose checksum must be right. */
static zrt_status read_checked(zrt__restore *r, int rank, int64_t offset, size_t bytes, uint32_t sum, void *out)
{
    ZRT_TRY(open_shard(r, rank));
    char *path = shard_path(r, rank);
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__disk_read(r->files[rank], path, out, bytes, offset);
    if (status == ZRT_OK && zrt__crc32c(0, out, bytes) != sum)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: is damaged: the checksum of bytes %" PRId64 " to %" PRId64 " is wrong",
                           path, offset, offset + (int64_t)bytes - 1);
    free(path);
    return status;
}

static void mark(zrt__restore *r, size_t bit)
{
    r->seen[bit / 8] |= (unsigned char)(1u << bit % 8);
}

static zrt_status get_block(zrt__restore *r, int rank, int dataset, int64_t block, const char **data_out)
{
    const zrt__shard_geometry *g = &r->manifest.geometry;
    cached_block *oldest = &r->cache[0];
    r->clock++;
    for (int i = 0; i < N_CACHED; i++) {
        cached_block *c = &r->cache[i];
        if (c->rank == rank && c->dataset == dataset && c->block == block) {
            c->used = r->clock;
            *data_out = c->data;
            return ZRT_OK;
        }
        if (c->used < oldest->used)
            oldest = c;
    }
    int64_t first = block * ZRT__CHECKPOINT_BLOCK, left = g->bytes[dataset] - first;
    int64_t index = zrt__shard_first_block(g, dataset) + block;
    oldest->rank = -1;
    ZRT_TRY(open_shard(r, rank));
    posix_fadvise(r->files[rank], g->offsets[dataset] + first + AHEAD, ZRT__CHECKPOINT_BLOCK, POSIX_FADV_WILLNEED);
    ZRT_TRY(read_checked(r, rank, g->offsets[dataset] + first,
                         (size_t)(left < ZRT__CHECKPOINT_BLOCK ? left : ZRT__CHECKPOINT_BLOCK),
                         r->manifest.shards[rank].blocks[index], oldest->data));
    mark(r, (size_t)rank * (size_t)g->n_blocks + (size_t)index);
    *oldest = (cached_block){rank, dataset, block, r->clock, oldest->data};
    *data_out = oldest->data;
    return ZRT_OK;
}

zrt_status zrt__restore_read(zrt__restore *r, int dataset, const zrt__layout_parameter *parameter, int64_t first,
                             int64_t n, float *out)
{
    const int64_t block_elements = ZRT__CHECKPOINT_BLOCK / (int64_t)sizeof(float);
    while (n > 0) {
        zrt__layout_piece piece = zrt__layout_find(&r->manifest.layout, parameter, first);
        int64_t block = piece.at / block_elements, within = piece.at % block_elements;
        int64_t take = piece.n < block_elements - within ? piece.n : block_elements - within;
        const char *data;
        take = take < n ? take : n;
        ZRT_TRY(get_block(r, piece.rank, dataset, block, &data));
        memcpy(out, data + (size_t)within * sizeof(float), (size_t)take * sizeof(float));
        out += take;
        first += take;
        n -= take;
    }
    return ZRT_OK;
}

/* ---- what nobody read ---- */

static zrt_status verify_header(zrt__restore *r, int rank)
{
    size_t bytes = (size_t)r->manifest.geometry.header_bytes;
    char *header = zrt__malloc(bytes);
    if (header == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = read_checked(r, rank, 0, bytes, r->manifest.shards[rank].header, header);
    free(header);
    return status;
}

static zrt_status verify_index(zrt__restore *r)
{
    char *path = zrt__format("%s/" ZRT__INDEX_NAME, r->folder), *data = NULL;
    size_t bytes = 0;
    zrt_status status =
        path != NULL ? zrt__disk_read_whole(path, (size_t)r->manifest.index_bytes + 1, &data, &bytes) : ZRT_ERR_MEMORY;
    if (status == ZRT_OK &&
        ((int64_t)bytes != r->manifest.index_bytes || zrt__crc32c(0, data, bytes) != r->manifest.index_sum))
        status = zrt__fail(ZRT_ERR_INPUT, "%s: is damaged: its size or checksum is wrong", path);
    free(data);
    free(path);
    return status;
}

static zrt_status verify_mine(zrt__restore *r, size_t mine, size_t n_ranks)
{
    const zrt__shard_geometry *g = &r->manifest.geometry;
    size_t n_blocks = (size_t)g->n_blocks, world = (size_t)r->manifest.layout.world, left = 0, nth = 0;
    for (size_t i = 0; i < n_bits(r); i++)
        left += (r->seen[i / 8] >> i % 8 & 1) == 0;
    /* A contiguous share: files are read from front to end. */
    for (size_t rank = 0; rank < world; rank++) {
        for (int d = 0; d < g->n_datasets; d++)
            for (int64_t b = 0; b < zrt__shard_dataset_blocks(g, d); b++) {
                size_t bit = rank * n_blocks + (size_t)(zrt__shard_first_block(g, d) + b);
                const char *data;
                if (r->seen[bit / 8] >> bit % 8 & 1)
                    continue;
                if (nth++ * n_ranks / left == mine)
                    ZRT_TRY(get_block(r, (int)rank, d, b, &data));
            }
        size_t bit = world * n_blocks + rank;
        if ((r->seen[bit / 8] >> bit % 8 & 1) == 0 && nth++ * n_ranks / left == mine)
            ZRT_TRY(verify_header(r, (int)rank));
    }
    return mine == 0 ? verify_index(r) : ZRT_OK;
}

zrt_status zrt__restore_verify_rest(zrt__restore *r)
{
    ZRT_TRY(zrt__patient_or(r->group, r->seen, n_bits(r) / 8 + 1));
    zrt_status status = verify_mine(r, (size_t)zrt__patient_rank(r->group), (size_t)zrt__patient_size(r->group));
    return zrt__patient_agree(r->group, status);
}
