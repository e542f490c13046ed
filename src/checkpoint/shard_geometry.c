#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "checkpoint/shard_file.h"

enum { ALIGNMENT = 4096, MAX_HEADER = 1 << 20 };

void zrt__shard_name(int rank, char name[16])
{
    snprintf(name, 16, "rank%05d.h5", rank);
}

int64_t zrt__shard_dataset_blocks(const zrt__shard_geometry *geometry, int dataset)
{
    return (geometry->bytes[dataset] + ZRT__CHECKPOINT_BLOCK - 1) / ZRT__CHECKPOINT_BLOCK;
}

int64_t zrt__shard_first_block(const zrt__shard_geometry *geometry, int dataset)
{
    int64_t n = 0;
    for (int i = 0; i < dataset; i++)
        n += zrt__shard_dataset_blocks(geometry, i);
    return n;
}

zrt_status zrt__shard_geometry_finish(zrt__shard_geometry *g, const zrt__layout *layout)
{
    if (g->n_datasets != zrt__layout_n_datasets(layout) || g->header_bytes < 1 || g->header_bytes > MAX_HEADER ||
        g->header_bytes % ALIGNMENT != 0)
        return zrt__fail(ZRT_ERR_INPUT, "%d datasets behind %" PRId64 " bytes", g->n_datasets, g->header_bytes);
    g->file_bytes = g->header_bytes;
    g->n_blocks = 0;
    for (int i = 0; i < g->n_datasets; i++) {
        int64_t wanted = zrt__layout_dataset_elements(layout, i) * (int64_t)sizeof(float);
        if (g->bytes[i] != wanted)
            return zrt__fail(ZRT_ERR_INPUT, "dataset %s has %" PRId64 " bytes instead of %" PRId64,
                             zrt__layout_dataset_name(layout, i), g->bytes[i], wanted);
        g->offsets[i] = g->file_bytes;
        g->file_bytes += g->bytes[i];
        g->n_blocks += zrt__shard_dataset_blocks(g, i);
    }
    return ZRT_OK;
}
