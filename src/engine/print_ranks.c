/* Which rank runs where. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"

/* More ranks than this are told a line a host. */
enum { MOST_ROWS = 16 };

typedef struct row {
    char host[64], device[64], cores[64];
    int local_rank, local_size, n_cores, n_threads;
    size_t host_bytes, host_available;
} row;

/* "0-3,8" as far as there is room. */
static void print_cores(const zrt__placement *placement, char *text, size_t n_bytes)
{
    size_t length = 0;
    for (int i = 0, end; i < placement->n_cores; i = end) {
        char range[32];
        for (end = i + 1; end < placement->n_cores && placement->cores[end] == placement->cores[end - 1] + 1;)
            end++;
        int n = end > i + 1 ? snprintf(range, sizeof range, "%s%d-%d", i > 0 ? "," : "", placement->cores[i],
                                       placement->cores[end - 1])
                            : snprintf(range, sizeof range, "%s%d", i > 0 ? "," : "", placement->cores[i]);
        if (length + (size_t)n + sizeof ",.." > n_bytes) {
            memcpy(text + length, ",..", sizeof ",..");
            return;
        }
        memcpy(text + length, range, (size_t)n + 1);
        length += (size_t)n;
    }
}

static void print_row(const row *r, int rank, FILE *file)
{
    fprintf(file, "  %4d  %-20s %10d  %-20s %s%s\n", rank, r->host, r->local_rank, r->device, r->cores,
            r->n_threads < r->n_cores ? " (shared)" : "");
}

static void print_hosts(const row *rows, int n_ranks, FILE *file)
{
    for (int first = 0, end; first < n_ranks; first = end) {
        for (end = first + 1; end < n_ranks && strcmp(rows[end].host, rows[first].host) == 0;)
            end++;
        fprintf(file, "  %4d - %-4d  %-20s %-20s %d cores a rank\n", first, end - 1, rows[first].host,
                rows[first].device, rows[first].n_cores);
    }
}

/* One line a host, of its first rank. */
static void print_host_memory(const row *rows, int n_ranks, FILE *file)
{
    const double mib = 1048576;
    int n = 0;
    for (int i = 0; i < n_ranks; i++) {
        if (rows[i].local_rank != 0 || n++ >= MOST_ROWS)
            continue;
        double rank = (double)rows[i].host_bytes / mib;
        fprintf(file, "  host memory of %s: %.1f MiB a rank, %.1f MiB in all; %.1f MiB are allowed\n", rows[i].host,
                rank, rank * rows[i].local_size, (double)rows[i].host_available / mib);
    }
}

zrt_status zrt_engine_print_ranks(zrt_engine *engine, FILE *file)
{
    const zrt__group *world = zrt__context_world(engine->context);
    const zrt__placement *placement = zrt__context_placement(engine->context);
    zrt__device_description device = {.name = ""};
    row mine = {.local_rank = placement->local_rank, .n_cores = placement->n_cores, .n_threads = placement->n_threads};
    zrt__host_memory host;
    zrt__host_memory_of(&engine->compiled, &engine->settings, &host);
    mine.local_size = placement->local_size;
    mine.host_bytes = host.rank;
    mine.host_available = engine->host_available;
    engine->runtime.device->ops->describe(engine->runtime.device, &device);
    snprintf(mine.host, sizeof mine.host, "%.*s", (int)sizeof mine.host - 1, placement->host);
    snprintf(mine.device, sizeof mine.device, "%s", device.name);
    print_cores(placement, mine.cores, sizeof mine.cores);
    row *all = zrt__calloc((size_t)placement->size, sizeof *all);
    zrt_status status = zrt__group_agree(world, all != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(world, &mine, all, sizeof mine);
    if (status == ZRT_OK && file != NULL && placement->size > MOST_ROWS) {
        fprintf(file, "       ranks  host                 device               cores\n");
        print_hosts(all, placement->size, file);
    } else if (status == ZRT_OK && file != NULL) {
        fprintf(file, "  rank  host                 local rank  device               cores\n");
        for (int i = 0; i < placement->size; i++)
            print_row(&all[i], i, file);
    }
    if (status == ZRT_OK && file != NULL)
        print_host_memory(all, placement->size, file);
    free(all);
    return status;
}
