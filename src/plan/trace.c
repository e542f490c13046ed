/* Traces in Chrome's format (Trace Event Format, "X" events). */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "plan/plan.h"

zrt_status zrt__trace_create(const zrt__plan *plan, zrt__trace *trace_out)
{
    zrt__trace trace = {.n = plan->n_entries};
    size_t n = plan->n_entries > 0 ? plan->n_entries : 1;
    trace.begin = zrt__calloc(n, sizeof *trace.begin);
    trace.end = zrt__calloc(n, sizeof *trace.end);
    trace.enqueued = zrt__calloc(n, sizeof *trace.enqueued);
    if (trace.begin == NULL || trace.end == NULL || trace.enqueued == NULL) {
        zrt__trace_free(&trace);
        return ZRT_ERR_MEMORY;
    }
    *trace_out = trace;
    return ZRT_OK;
}

void zrt__trace_free(zrt__trace *trace)
{
    free(trace->begin);
    free(trace->end);
    free(trace->enqueued);
    *trace = (zrt__trace){0};
}

zrt_status zrt__trace_write(const zrt__plan *plan, const zrt__trace *trace, const char *const *unit_names, int rank,
                            const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return zrt__fail(ZRT_ERR_IO, "trace %s: %s; name a file in a folder that can be written", path,
                         strerror(errno));
    uint64_t start = UINT64_MAX;
    for (size_t i = 0; i < trace->n; i++)
        if (trace->begin[i] != 0 && trace->enqueued[i] < start)
            start = trace->enqueued[i];
    fprintf(file, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n");
    fprintf(file, "{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": %d, \"args\": {\"name\": \"rank %d\"}}", rank,
            rank);
    for (int stream = 0; stream < ZRT__N_STREAMS; stream++)
        fprintf(file,
                ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": \"%s\"}}",
                rank, stream, zrt__stream_role_name((zrt__stream_role)stream));
    for (size_t i = 0; i < trace->n; i++) {
        const zrt__entry *entry = &plan->entries[i];
        if (trace->begin[i] == 0 || (entry->call == NULL && entry->label == NULL))
            continue;
        const char *name = entry->label != NULL ? entry->label : zrt__kernel_name(entry->call->kernel);
        fprintf(file,
                ",\n{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %d, \"ts\": %.3f, "
                "\"dur\": %.3f, \"args\": {\"unit\": \"%s\", \"entry\": %zu, \"enqueued\": %.3f}}",
                name, entry->phase, rank, (int)entry->stream, (double)(trace->begin[i] - start) * 1e-3,
                (double)(trace->end[i] - trace->begin[i]) * 1e-3, entry->unit >= 0 ? unit_names[entry->unit] : "", i,
                (double)(trace->enqueued[i] - start) * 1e-3);
    }
    fprintf(file, "\n]}\n");
    if (fflush(file) != 0 || ferror(file)) {
        int error = errno;
        fclose(file);
        return zrt__fail(ZRT_ERR_IO, "trace %s: %s", path, strerror(error));
    }
    if (fclose(file) != 0)
        return zrt__fail(ZRT_ERR_IO, "trace %s: %s", path, strerror(errno));
    return ZRT_OK;
}
