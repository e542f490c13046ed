#include "config.h"

#include "checkpoint/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "checkpoint/disk.h"
#include "checkpoint/patient.h"
#include "checkpoint/run_checkpoints.h"

/* The checksums of all ranks to rank 0's manifest. */
static zrt_status gather_sums(const zrt__save_commit *c)
{
    zrt__manifest *m = c->manifest;
    size_t n = 2 + (size_t)m->geometry.n_blocks, world = (size_t)m->layout.world;
    uint32_t *mine = zrt__malloc(n * sizeof *mine), *all = NULL;
    zrt_status status = mine != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (status == ZRT_OK && zrt__patient_rank(c->group) == 0) {
        all = zrt__malloc(world * n * sizeof *all);
        status = all != NULL ? zrt__manifest_allocate_shards(m) : ZRT_ERR_MEMORY;
    }
    status = zrt__patient_agree(c->group, status);
    if (status == ZRT_OK) {
        mine[0] = c->sums->header;
        mine[1] = c->sums->whole;
        memcpy(mine + 2, c->sums->blocks, (n - 2) * sizeof *mine);
        status = zrt__patient_gather(c->group, mine, n * sizeof *mine, all);
    }
    for (size_t r = 0; r < world && status == ZRT_OK && zrt__patient_rank(c->group) == 0; r++) {
        m->shards[r].header = all[r * n];
        m->shards[r].whole = all[r * n + 1];
        memcpy(m->shards[r].blocks, all + r * n + 2, (n - 2) * sizeof *all);
    }
    free(mine);
    free(all);
    return status;
}

static zrt_status write_index(const zrt__save_commit *c)
{
    zrt__manifest *m = c->manifest;
    const zrt__index_attribute attributes[] = {
        {"step", NULL, (double)m->state.step},  {"world_size", NULL, (double)m->layout.world},
        {"zero_stage", NULL, (double)m->stage}, {"loss_scale", NULL, m->state.loss_scale},
        {"loss", NULL, m->state.loss},          {"model", m->model_name != NULL ? m->model_name : "", 0},
        {"dtype", m->compute_dtype, 0},         {"zerort", PACKAGE_VERSION, 0}};
    void *image = NULL;
    size_t bytes = 0;
    ZRT_TRY(zrt__index_image(&m->layout, attributes, sizeof attributes / sizeof *attributes, &image, &bytes));
    char *path = zrt__format("%s/" ZRT__INDEX_NAME, c->temporary);
    zrt_status status = path != NULL ? zrt__disk_write_whole(path, image, bytes) : ZRT_ERR_MEMORY;
    m->index_bytes = (int64_t)bytes;
    m->index_sum = zrt__crc32c(0, image, bytes);
    free(path);
    free(image);
    return status;
}

static zrt_status commit(const zrt__save_commit *c)
{
    char *text = NULL, *path = NULL;
    size_t bytes = 0;
    ZRT_TRY(write_index(c));
    zrt_status status = zrt__manifest_print(c->manifest, &text, &bytes);
    if (status == ZRT_OK && (path = zrt__format("%s/" ZRT__MANIFEST_NAME, c->temporary)) == NULL)
        status = ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = zrt__disk_write_whole(path, text, bytes);
    if (status == ZRT_OK)
        status = zrt__checkpoint_commit(c->folder, c->manifest->state.step);
    free(path);
    free(text);
    return status;
}

zrt_status zrt__save_commit_run(const zrt__save_commit *c)
{
    ZRT_TRY(gather_sums(c));
    return zrt__patient_agree(c->group, zrt__patient_rank(c->group) == 0 ? commit(c) : ZRT_OK);
}
