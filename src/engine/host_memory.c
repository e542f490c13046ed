/* What a run takes of its hosts' memory, against what they and their control groups allow. */
#include "config.h"

#include <string.h>

#include "data/loader.h"
#include "engine/engine.h"

static bool on_gpu(const zrt__settings *settings)
{
    return strcmp(settings->device, "cuda") == 0;
}

/* Batches that loaders of training and of evaluation have ready. */
static size_t loader_bytes(const zrt__zero *zero, const zrt__settings *settings)
{
    size_t row = sizeof(int64_t);
    for (size_t i = 0; i < zero->model->n_fields; i++) {
        const zrt__field *field = &zero->model->fields[i];
        size_t n = zrt_dtype_bytes(field->dtype);
        for (int d = 0; d < field->n_dims; d++)
            n *= (size_t)(field->dims[d] < 0 ? settings->zero.length : field->dims[d]);
        row += n;
    }
    return row * (size_t)(settings->zero.rows + settings->zero.evaluation_rows) * ZRT__LOADER_SLOTS;
}

void zrt__host_memory_of(const zrt__compiled *compiled, const zrt__settings *settings, zrt__host_memory *out)
{
    const zrt__memory *memory = &compiled->memory;
    const zrt__zero *zero = compiled->zero;
    *out = (zrt__host_memory){.planned = zrt__memory_total(memory), .loaders = loader_bytes(zero, settings)};
    if (on_gpu(settings))
        out->planned = zrt__memory_total(memory) - zrt__memory_on_device(memory);
    for (int i = 0; i < ZRT__N_TIERS; i++)
        if (zero->file_bytes[i] > 0) {
            out->requests += zrt__tier_host_bytes(&settings->aio, ZRT__TIER_CHANNELS);
            out->files += (size_t)zero->file_bytes[i];
        }
    out->rank = out->planned + out->requests + out->loaders;
}

static void print_row(FILE *file, const char *text, size_t bytes)
{
    fprintf(file, "  %-36s %16zu  %10.3f MiB\n", text, bytes, (double)bytes / 1048576.0);
}

void zrt__print_host_memory(FILE *file, const zrt__compiled *compiled, const zrt__settings *settings, int ranks,
                            size_t available)
{
    zrt__host_memory host;
    char text[64];
    zrt__host_memory_of(compiled, settings, &host);
    fprintf(file, "memory of the host, bytes\n");
    print_row(file, on_gpu(settings) ? "of these: on the host" : "all of these", host.planned);
    if (host.requests > 0)
        print_row(file, "requests to files", host.requests);
    print_row(file, "batches of loaders", host.loaders);
    print_row(file, "a rank", host.rank);
    snprintf(text, sizeof text, "%d rank%s of one host", ranks, ranks > 1 ? "s" : "");
    print_row(file, text, host.rank * (size_t)ranks);
    if (available > 0)
        print_row(file, settings->host_memory > 0 ? "--host-memory" : "the host and its cgroup allow", available);
    if (host.files > 0) {
        print_row(file, "in files, a rank", host.files);
        snprintf(text, sizeof text, "in files, %d rank%s of one host", ranks, ranks > 1 ? "s" : "");
        print_row(file, text, host.files * (size_t)ranks);
    }
}

zrt_status zrt__host_memory_available(const zrt__settings *settings, size_t *available_out)
{
    size_t total = 0;
    *available_out = settings->host_memory;
    return *available_out > 0 ? ZRT_OK : zrt__device_cpu_ops.memory_info(NULL, available_out, &total);
}
