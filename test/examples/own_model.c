/* A model of one's own: a small transformer, described with ops and nothing else, and its own training loop.
 *
 *     cc own_model.c $(pkg-config --cflags --libs zerort) && mpirun -np 2 ./a.out
 *
 * It learns to repeat: a row is SPAN random tokens and then the same tokens again, and only the second half is counted. */
/* ranks: 1 2 */
#include <stdio.h>
#include <string.h>

#include <zerort/zerort.h>

enum { VOCABULARY = 16, SPAN = 8, LENGTH = 2 * SPAN, ROWS = 16, STEPS = 150 };

typedef struct block_spec {
    int64_t width;
    int n_heads;
} block_spec;

/* ---- the model: three kinds of unit ---- */

static zrt_tensor *layernorm(zrt_unit *unit, const char *weight, const char *bias, zrt_tensor *x, int64_t width)
{
    zrt_tensor *w = zrt_param(unit, weight, 1, &width, (zrt_initializer){ZRT_INIT_ONE, 0});
    zrt_tensor *b = zrt_param(unit, bias, 1, &width, (zrt_initializer){ZRT_INIT_ZERO, 0});
    return zrt_layernorm(unit, x, w, b, 1e-5f);
}

static zrt_tensor *linear(zrt_unit *unit, const char *name, zrt_tensor *x, int64_t outputs, float scale)
{
    const int64_t dims[] = {outputs, zrt_tensor_dim(x, zrt_tensor_n_dims(x) - 1)};
    zrt_tensor *weight = zrt_param(unit, name, 2, dims, (zrt_initializer){ZRT_INIT_NORMAL, scale});
    return zrt_linear(unit, x, weight, NULL, ZRT_WEIGHT_OUT_IN);
}

static zrt_status describe_embedding(zrt_unit *unit, const void *spec)
{
    const block_spec *block = spec;
    const zrt_initializer normal = {ZRT_INIT_NORMAL, 0.1f};
    const int64_t token_dims[] = {VOCABULARY, block->width}, position_dims[] = {LENGTH, block->width};
    zrt_tensor *tokens = zrt_param(unit, "tokens", 2, token_dims, normal);
    zrt_tensor *positions = zrt_param(unit, "positions", 2, position_dims, normal);
    zrt_tensor *x = zrt_embedding(unit, zrt_input(unit, "position_ids"), positions, NULL);
    zrt_output(unit, "hidden", zrt_embedding(unit, zrt_input(unit, "input_ids"), tokens, x));
    return zrt_unit_status(unit);
}

static zrt_status describe_block(zrt_unit *unit, const void *spec)
{
    const block_spec *block = spec;
    const float scale = 0.1f;
    const zrt_attention_spec attention = {.n_heads = block->n_heads,
                                          .n_kv_heads = block->n_heads,
                                          .head_dim = (int)block->width / block->n_heads,
                                          .causal = true};
    zrt_tensor *x = zrt_input(unit, "hidden");
    zrt_tensor *a = layernorm(unit, "norm1.weight", "norm1.bias", x, block->width);
    a = zrt_attention(unit, linear(unit, "qkv.weight", a, 3 * block->width, scale), &attention);
    x = zrt_add(unit, x, linear(unit, "attention.weight", a, block->width, scale));

    zrt_tensor *m = layernorm(unit, "norm2.weight", "norm2.bias", x, block->width);
    m = zrt_activation(unit, linear(unit, "up.weight", m, 4 * block->width, scale), ZRT_GELU);
    zrt_output(unit, "hidden", zrt_add(unit, x, linear(unit, "down.weight", m, block->width, scale)));
    return zrt_unit_status(unit);
}

static zrt_status describe_head(zrt_unit *unit, const void *spec)
{
    const block_spec *block = spec;
    zrt_tensor *x = layernorm(unit, "norm.weight", "norm.bias", zrt_input(unit, "hidden"), block->width);
    if (zrt_unit_mode(unit) == ZRT_MODE_GENERATE)
        x = zrt_last_position(unit, x);
    zrt_cross_entropy(unit, linear(unit, "weight", x, VOCABULARY, 0.1f), zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status make_model(zrt_model **model_out)
{
    const block_spec block = {.width = 32, .n_heads = 2};
    const zrt_model_info info = {.hidden_size = block.width,
                                 .vocab_size = VOCABULARY,
                                 .max_length = LENGTH,
                                 .bos_token_id = -1,
                                 .eos_token_id = -1};
    ZRT_TRY(zrt_model_create("repeater", model_out));
    zrt_model_set_info(*model_out, &info);
    ZRT_TRY(zrt_model_add_unit(*model_out, "embedding", describe_embedding, &block, sizeof block));
    ZRT_TRY(zrt_model_add_unit(*model_out, "block.0", describe_block, &block, sizeof block));
    ZRT_TRY(zrt_model_add_unit(*model_out, "block.1", describe_block, &block, sizeof block));
    return zrt_model_add_unit(*model_out, "head", describe_head, &block, sizeof block);
}

/* ---- the data ---- */

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u; /* splitmix64 (Steele et al. 2014) */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void make_row(uint64_t number, int32_t tokens[LENGTH], int32_t labels[LENGTH])
{
    for (int t = 0; t < LENGTH; t++)
        tokens[t] = (int32_t)(mix(number * SPAN + (uint64_t)(t % SPAN)) % VOCABULARY);
    for (int t = 0; t < LENGTH; t++)
        labels[t] = t + 1 < SPAN || t + 1 == LENGTH ? ZRT_LABEL_IGNORED : tokens[t + 1];
    labels[SPAN - 1] = tokens[SPAN];
}

/* ---- the loop ---- */

static zrt_status train(zrt_engine *engine, int rank, int n_ranks, double *loss_out)
{
    static int32_t tokens[ROWS][LENGTH], labels[ROWS][LENGTH];
    const zrt_batch batch = {
        .n_rows = ROWS,
        .length = LENGTH,
        .n_fields = 2,
        .names = {"input_ids", "labels"},
        .fields = {{.data = tokens, .dtype = ZRT_INT32, .n_dims = 2, .dims = {ROWS, LENGTH}},
                   {.data = labels, .dtype = ZRT_INT32, .n_dims = 2, .dims = {ROWS, LENGTH}}},
    };
    for (int step = 0; step < STEPS; step++) {
        for (int row = 0; row < ROWS; row++)
            make_row(((uint64_t)step * (uint64_t)n_ranks + (uint64_t)rank) * ROWS + (uint64_t)row, tokens[row],
                     labels[row]);
        zrt_loss *loss;
        ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
        ZRT_TRY(zrt_engine_backward(engine, loss));
        ZRT_TRY(zrt_engine_step(engine));
        if (step % 50 == 49 || step == 0) {
            zrt_metrics metrics;
            ZRT_TRY(zrt_engine_metrics(engine, &metrics));
            if (rank == 0)
                printf("# step %3d  loss %.4f  gradient norm %.3f\n", step + 1, metrics.loss, metrics.grad_norm);
            *loss_out = metrics.loss;
        }
    }
    return ZRT_OK;
}

/* What the model makes of a new row's first half. */
static zrt_status count_repeated(zrt_engine *engine, int *right_out)
{
    int32_t row[LENGTH], labels[LENGTH], made[SPAN];
    make_row(UINT64_C(1) << 40, row, labels);
    const int32_t *prompt = row;
    const int64_t length = SPAN;
    const zrt_generate_options greedy = {.max_new_tokens = SPAN, .top_p = 1.0, .eos_token_id = -1};
    ZRT_TRY(zrt_engine_generate(engine, 1, &prompt, &length, &greedy, made));
    *right_out = 0;
    for (int t = 0; t < SPAN; t++)
        *right_out += made[t] == row[SPAN + t];
    return ZRT_OK;
}

static zrt_status run(zrt_context *context, zrt_model **model, zrt_config **config, zrt_engine **engine,
                      bool *learnt_out)
{
    static const char json[] =
        "{\"train_micro_batch_size_per_gpu\": 16, \"gradient_clipping\": 1.0, \"zero_optimization\": {\"stage\": 3},"
        " \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.005, \"weight_decay\": 0.01}}}";
    double loss = 0;
    int right = 0;
    ZRT_TRY(make_model(model));
    ZRT_TRY(zrt_config_create(config));
    ZRT_TRY(zrt_config_read_string(*config, json));
    ZRT_TRY(zrt_engine_create(context, *model, *config, engine));
    ZRT_TRY(train(*engine, zrt_rank(context), zrt_size(context), &loss));
    ZRT_TRY(count_repeated(*engine, &right));
    if (zrt_rank(context) == 0)
        printf("# %d of %d tokens repeated\n", right, SPAN);
    *learnt_out = loss < 0.2 && right >= SPAN - 1;
    return ZRT_OK;
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    bool learnt = false;
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status == ZRT_OK)
        status = zrt_agree(context, run(context, &model, &config, &engine, &learnt));
    if (status != ZRT_OK)
        fprintf(stderr, "own_model: %s\n", zrt_error_message());
    else if (!learnt && zrt_rank(context) == 0)
        fprintf(stderr, "own_model: it did not learn to repeat\n");
    zrt_engine_destroy(&engine);
    zrt_config_destroy(&config);
    zrt_model_destroy(&model);
    zrt_finalize(&context);
    return status != ZRT_OK ? zrt_status_exit_code(status) : !learnt;
}
