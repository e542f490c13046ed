/* Looking at checkpoints without an engine. */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/checkpoint.h>

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint/restore.h"
#include "checkpoint/run_checkpoints.h"

typedef zrt_status visit_fn(const char *path, FILE *file);

/* What is wrong with a checkpoint: every byte of it is read. */
static zrt_status verify(const char *path)
{
    zrt__restore *restore = NULL;
    ZRT_TRY(zrt__restore_open(path, NULL, &restore));
    zrt_status status = zrt__restore_verify_rest(restore);
    zrt__restore_close(&restore);
    return status;
}

static zrt_status verify_one(const char *path, FILE *file)
{
    zrt_status status = verify(path);
    if (status == ZRT_OK)
        fprintf(file, "%s: whole\n", path);
    else
        fprintf(file, "%s: DAMAGED: %s\n", path, zrt_error_message());
    return status;
}

static void print_contents(const zrt__manifest *m, FILE *file)
{
    int64_t elements = 0;
    for (size_t i = 0; i < m->layout.n_parameters; i++)
        elements += m->layout.parameters[i].n_elements;
    fprintf(file, "  step         %" PRId64 " (%" PRId64 " skipped)\n", m->state.step, m->state.skipped);
    fprintf(file, "  saved by     %d rank%s, ZeRO stage %d, %s\n", m->layout.world, m->layout.world == 1 ? "" : "s",
            m->stage, m->compute_dtype);
    fprintf(file, "  model        %s, hash %016" PRIx64 "%s\n", m->model_name, zrt__manifest_model_hash(&m->layout),
            m->model_config != NULL ? ", with a config.json for transformers" : "");
    fprintf(file, "  parameters   %zu, %" PRId64 " elements\n", m->layout.n_parameters, elements);
    fprintf(file, "  optimizer    %s", m->optimizer != NULL ? m->optimizer : "none (imported)");
    for (int i = 0; i < m->layout.n_states; i++)
        fprintf(file, "%s %s", i == 0 ? ":" : ",", m->layout.states[i]);
    fprintf(file, "\n  loss         %.6g, loss scale %g\n", m->state.loss, m->state.loss_scale);
    if (isfinite(m->metric))
        fprintf(file, "  %-12s %.6g\n", m->metric_name, m->metric);
    for (size_t i = 0; i < m->n_blobs; i++)
        fprintf(file, "  user state   %s, %zu bytes\n", m->blobs[i].name, m->blobs[i].bytes);
    fprintf(file, "  files        %d of %" PRId64 " bytes, index.h5 of %" PRId64 "\n", m->layout.world,
            m->geometry.file_bytes, m->index_bytes);
}

static zrt_status inspect_one(const char *path, FILE *file)
{
    zrt__manifest manifest;
    fprintf(file, "%s\n", path);
    zrt_status status = zrt__manifest_read(path, &manifest);
    if (status == ZRT_OK) {
        print_contents(&manifest, file);
        zrt__manifest_free(&manifest);
        status = verify(path);
    }
    if (status == ZRT_OK)
        fprintf(file, "  whole        yes: every checksum is right\n");
    else
        fprintf(file, "  whole        NO: %s\n", zrt_error_message());
    return status;
}

static zrt_status visit(const char *folder, FILE *file, visit_fn *one)
{
    if (zrt__is_checkpoint(folder))
        return one(folder, file);
    int64_t *steps = NULL;
    size_t n = 0, n_bad = 0;
    ZRT_TRY(zrt__checkpoint_list(folder, &steps, &n));
    zrt_status worst = ZRT_OK;
    for (size_t i = 0; i < n; i++) {
        char *path = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, steps[i]);
        zrt_status status = path != NULL ? one(path, file) : ZRT_ERR_MEMORY;
        n_bad += status != ZRT_OK;
        worst = worst == ZRT_OK ? status : worst;
        free(path);
    }
    free(steps);
    if (n == 0)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: is no checkpoint and has none: there is neither a manifest.json nor a folder "
                         "checkpoint-STEP",
                         folder);
    return worst == ZRT_OK ? ZRT_OK : zrt__fail(worst, "%s: %zu of %zu checkpoints are not whole", folder, n_bad, n);
}

zrt_status zrt_checkpoint_inspect(const char *folder, FILE *file)
{
    return visit(folder, file, inspect_one);
}

zrt_status zrt_checkpoint_verify(const char *folder, FILE *file)
{
    return visit(folder, file, verify_one);
}

zrt_status zrt_checkpoint_find_best(const char *folder, char **path_out)
{
    int64_t *steps = NULL;
    size_t n = 0;
    uint64_t kind = 0;
    double least = (double)INFINITY;
    *path_out = NULL;
    ZRT_TRY(zrt__checkpoint_list(folder, &steps, &n));
    zrt_status status = ZRT_OK;
    for (size_t i = 0; i < n && status == ZRT_OK; i++) {
        zrt__manifest manifest;
        char *path = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, steps[i]);
        if (path == NULL) {
            status = ZRT_ERR_MEMORY;
            break;
        }
        bool better = false;
        if (zrt__manifest_read(path, &manifest) == ZRT_OK) {
            uint64_t other = 0;
            double score = zrt__manifest_score(&manifest, &other);
            if (*path_out == NULL)
                kind = other; /* the newest that has one says by what */
            better = isfinite(score) && other == kind && score <= least;
            least = better ? score : least;
            zrt__manifest_free(&manifest);
        }
        free(better ? *path_out : path);
        if (better)
            *path_out = path;
    }
    free(steps);
    return status != ZRT_OK ? status : *path_out != NULL ? ZRT_OK : ZRT_END;
}
