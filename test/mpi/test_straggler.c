/* A rank whose own operation takes long is found, however long the others wait for it. */
/* ranks: 1 2 3 */
#include "config.h"

#include <stdio.h>
#include <time.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "tap_mpi.h"

enum { FEATURES = 8, CLASSES = 4, ROWS = 4 };
/* Longer than ranks that share a core hold each other up. */
static const double slow_seconds = 0.25;

typedef struct net_spec {
    double seconds; /* of the operation on this rank */
} net_spec;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static zrt_status same_shape(const zrt_view *inputs, const void *attributes, zrt_view *output)
{
    (void)attributes;
    void *data = output->data;
    *output = inputs[0];
    output->data = data;
    return ZRT_OK;
}

static zrt_status slow_copy(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                            const void *attributes)
{
    const net_spec *spec = attributes;
    const float *x = inputs[0].data;
    float *y = output->data;
    (void)context;
    for (int64_t i = 0; i < zrt_view_elements(output); i++)
        y[i] = x[i];
    for (double until = now() + spec->seconds; now() < until;)
        continue;
    return ZRT_OK;
}

static zrt_status copy_gradient(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                                const zrt_view *grad_output, const zrt_view *grad_inputs, const void *attributes)
{
    const float *dy = grad_output->data;
    float *dx = grad_inputs[0].data;
    (void)context, (void)inputs, (void)attributes;
    for (int64_t i = 0; dx && i < zrt_view_elements(output); i++)
        dx[i] = dy[i];
    return ZRT_OK;
}

static const zrt_op slow_op = {"slow_copy", 1, same_shape, slow_copy, copy_gradient};

static zrt_status describe(zrt_unit *unit, const void *spec)
{
    const int64_t dims[] = {CLASSES, FEATURES};
    zrt_tensor *weight = zrt_param(unit, "weight", 2, dims, (zrt_initializer){ZRT_INIT_NORMAL, 0.7f});
    zrt_tensor *x = zrt_linear(unit, zrt_input(unit, "features"), weight, NULL, ZRT_WEIGHT_OUT_IN);
    x = zrt_apply(unit, &slow_op, &x, spec, sizeof(net_spec));
    zrt_cross_entropy(unit, x, zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status make(zrt_context *context, const net_spec *net, zrt_model **model, zrt_config **config,
                       zrt_engine **engine)
{
    const int64_t features = FEATURES;
    ZRT_TRY(zrt_model_create("uneven", model));
    ZRT_TRY(zrt_model_add_field(*model, "features", ZRT_FLOAT32, 1, &features));
    ZRT_TRY(zrt_model_add_field(*model, "labels", ZRT_INT32, 0, NULL));
    ZRT_TRY(zrt_model_add_unit(*model, "net", describe, net, sizeof *net));
    ZRT_TRY(zrt_config_create(config));
    ZRT_TRY(zrt_config_read_string(*config,
                                   "{\"train_micro_batch_size_per_gpu\": 4, \"gradient_accumulation_steps\": 2,"
                                   " \"zero_optimization\": {\"stage\": 3},"
                                   " \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.001}}}"));
    ZRT_TRY(zrt_config_set_argument(*config, "device", "cpu")); /* where the op's functions run */
    return zrt_engine_create(context, *model, *config, engine);
}

static zrt_status step(zrt_engine *engine)
{
    float features[ROWS][FEATURES] = {{1, 2}, {3}, {0, 4}, {5}};
    int32_t labels[ROWS] = {0, 1, 2, 3};
    const zrt_batch batch = {
        .n_rows = ROWS,
        .length = 1,
        .n_fields = 2,
        .names = {"features", "labels"},
        .fields = {{.data = features, .dtype = ZRT_FLOAT32, .n_dims = 2, .dims = {ROWS, FEATURES}},
                   {.data = labels, .dtype = ZRT_INT32, .n_dims = 1, .dims = {ROWS}}},
        .label_positions = 1,
    };
    for (int micro_step = 0; micro_step < 2; micro_step++) {
        zrt_loss *loss;
        ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
        ZRT_TRY(zrt_engine_backward(engine, loss));
        ZRT_TRY(zrt_engine_step(engine));
    }
    return ZRT_OK;
}

/* Steps 1 and 3 without, step 2 with being asked for. */
static zrt_status look(zrt_engine *engine, zrt_straggler found[3])
{
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            ZRT_TRY(zrt_engine_time_step(engine));
        ZRT_TRY(step(engine));
        ZRT_TRY(zrt_engine_find_straggler(engine, &found[i]));
    }
    return ZRT_OK;
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    zrt_straggler found[3] = {{0}};
    if (zrt_init(&argc, &argv, &context) != ZRT_OK) {
        fprintf(stderr, "%s\n", zrt_error_message());
        return 1;
    }
    int n = zrt_size(context), slow = n - 1;
    const net_spec net = {.seconds = zrt_rank(context) == slow ? slow_seconds : 0};
    zrt_status status = make(context, &net, &model, &config, &engine);
    if (status == ZRT_OK)
        status = look(engine, found);
    if (status != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && found[0].step == 0 && found[2].step == 0,
               "nothing is said of steps that were not timed");
    tap_ok_all(MPI_COMM_WORLD,
               found[1].step == 2 && found[1].rank == slow && found[1].host[0] != '\0' &&
                   found[1].seconds >= slow_seconds && found[1].seconds < 2 * slow_seconds &&
                   (n == 1 || found[1].median_seconds < slow_seconds / 1.3),
               "rank %d computed %.3f s of step %lld, the median rank %.3f s", found[1].rank, found[1].seconds,
               (long long)found[1].step, found[1].median_seconds);
    int failed = tap_done_all(MPI_COMM_WORLD);
    zrt_engine_destroy(&engine);
    zrt_config_destroy(&config);
    zrt_model_destroy(&model);
    zrt_finalize(&context);
    return failed;
}
