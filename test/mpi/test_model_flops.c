/* The operations of a step, beside the formula: recomputation, stages and micro-steps do not change them. */
/* ranks: 1 2 */
#include "config.h"

#include <stdio.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "tap_mpi.h"

enum { VOCAB = 64, LENGTH = 16, LAYERS = 3, HIDDEN = 48, ROWS = 2 };

static zrt_status flops(zrt_context *context, const char *stage, const char *recompute, const char *micro_steps,
                        double *flops_out, double *peak_out)
{
    zrt_gpt2_spec spec = {.vocab_size = VOCAB,
                          .n_positions = LENGTH,
                          .n_embd = HIDDEN,
                          .n_layer = LAYERS,
                          .n_head = 4,
                          .layer_norm_epsilon = 1e-5f,
                          .initializer_range = 0.02f,
                          .tie_word_embeddings = true,
                          .scale_attn_weights = true,
                          .activation_function = ZRT_GELU_TANH};
    zrt_model *model = NULL;
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    zrt_status status = zrt_model_gpt2(&spec, &model);
    if (status == ZRT_OK)
        status = zrt_config_create(&config);
    if (status == ZRT_OK)
        status = zrt_config_set(config, "zero_optimization.stage", stage);
    if (status == ZRT_OK)
        status = zrt_config_set(config, "train_micro_batch_size_per_gpu", "2");
    if (status == ZRT_OK)
        status = zrt_config_set(config, "gradient_accumulation_steps", micro_steps);
    if (status == ZRT_OK)
        status = zrt_config_set(config, "zerort.recompute", recompute);
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, &engine);
    if (status == ZRT_OK)
        zrt_engine_model_flops(engine, flops_out, peak_out);
    zrt_engine_destroy(&engine);
    zrt_config_destroy(&config);
    zrt_model_destroy(&model);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const cases[][3] = {{"0", "\"none\"", "1"},
                                           {"3", "\"none\"", "1"},
                                           {"3", "\"full\"", "1"},
                                           {"2", "\"selective\"", "1"},
                                           {"1", "\"none\"", "3"}};
    zrt_context *context = NULL;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK) {
        fprintf(stderr, "%s\n", zrt_error_message());
        return 1;
    }
    double tokens = ROWS * LENGTH, parameters = LAYERS * 12.0 * HIDDEN * HIDDEN + (double)VOCAB * HIDDEN;
    double want = tokens * (6 * parameters + 12.0 * LAYERS * HIDDEN * LENGTH);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double have = 0, peak = -1, steps = cases[i][2][0] - '0';
        zrt_status status = flops(context, cases[i][0], cases[i][1], cases[i][2], &have, &peak);
        tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && have == want * steps && peak >= 0,
                   "stage %s, recompute %s, %s micro-steps: %.0f", cases[i][0], cases[i][1], cases[i][2], have);
        if (status != ZRT_OK)
            tap_diag("%s", zrt_error_message());
    }
    int failed = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return failed;
}
