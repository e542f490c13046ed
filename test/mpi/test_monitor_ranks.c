/* Only rank 0 writes and prints. */
/* ranks: 1 3 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zerort/engine.h>
#include <zerort/monitor.h>

#include "tap_mpi.h"

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_monitor *monitor = NULL;
    zrt_metrics_row row = {.step = 1, .loss = 2.5};
    char folder[] = "/tmp/zerort-test-XXXXXX", path[64], text[4096] = "";
    size_t n = 0;
    int status = 99;
    FILE *stream = tmpfile(), *file;

    if (stream == NULL || zrt_init(&argc, &argv, &context) != ZRT_OK)
        return status;
    /* A folder of its own on each rank: what another rank writes cannot hide in rank 0's. */
    if (mkdtemp(folder) == NULL)
        return status;
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    tap_ok_all(MPI_COMM_WORLD,
               zrt_monitor_create(context,
                                  &(zrt_monitor_options){.metrics_path = path, .stream = stream, .progress = true},
                                  &monitor) == ZRT_OK &&
                   zrt_monitor_log(monitor, &row) == ZRT_OK && zrt_monitor_print_times(monitor, 1) == ZRT_OK &&
                   zrt_monitor_add_comm(monitor, ZRT_COMM_BROADCAST, 8, 2, 1, true) == ZRT_OK,
               "every rank may call everything");
    zrt_monitor_print_step(monitor, 1, 0, 1, (double[]){0.5}, 0, NULL);
    zrt_monitor_print_comms(monitor);
    zrt_monitor_end_line(monitor);
    zrt_monitor_destroy(&monitor);
    file = fopen(path, "r");
    if (file != NULL) {
        n = fread(text, 1, sizeof text - 1, file);
        fclose(file);
    }
    if (zrt_rank(context) == 0)
        tap_ok_all(MPI_COMM_WORLD, n > 0 && strncmp(text, "{\"step\": 1, ", 12) == 0 && ftell(stream) > 100,
                   "rank 0 tells all of it");
    else
        tap_ok_all(MPI_COMM_WORLD, file == NULL && ftell(stream) == 0, "rank 0 tells all of it");
    fclose(stream);
    unlink(path);
    rmdir(folder);
    status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
