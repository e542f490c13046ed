/* What is imported from a Hugging Face folder and exported again is the same, bit for bit. */
#include "config.h"

#include <sys/stat.h>

#include <zerort/checkpoint.h>

#include "checkpoint/safetensors.h"
#include "scratch_folder.h"
#include "tap.h"

/* Bytes of the tensors that both have, bit for bit; -1: they differ. */
static int64_t compare_tensors(const char *folder, const char *other)
{
    zrt__safetensors *a = NULL, *b = NULL;
    int64_t n = -1;
    if (zrt__safetensors_open(folder, &a) == ZRT_OK && zrt__safetensors_open(other, &b) == ZRT_OK &&
        zrt__safetensors_count(a) == zrt__safetensors_count(b))
        n = 0;
    for (size_t i = 0; n >= 0 && i < zrt__safetensors_count(a); i++) {
        const zrt__safetensors_entry *x = zrt__safetensors_get(a, i), *y = zrt__safetensors_find(b, x->name);
        bool same = y != NULL && x->dtype == y->dtype && x->n_dims == y->n_dims && x->bytes == y->bytes &&
                    memcmp(x->dims, y->dims, (size_t)x->n_dims * sizeof *x->dims) == 0;
        char *mine = malloc((size_t)x->bytes + 1), *theirs = malloc((size_t)x->bytes + 1);
        same = same && zrt__safetensors_read_raw(x, 0, x->n_elements, mine) == ZRT_OK &&
               zrt__safetensors_read_raw(y, 0, x->n_elements, theirs) == ZRT_OK &&
               memcmp(mine, theirs, (size_t)x->bytes) == 0;
        if (!same)
            tap_diag("%s: tensor %s differs", other, x->name);
        n = same ? n + (int64_t)x->bytes : -1;
        free(mine);
        free(theirs);
    }
    zrt__safetensors_close(&a);
    zrt__safetensors_close(&b);
    return n;
}

static bool same_file(const char *folder, const char *other)
{
    char a[2 * PATH_MAX + 64], b[2 * PATH_MAX + 64], x[4096], y[4096];
    snprintf(a, sizeof a, "%s/model.safetensors", folder);
    snprintf(b, sizeof b, "%s/model.safetensors", other);
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    bool same = f != NULL && g != NULL;
    while (same) {
        size_t n = fread(x, 1, sizeof x, f);
        same = fread(y, 1, sizeof y, g) == n && memcmp(x, y, n) == 0;
        if (n == 0)
            break;
    }
    if (f != NULL)
        fclose(f);
    if (g != NULL)
        fclose(g);
    return same;
}

static void there_and_back(const char *golden, const char *name, const char *dtype, bool one_file)
{
    char folder[PATH_MAX], run[2 * PATH_MAX], out[2 * PATH_MAX];
    snprintf(folder, sizeof folder, "%s/%s", golden, name);
    snprintf(run, sizeof run, "%s/%s.run", scratch_folder, name);
    snprintf(out, sizeof out, "%s/%s.out", scratch_folder, name);
    zrt_status status = zrt_checkpoint_import(folder, run);
    if (status == ZRT_OK)
        status = zrt_checkpoint_export(run, out, dtype);
    int64_t n = status == ZRT_OK ? compare_tensors(folder, out) : -1;
    tap_ok(n > 0, "%s: %lld bytes of tensors are the same (%s)", name, (long long)n,
           status == ZRT_OK ? "" : zrt_error_message());
    if (one_file)
        tap_ok(same_file(folder, out), "and so is the file");
}

int main(void)
{
    const char *golden = getenv("ZRT_GOLDEN") != NULL ? getenv("ZRT_GOLDEN") : ZRT_GOLDEN_DIR;
    if (!scratch_make())
        return 99;
    there_and_back(golden, "gpt2", NULL, true);
    there_and_back(golden, "gpt2-fp16", NULL, true);
    there_and_back(golden, "llama", NULL, true);
    there_and_back(golden, "llama-tied", "fp32", true);
    there_and_back(golden, "bert", NULL, true);
    there_and_back(golden, "llama-bf16-sharded", NULL, false);
    scratch_remove();
    return tap_done();
}
