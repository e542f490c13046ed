#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "monitor/monitor.h"

/* DeepSpeed's names of them. */
static const char *const kind_names[ZRT_N_COMM_KINDS] = {"all_gather_into_tensor", "reduce_scatter_tensor",
                                                         "all_reduce", "broadcast"};

/* deepspeed/utils/comms_logging.py, calc_bw_log. */
void zrt__comm_rates(zrt_comm_kind kind, int64_t bytes, int n_ranks, double seconds, double *tput_out,
                     double *busbw_out)
{
    double gigabits = (double)bytes * 8e-9, n = n_ranks, tput = 0.0, busbw = 0.0;

    if (seconds > 0.0) {
        switch (kind) {
        case ZRT_COMM_ALL_GATHER:
        case ZRT_COMM_REDUCE_SCATTER:
            tput = gigabits * n / seconds;
            busbw = tput * ((n - 1.0) / n);
            break;
        case ZRT_COMM_ALL_REDUCE:
            tput = gigabits * 2.0 / seconds;
            busbw = gigabits / seconds * (2.0 * (n - 1.0) / n);
            break;
        case ZRT_COMM_BROADCAST:
        case ZRT_N_COMM_KINDS:
            tput = busbw = gigabits / seconds;
            break;
        }
    }
    *tput_out = tput;
    *busbw_out = busbw;
}

/* "1.5 MB", of 1024. */
static void size_text(int64_t bytes, char *text, size_t capacity)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    char number[ZRT__NUMBER_BYTES];
    double value = (double)bytes;
    int unit = 0;

    for (; value >= 1024.0 && unit < 5; unit++)
        value /= 1024.0;
    zrt__number_text(round(value * 100.0) / 100.0, number);
    snprintf(text, capacity, "%s %s", number, units[unit]);
}

zrt_status zrt__comm_log_add(zrt__comm_log *log, zrt_comm_kind kind, const char *caller, int64_t bytes, int n_ranks,
                             double seconds, FILE *verbose)
{
    zrt__comm_entry *entry = NULL;
    double tput, busbw;

    for (size_t i = 0; i < log->n && entry == NULL; i++) {
        if (log->entries[i].kind == kind && log->entries[i].bytes == bytes &&
            strcmp(log->entries[i].caller, caller) == 0)
            entry = &log->entries[i];
    }
    if (entry == NULL) {
        ZRT_TRY(zrt__grow(&log->entries, &log->capacity, log->n, sizeof *log->entries));
        entry = &log->entries[log->n++];
        *entry = (zrt__comm_entry){.kind = kind, .caller = caller, .bytes = bytes};
    }
    zrt__comm_rates(kind, bytes, n_ranks, seconds, &tput, &busbw);
    entry->count++;
    entry->seconds += seconds;
    entry->tput += tput;
    entry->busbw += busbw;
    if (verbose != NULL) {
        char size[48];

        size_text(bytes, size, sizeof size);
        fprintf(verbose,
                "[Rank 0] comm op: %s%s%s%s | time (ms): %.2f | msg size: %s | algbw (Gbps): %.2f | "
                "busbw (Gbps): %.2f\n",
                kind_names[kind], *caller != '\0' ? " | [Caller Func: " : "", caller, *caller != '\0' ? "]" : "",
                seconds * 1e3, size, tput, busbw);
    }
    return ZRT_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const zrt__comm_entry *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (strcmp(x->caller, y->caller) != 0)
        return strcmp(x->caller, y->caller);
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

void zrt__comm_log_print(zrt__comm_log *log, FILE *stream)
{
    if (log->n > 0)
        qsort(log->entries, log->n, sizeof *log->entries, compare_entries);
    fprintf(stream, "%-20s%-20s%-20s%-20s%-20s%-20s%-20s\n", "Comm. Op", "Message Size", "Count", "Total Latency(ms)",
            "Avg Latency(ms)", "tput_avg (Gbps)", "busbw_avg (Gbps)");
    for (size_t i = 0; i < log->n; i++) {
        const zrt__comm_entry *entry = &log->entries[i];
        double count = (double)entry->count;
        char size[48];

        if (i == 0 || log->entries[i - 1].kind != entry->kind || strcmp(entry[-1].caller, entry->caller) != 0)
            fprintf(stream, *entry->caller != '\0' ? "%s | [Caller Func: %s]\n" : "%s%s\n", kind_names[entry->kind],
                    entry->caller);
        size_text(entry->bytes, size, sizeof size);
        fprintf(stream, "%-20s%-20s%-20" PRId64 "%-20.2f%-20.2f%-20.2f%-20.2f\n", " ", size, entry->count,
                entry->seconds * 1e3, entry->seconds * 1e3 / count, entry->tput / count, entry->busbw / count);
    }
    fflush(stream);
}
