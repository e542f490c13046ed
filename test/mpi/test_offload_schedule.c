/* The schedule of an offloaded update: gradients go down while backward runs; "pipelined", a forward pass waits for each flat where
 * it needs it, "none", the step waits for all of them. */
/* ranks: 1 2 */
#include "config.h"

#include <string.h>

#include <zerort/zerort.h>

#include "engine/engine.h"
#include "tap_mpi.h"

static zrt_status make_engine(zrt_context *context, zrt_model *model, const char *mode, zrt_engine **engine_out)
{
    static const char *const keys[][2] = {{"zero_optimization.stage", "2"},
                                          {"zero_optimization.offload_optimizer.device", "cpu"},
                                          {"zero_optimization.sub_group_size", "500"}};
    zrt_config *config = NULL;
    ZRT_TRY(zrt_config_create(&config));
    zrt_status status = zrt_config_set(config, "zerort.overlapped_step", mode);
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == ZRT_OK; i++)
        status = zrt_config_set(config, keys[i][0], keys[i][1]);
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "device", "cpu");
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "max_steps", "2");
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static bool waits_for(const zrt__entry *entry, int event)
{
    for (int i = 0; i < entry->n_waits; i++)
        if (entry->waits[i] == event)
            return true;
    return false;
}

/* The first entry of a phase on a stream that waits for an event (a mark: ~mark); n_entries: none. */
static size_t first_wait(const zrt__plan *plan, const char *phase, zrt__stream_role stream, int event)
{
    size_t i = 0;
    while (i < plan->n_entries && (strcmp(plan->entries[i].phase, phase) != 0 || plan->entries[i].stream != stream ||
                                   !waits_for(&plan->entries[i], event)))
        i++;
    return i;
}

/* Backward's kernels that follow the first gradient on its way down, and flats whose gradients go down in backward. */
static void count_down(const zrt__zero *zero, const zrt__plan *plan, int *kernels_out, int *missing_out)
{
    size_t first = plan->n_entries;
    *kernels_out = *missing_out = 0;
    for (int f = 0; f < zero->n_flats; f++) {
        bool found = false;
        for (size_t i = 0; i < plan->n_entries; i++) {
            const zrt__entry *entry = &plan->entries[i];
            if (entry->stream != ZRT__STREAM_TO_HOST || strcmp(entry->phase, "backward") != 0 || entry->copy == NULL ||
                strcmp(entry->label, zero->flats[f].name) != 0)
                continue;
            found = true;
            first = i < first ? i : first;
        }
        *missing_out += zero->flats[f].on_host && !found;
    }
    for (size_t i = first; i < plan->n_entries; i++)
        *kernels_out += plan->entries[i].stream == ZRT__STREAM_COMPUTE && plan->entries[i].call != NULL &&
                        strcmp(plan->entries[i].phase, "backward") == 0;
}

/* Whether an entry of the compute stream in the step waits for copies to the device. */
static bool step_waits(const zrt__plan *plan)
{
    for (size_t i = 0; i < plan->n_entries; i++)
        if (plan->entries[i].stream >= ZRT__STREAM_TO_DEVICE && plan->entries[i].record >= 0 &&
            first_wait(plan, "step", ZRT__STREAM_COMPUTE, plan->entries[i].record) < plan->n_entries)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    zrt_gpt2_spec spec = {.vocab_size = 64,
                          .n_positions = 16,
                          .n_embd = 32,
                          .n_layer = 3,
                          .n_head = 4,
                          .layer_norm_epsilon = 1e-5f,
                          .initializer_range = 0.02f,
                          .activation_function = ZRT_GELU_TANH,
                          .scale_attn_weights = true};
    static const char *const modes[] = {"none", "pipelined", "speculative"};
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK || zrt_model_gpt2(&spec, &model) != ZRT_OK)
        return 1;
    for (int m = 0; m < 3; m++) {
        zrt_engine *engine = NULL;
        zrt_status status = make_engine(context, model, modes[m], &engine);
        tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK, "%s: an engine", modes[m]);
        if (status != ZRT_OK)
            return 1;
        const zrt__zero *zero = engine->compiled.zero;
        const zrt__plan *plan = engine->compiled.train[ZRT__VARIANT_ONLY];
        int kernels, missing, n = 0;
        count_down(zero, plan, &kernels, &missing);
        tap_ok_all(MPI_COMM_WORLD, missing == 0 && kernels > 10,
                   "%s: gradients go down while backward runs on (%d kernels follow)", modes[m], kernels);
        /* Where the forward pass waits for the first flat that is back, and for the last. */
        size_t earliest = plan->n_entries, latest = 0;
        for (int f = 0; f < zero->n_flats; f++) {
            size_t at = first_wait(plan, "forward", ZRT__STREAM_COMPUTE, ~zero->flats[f].ready);
            if (!zero->flats[f].on_host || at == plan->n_entries)
                continue;
            n++;
            earliest = at < earliest ? at : earliest;
            latest = at > latest ? at : latest;
        }
        if (m == 0) {
            tap_ok_all(MPI_COMM_WORLD, n == 0 && step_waits(plan), "none: the step waits until parameters are back");
        } else {
            tap_ok_all(MPI_COMM_WORLD, n >= 4 && latest > earliest + 10 && !step_waits(plan),
                       "%s: the next forward pass starts before the last tile is back", modes[m]);
        }
        zrt_engine_destroy(&engine);
    }
    zrt_model_destroy(&model);
    int result = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return result;
}
