/* fp16: a step whose gradient is not finite, on one rank alone, changes nothing on any, and the run goes on as if its batch had
 * never been; at the minimum scale the parameter and the rank are named. */
/* ranks: 1 2 4 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "tap_mpi.h"

enum { FEATURES = 24, WIDTH = 40, CLASSES = 7, ROWS = 4, STEPS = 12, STRUCK = 3, N_PARAMETERS = 4, ELEMENTS = 1 << 12 };

/* ---- an op whose backward pass is told to overflow ---- */

static zrt_status same_shape(const zrt_view *inputs, const void *attributes, zrt_view *output)
{
    (void)attributes;
    output->dtype = inputs->dtype;
    output->n_dims = inputs->n_dims;
    memcpy(output->dims, inputs->dims, sizeof inputs->dims);
    return ZRT_OK;
}

static zrt_status copy_forward(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                               const void *attributes)
{
    (void)context, (void)attributes;
    memcpy(output->data, inputs->data, (size_t)zrt_view_elements(inputs) * zrt_dtype_bytes(inputs->dtype));
    return ZRT_OK;
}

static zrt_status strike_backward(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                                  const zrt_view *grad_output, const zrt_view *grad_inputs, const void *attributes)
{
    (void)context, (void)output;
    const int *const *struck_rows = attributes;
    int64_t n = zrt_view_elements(inputs);
    memcpy(grad_inputs->data, grad_output->data, (size_t)n * zrt_dtype_bytes(inputs->dtype));
    /* Only where there is a gradient: rows that are not counted have none. */
    uint16_t *half = grad_inputs->data;
    for (int64_t i = 0, left = **struck_rows; i < n && left > 0; i++)
        if ((half[i] & 0x7fffu) != 0) {
            half[i] = 0x7c00; /* inf */
            left--;
        }
    return ZRT_OK;
}

static const zrt_op strike = {
    .name = "strike", .n_inputs = 1, .shape = same_shape, .forward = copy_forward, .backward = strike_backward};

static zrt_status describe(zrt_unit *unit, const void *spec)
{
    const int64_t in[] = {WIDTH, FEATURES}, out[] = {CLASSES, WIDTH}, width = WIDTH;
    zrt_initializer normal = {ZRT_INIT_NORMAL, 0.2f}, nothing = {ZRT_INIT_ZERO, 0};
    zrt_tensor *plain = zrt_param(unit, "plain", 2, in, normal), *struck = zrt_param(unit, "struck", 2, in, normal);
    zrt_tensor *bias = zrt_param(unit, "bias", 1, &width, nothing), *head = zrt_param(unit, "head", 2, out, normal);
    zrt_tensor *x = zrt_input(unit, "features");
    zrt_tensor *b = zrt_linear(unit, x, struck, bias, ZRT_WEIGHT_OUT_IN);
    b = zrt_apply(unit, &strike, &b, spec, sizeof(const int *));
    zrt_tensor *h = zrt_add(unit, zrt_linear(unit, x, plain, NULL, ZRT_WEIGHT_OUT_IN), b);
    h = zrt_activation(unit, h, ZRT_GELU_TANH);
    zrt_cross_entropy(unit, zrt_linear(unit, h, head, NULL, ZRT_WEIGHT_OUT_IN), zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status make_model(const int *struck_rows, zrt_model **model_out)
{
    const int64_t features = FEATURES;
    ZRT_TRY(zrt_model_create("struck", model_out));
    ZRT_TRY(zrt_model_add_field(*model_out, "features", ZRT_FLOAT32, 1, &features));
    ZRT_TRY(zrt_model_add_field(*model_out, "labels", ZRT_INT32, 0, NULL));
    return zrt_model_add_unit(*model_out, "net", describe, &struck_rows, sizeof struck_rows);
}

/* ---- runs ---- */

typedef struct run_settings {
    int stage, accumulation, power, hysteresis;
} run_settings;

static zrt_status make(zrt_context *context, zrt_model *model, const run_settings *settings, zrt_engine **engine_out)
{
    char json[512];
    zrt_config *config = NULL;
    snprintf(json, sizeof json,
             "{\"fp16\": {\"enabled\": true, \"initial_scale_power\": %d, \"hysteresis\": %d}, "
             "\"zero_optimization\": {\"stage\": %d, \"stage3_param_persistence_threshold\": 0}, "
             "\"train_micro_batch_size_per_gpu\": %d, \"gradient_accumulation_steps\": %d}",
             settings->power, settings->hysteresis, settings->stage, ROWS, settings->accumulation);
    ZRT_TRY(zrt_config_create(&config));
    zrt_status status = zrt_config_read_string(config, json);
    const char *const arguments[][2] = {{"device", "cpu"}, /* where the op that strikes can */
                                        {"learning_rate", "1e-2"},
                                        {"max_steps", "30"},
                                        {"warmup_steps", "3"},
                                        {"lr_scheduler_type", "cosine"}};
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments && status == ZRT_OK; i++)
        status = zrt_config_set_argument(config, arguments[i][0], arguments[i][1]);
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

/* Batch `number` of this rank, in all micro-steps the same. */
static zrt_status one_step(zrt_context *context, zrt_engine *engine, int number, zrt_metrics *metrics)
{
    float features[ROWS][FEATURES];
    int32_t labels[ROWS];
    for (int r = 0; r < ROWS; r++) {
        int row = (number * zrt_size(context) + zrt_rank(context)) * ROWS + r;
        labels[r] = row % CLASSES;
        for (int f = 0; f < FEATURES; f++)
            features[r][f] = (float)((row * 31 + f * 17 + row * f) % 23) / 11.0f - 1.0f;
    }
    zrt_batch batch = {.n_rows = ROWS, .length = 1, .n_fields = 2, .names = {"features", "labels"}};
    batch.fields[0] = (zrt_view){features, ZRT_FLOAT32, 2, {ROWS, FEATURES}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 1, {ROWS}};
    for (bool last = false; !last;) {
        zrt_loss *loss = NULL;
        last = zrt_engine_is_accumulation_boundary(engine);
        ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
        ZRT_TRY(zrt_engine_backward(engine, loss));
        ZRT_TRY(zrt_engine_step(engine));
    }
    return zrt_engine_metrics(engine, metrics);
}

typedef struct states {
    float values[3][N_PARAMETERS][ELEMENTS];
} states;

static zrt_status take_states(zrt_engine *engine, states *out)
{
    static const char *const names[N_PARAMETERS] = {"net.plain", "net.struck", "net.bias", "net.head"};
    static const zrt_state kinds[3] = {ZRT_STATE_PARAMETER, ZRT_STATE_EXP_AVG, ZRT_STATE_EXP_AVG_SQ};
    memset(out, 0, sizeof *out);
    for (int k = 0; k < 3; k++)
        for (int p = 0; p < N_PARAMETERS; p++)
            ZRT_TRY(zrt_engine_get_full(engine, names[p], kinds[k], out->values[k][p]));
    return ZRT_OK;
}

static void skipped_by_all(zrt_context *context, zrt_model *model, int *struck_rows, const run_settings *settings)
{
    static states before, after, ends[2];
    static zrt_metrics rows[2][STEPS];
    int victim = zrt_size(context) - 1;
    bool unchanged = false, counted = false;
    zrt_status status = ZRT_OK;
    for (int hit = 0; hit < 2 && status == ZRT_OK; hit++) {
        zrt_engine *engine = NULL;
        status = make(context, model, settings, &engine);
        for (int i = 0; i < STEPS && status == ZRT_OK; i++) {
            if (hit == 1 && i == STRUCK) {
                zrt_metrics metrics;
                status = take_states(engine, &before);
                *struck_rows = zrt_rank(context) == victim;
                if (status == ZRT_OK)
                    status = one_step(context, engine, 100, &metrics);
                *struck_rows = 0;
                if (status == ZRT_OK)
                    status = take_states(engine, &after);
                unchanged = memcmp(&before, &after, sizeof before) == 0;
                counted = metrics.skipped == 1 && metrics.step == STRUCK + 1;
            }
            if (status == ZRT_OK)
                status = one_step(context, engine, i, &rows[hit][i]);
        }
        if (status == ZRT_OK)
            status = take_states(engine, &ends[hit]);
        zrt_engine_destroy(&engine);
    }
    if (status != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && unchanged && counted,
               "stage %d, %d micro-steps: an inf on rank %d is skipped by all: no weight, no moment changes",
               settings->stage, settings->accumulation, victim);
    bool equal = memcmp(&ends[0], &ends[1], sizeof ends[0]) == 0 && rows[0][STEPS - 1].skipped == 0;
    for (int i = 0; i < STEPS; i++)
        equal = equal && rows[0][i].loss == rows[1][i].loss && rows[0][i].grad_norm == rows[1][i].grad_norm &&
                rows[0][i].learning_rate == rows[1][i].learning_rate && rows[0][i].loss_scale == rows[1][i].loss_scale;
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && equal && memcmp(&before, &ends[1], sizeof before) != 0,
               "and the run goes on bit-equal to one that never saw that batch");
}

static void named(zrt_context *context, zrt_model *model, int *struck_rows, const run_settings *settings)
{
    zrt_engine *engine = NULL;
    zrt_metrics metrics;
    char rank[64];
    int victim = zrt_size(context) / 2;
    snprintf(rank, sizeof rank, "net.struck, on rank %d;", victim);
    zrt_status status = make(context, model, settings, &engine);
    for (int i = 0; i < 2 && status == ZRT_OK; i++)
        status = one_step(context, engine, i, &metrics);
    bool went = status == ZRT_OK;
    *struck_rows = zrt_rank(context) == victim;
    for (int i = 0; i < 2 && status == ZRT_OK; i++)
        status = one_step(context, engine, 100, &metrics);
    *struck_rows = 0;
    tap_ok_all(MPI_COMM_WORLD, went && status == ZRT_ERR_INPUT && strstr(zrt_error_message(), rank) != NULL,
               "stage %d, %d micro-steps: at the minimum scale: %s", settings->stage, settings->accumulation,
               zrt_error_message());
    zrt_engine_destroy(&engine);
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    int struck_rows = 0;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK || make_model(&struck_rows, &model) != ZRT_OK) {
        fprintf(stderr, "%s\n", zrt_error_message());
        return 1;
    }
    for (int stage = 0; stage < 4; stage++)
        for (int accumulation = 1; accumulation < 3; accumulation++) {
            run_settings settings = {stage, accumulation, 8, 2};
            skipped_by_all(context, model, &struck_rows, &settings);
            /* The second overflow finds 2^0 and no hysteresis left. */
            settings.power = 0;
            named(context, model, &struck_rows, &settings);
        }
    zrt_model_destroy(&model);
    int status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
