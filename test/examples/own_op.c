/* An op of one's own: soft capping, y = cap * tanh(x / cap) (Gemma 2), with its shape rule, forward and backward.
 *
 *     cc own_op.c $(pkg-config --cflags --libs zerort) -lm && mpirun -np 2 ./a.out
 *
 * It checks the op's gradient twice: against differences of forward, and inside a model, against the same mathematics made of
 * the library's ops. */
/* ranks: 1 2 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/zerort.h>

/* ---- the op ---- */

static zrt_status softcap_shape(const zrt_view *inputs, const void *attributes, zrt_view *output)
{
    const float *cap = attributes;
    if (*cap <= 0)
        return ZRT_ERR_CONFIG;
    output->dtype = inputs[0].dtype;
    output->n_dims = inputs[0].n_dims;
    memcpy(output->dims, inputs[0].dims, sizeof output->dims);
    return ZRT_OK;
}

static bool supported(const zrt_op_context *context, const zrt_view *x)
{
    return !context->is_cuda && x->dtype == ZRT_FLOAT32;
}

static zrt_status softcap_forward(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                                  const void *attributes)
{
    const float cap = *(const float *)attributes;
    if (!supported(context, &inputs[0]))
        return ZRT_ERR_NOT_SUPPORTED;
    const float *x = inputs[0].data;
    float *y = output->data;
    for (int64_t i = 0; i < zrt_view_elements(output); i++)
        y[i] = cap * tanhf(x[i] / cap);
    return ZRT_OK;
}

static zrt_status softcap_backward(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                                   const zrt_view *grad_output, const zrt_view *grad_inputs, const void *attributes)
{
    const float cap = *(const float *)attributes;
    if (!supported(context, &inputs[0]))
        return ZRT_ERR_NOT_SUPPORTED;
    const float *y = output->data, *dy = grad_output->data;
    float *dx = grad_inputs[0].data;
    for (int64_t i = 0; dx && i < zrt_view_elements(output); i++)
        dx[i] = dy[i] * (1 - (y[i] / cap) * (y[i] / cap));
    return ZRT_OK;
}

static const zrt_op softcap = {"softcap", 1, softcap_shape, softcap_forward, softcap_backward};

/* ---- against differences ---- */

static zrt_status check_differences(double *worst_out)
{
    enum { N = 64 };
    const float cap = 3.0f, h = 1e-2f;
    const zrt_op_context cpu = {0};
    float x[N], up[N], down[N], y[N], dy[N], dx[N];
    for (int i = 0; i < N; i++) {
        x[i] = 0.2f * (float)(i - N / 2);
        dy[i] = 1 + 0.01f * (float)i;
    }
    zrt_view in = {x, ZRT_FLOAT32, 1, {N}}, out = in, grad_out = in, grad_in = in;
    ZRT_TRY(softcap.shape(&in, &cap, &out));
    out.data = y;
    grad_out.data = dy;
    grad_in.data = dx;
    ZRT_TRY(softcap.forward(&cpu, &in, &out, &cap));
    ZRT_TRY(softcap.backward(&cpu, &in, &out, &grad_out, &grad_in, &cap));
    for (int side = 0; side < 2; side++) {
        float moved[N];
        for (int i = 0; i < N; i++)
            moved[i] = side ? x[i] - h : x[i] + h;
        in.data = moved;
        out.data = side ? down : up;
        ZRT_TRY(softcap.forward(&cpu, &in, &out, &cap));
    }
    *worst_out = 0;
    for (int i = 0; i < N; i++) {
        double difference = dy[i] * ((double)up[i] - down[i]) / (2 * (double)h);
        *worst_out = fmax(*worst_out, fabs(difference - dx[i]) / fmax(fabs(difference), 0.1));
    }
    return ZRT_OK;
}

/* ---- inside a model ---- */

enum { FEATURES = 8, HIDDEN = 16, CLASSES = 4, ROWS = 32 };

typedef struct net_spec {
    float cap;
    bool own; /* the op above; otherwise scale, tanh, scale */
} net_spec;

static zrt_status describe_net(zrt_unit *unit, const void *spec)
{
    const net_spec *net = spec;
    const zrt_initializer normal = {ZRT_INIT_NORMAL, 0.7f};
    const int64_t first_dims[] = {HIDDEN, FEATURES}, second_dims[] = {CLASSES, HIDDEN};
    zrt_tensor *first = zrt_param(unit, "first.weight", 2, first_dims, normal);
    zrt_tensor *second = zrt_param(unit, "second.weight", 2, second_dims, normal);
    zrt_tensor *x = zrt_linear(unit, zrt_input(unit, "features"), first, NULL, ZRT_WEIGHT_OUT_IN);
    if (net->own) {
        x = zrt_apply(unit, &softcap, &x, &net->cap, sizeof net->cap);
    } else {
        x = zrt_activation(unit, zrt_scale(unit, x, 1 / net->cap), ZRT_TANH);
        x = zrt_scale(unit, x, net->cap);
    }
    zrt_tensor *logits = zrt_linear(unit, x, second, NULL, ZRT_WEIGHT_OUT_IN);
    zrt_cross_entropy(unit, logits, zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status make_model(const net_spec *net, zrt_model **model_out)
{
    const int64_t features = FEATURES;
    ZRT_TRY(zrt_model_create(net->own ? "with softcap" : "with tanh", model_out));
    ZRT_TRY(zrt_model_add_field(*model_out, "features", ZRT_FLOAT32, 1, &features));
    ZRT_TRY(zrt_model_add_field(*model_out, "labels", ZRT_INT32, 0, NULL));
    return zrt_model_add_unit(*model_out, "net", describe_net, net, sizeof *net);
}

/* The gradient of first.weight, at the same weights and data for both models. */
static zrt_status gradient_of(zrt_context *context, zrt_model *model, const zrt_config *config, zrt_engine **engine,
                              float gradient[HIDDEN * FEATURES])
{
    float features[ROWS][FEATURES];
    int32_t labels[ROWS];
    for (int r = 0; r < ROWS; r++) {
        for (int f = 0; f < FEATURES; f++)
            features[r][f] = 2 * sinf((float)(r * FEATURES + f + 1));
        labels[r] = r % CLASSES;
    }
    const zrt_batch batch = {
        .n_rows = ROWS,
        .length = 1,
        .n_fields = 2,
        .names = {"features", "labels"},
        .fields = {{.data = features, .dtype = ZRT_FLOAT32, .n_dims = 2, .dims = {ROWS, FEATURES}},
                   {.data = labels, .dtype = ZRT_INT32, .n_dims = 1, .dims = {ROWS}}},
        .label_positions = 1,
    };
    zrt_loss *loss;
    ZRT_TRY(zrt_engine_create(context, model, config, engine));
    ZRT_TRY(zrt_engine_forward(*engine, &batch, &loss));
    ZRT_TRY(zrt_engine_backward(*engine, loss));
    return zrt_engine_get_full(*engine, "net.first.weight", ZRT_STATE_GRADIENT, gradient);
}

typedef struct objects {
    zrt_config *config;
    zrt_model *models[2];
    zrt_engine *engines[2];
} objects;

static zrt_status check_model(zrt_context *context, objects *o, double *worst_out)
{
    float gradients[2][HIDDEN * FEATURES];
    ZRT_TRY(zrt_config_create(&o->config));
    ZRT_TRY(zrt_config_read_string(o->config,
                                   "{\"train_micro_batch_size_per_gpu\": 32, \"zero_optimization\": {\"stage\": 2},"
                                   " \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.001}}}"));
    ZRT_TRY(zrt_config_set_argument(o->config, "device", "cpu")); /* where the op's functions run */
    for (int i = 0; i < 2; i++) {
        const net_spec net = {.cap = 1.5f, .own = i == 0};
        ZRT_TRY(make_model(&net, &o->models[i]));
        ZRT_TRY(gradient_of(context, o->models[i], o->config, &o->engines[i], gradients[i]));
    }
    double difference = 0, size = 0;
    for (int i = 0; i < HIDDEN * FEATURES; i++) {
        difference += pow((double)gradients[0][i] - gradients[1][i], 2);
        size += pow(gradients[1][i], 2);
    }
    *worst_out = size > 0 ? sqrt(difference / size) : INFINITY;
    return ZRT_OK;
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    objects o = {0};
    double differences = INFINITY, model = INFINITY;
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status == ZRT_OK)
        status = check_differences(&differences);
    if (status == ZRT_OK)
        status = check_model(context, &o, &model);
    if (status != ZRT_OK)
        fprintf(stderr, "own_op: %s: %s\n", zrt_status_text(status), zrt_error_message());
    else if (zrt_rank(context) == 0)
        printf("# relative deviation from differences %.1e, in a model %.1e\n", differences, model);
    for (int i = 0; i < 2; i++) {
        zrt_engine_destroy(&o.engines[i]);
        zrt_model_destroy(&o.models[i]);
    }
    zrt_config_destroy(&o.config);
    zrt_finalize(&context);
    if (status != ZRT_OK)
        return zrt_status_exit_code(status);
    return differences < 1e-3 && model < 1e-5 ? 0 : 1;
}
