/* Ranks together: each sample of an epoch once over all ranks, the end at the same call, the same steps for any number of ranks. */
/* ranks: 1 2 3 4 */
#include "config.h"

#include <stdlib.h>

#include <zerort/data.h>
#include <zerort/engine.h>

#include "tap_mpi.h"

enum { N_ROWS = 103, STEP_ROWS = 12, N_EPOCHS = 2 };

static zrt_dataset *numbered_rows(void)
{
    static int32_t ids[N_ROWS][2];
    const char *names[] = {"input_ids"};
    zrt_view view = {ids, ZRT_INT32, 2, {N_ROWS, 2}};
    zrt_dataset *dataset = NULL;

    for (int i = 0; i < N_ROWS; i++)
        ids[i][0] = i;
    zrt_dataset_from_arrays(N_ROWS, 1, names, &view, &dataset);
    return dataset;
}

/* Sum over a step's rows that hardly another set of rows has. */
static int64_t mark_of(int32_t row)
{
    return (int64_t)((uint64_t)(row + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 20);
}

static void test_run(const zrt_context *context, const zrt_dataset *dataset, int64_t accumulation)
{
    int n_ranks = zrt_size(context), seen[N_ROWS] = {0}, all[N_ROWS], n_steps = 0;
    zrt_loader_options options = {.micro_batch_rows = STEP_ROWS / n_ranks / accumulation,
                                  .accumulation_steps = accumulation,
                                  .seed = 5,
                                  .shuffle = true,
                                  .n_epochs = N_EPOCHS};
    zrt_loader *loader = NULL, *alone = NULL;
    bool once = true, same_end = true, same_position = true, same_steps = true;
    zrt_status status = zrt_loader_create(context, dataset, &options, &loader);

    options.micro_batch_rows = STEP_ROWS;
    options.accumulation_steps = 1;
    if (status == ZRT_OK)
        status = zrt_loader_create(NULL, dataset, &options, &alone);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK, "loaders of %lld micro-steps a step", (long long)accumulation);
    while (status == ZRT_OK) {
        const zrt_batch *batch;
        int64_t marks[3] = {0}, sums[3], expected[2] = {0}, n_more = 0;

        for (int64_t j = 0; j < accumulation; j++) {
            status = zrt_loader_next(loader, &batch);
            n_more += status == ZRT_OK;
            for (int64_t i = 0; status == ZRT_OK && i < batch->n_rows; i++) {
                int32_t row = ((const int32_t *)batch->fields[0].data)[2 * i];

                seen[row]++;
                marks[0] += mark_of(row);
                marks[1] += batch->sample_ids[i];
            }
        }
        marks[2] = n_more;
        MPI_Allreduce(marks, sums, 3, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
        same_end = same_end && sums[2] == n_more * n_ranks && (n_more == 0 || n_more == accumulation);
        if (zrt_loader_next(alone, &batch) == ZRT_OK) {
            for (int64_t i = 0; i < batch->n_rows; i++) {
                expected[0] += mark_of(((const int32_t *)batch->fields[0].data)[2 * i]);
                expected[1] += batch->sample_ids[i];
            }
        }
        same_steps = same_steps && sums[0] == expected[0] && sums[1] == expected[1];
        same_position = same_position && zrt_loader_position(loader) == zrt_loader_position(alone);
        n_steps += n_more > 0;
    }
    MPI_Allreduce(seen, all, N_ROWS, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < N_ROWS; i++)
        once = once && all[i] == N_EPOCHS;
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_END && same_end, "the end is at the same call");
    tap_ok_all(MPI_COMM_WORLD, once, "every sample once an epoch");
    tap_ok_all(MPI_COMM_WORLD, same_steps && n_steps == N_EPOCHS * ((N_ROWS + STEP_ROWS - 1) / STEP_ROWS),
               "the steps of one rank, and their places in the global order");
    tap_ok_all(MPI_COMM_WORLD, same_position, "the same counter");
    zrt_loader_destroy(&loader);
    zrt_loader_destroy(&alone);
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_dataset *dataset;
    int status = 99;

    if (zrt_init(&argc, &argv, &context) != ZRT_OK)
        return status;
    dataset = numbered_rows();
    test_run(context, dataset, 1);
    if (STEP_ROWS / zrt_size(context) % 3 == 0)
        test_run(context, dataset, 3);
    zrt_dataset_destroy(&dataset);
    status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
