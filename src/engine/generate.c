/* Generation with a key/value cache: the common part of the prompts at once, then a token at a time. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "base/random.h"
#include "engine/engine.h"

/* ---- choosing a token ---- */

typedef struct candidate {
    float logit;
    int32_t token;
} candidate;

static int more_likely(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token - y->token;
}

static int32_t most_likely(const float *logits, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

static int32_t choose(const float *logits, int64_t n, const zrt_generate_options *options, uint64_t row,
                      uint64_t position, candidate *candidates)
{
    if (options->temperature <= 0)
        return most_likely(logits, n);
    for (int64_t i = 0; i < n; i++)
        candidates[i] = (candidate){logits[i], (int32_t)i};
    qsort(candidates, (size_t)n, sizeof *candidates, more_likely);
    int64_t kept = options->top_k > 0 && options->top_k < n ? options->top_k : n;
    double sum = 0, total = 0;
    for (int64_t i = 0; i < kept; i++)
        total += exp((candidates[i].logit - candidates[0].logit) / options->temperature);
    if (options->top_p > 0 && options->top_p < 1) {
        int64_t i = 0;
        while (i < kept && sum < options->top_p * total)
            sum += exp((candidates[i++].logit - candidates[0].logit) / options->temperature);
        kept = i;
        total = sum;
    }
    zrt__philox draw =
        zrt__philox4x32((zrt__philox){{(uint32_t)row, (uint32_t)(row >> 32), (uint32_t)position, 0x67656e}},
                        (uint32_t)options->seed, (uint32_t)(options->seed >> 32));
    double target = zrt__uniform_from_bits(draw.x[0]) * total;
    sum = 0;
    for (int64_t i = 0; i < kept; i++) {
        sum += exp((candidates[i].logit - candidates[0].logit) / options->temperature);
        if (sum > target)
            return candidates[i].token;
    }
    return candidates[kept - 1].token;
}

/* ---- the plan ---- */

/* Scratch memory that grew is taken anew: nothing in it outlives a pass. Collective. */
static zrt_status grow_scratch(zrt_engine *engine, const size_t before[ZRT__N_REGIONS])
{
    const zrt__group *world = zrt__context_world(engine->context);
    zrt__memory *memory = &engine->compiled.memory;
    zrt__comm *comm = engine->runtime.comms[ZRT__STREAM_GATHER];
    zrt__device *device = engine->runtime.device;
    ZRT_TRY(zrt__group_agree(world, zrt__engine_synchronize(engine)));
    for (int region = 0; region < ZRT__N_REGIONS; region++) {
        if (memory->scratch_bytes[region] <= before[region])
            continue;
        void *data = NULL;
        zrt_status status = ZRT_OK;
        if (region == ZRT__REGION_REGISTERED) {
            if (memory->scratch_base[region] != NULL)
                comm->ops->release(comm, &engine->registered[1]);
            status = comm->ops->allocate(comm, memory->scratch_bytes[region], &engine->registered[1], &data);
        } else {
            if (memory->scratch_base[region] != NULL)
                device->ops->release(device, ZRT__MEMORY_DEVICE, memory->scratch_base[region], before[region]);
            status = device->ops->allocate(device, ZRT__MEMORY_DEVICE, memory->scratch_bytes[region], &data);
        }
        memory->scratch_base[region] = data;
        ZRT_TRY(zrt__group_agree(world, status));
    }
    return ZRT_OK;
}

static zrt_status prepare(zrt_engine *engine, int64_t rows, int64_t prompt_length, int64_t cache_length)
{
    zrt__generation *g = &engine->generation;
    if (g->plan != NULL && g->rows == rows && g->prompt_length == prompt_length && g->cache_length >= cache_length)
        return ZRT_OK;
    zrt__plan_destroy(&g->plan);
    zrt__build_destroy(&g->prompt);
    zrt__build_destroy(&g->token);
    size_t before[ZRT__N_REGIONS];
    memcpy(before, engine->compiled.memory.scratch_bytes, sizeof before);
    const zrt__build_options *train = &engine->compiled.train_build->options;
    zrt__build_options options = {.mode = ZRT_MODE_GENERATE,
                                  .rows = rows,
                                  .length = prompt_length,
                                  .cache_length = cache_length,
                                  .table_length = train->table_length,
                                  .compute_dtype = train->compute_dtype};
    zrt_status status = zrt__build_create(engine->model, &options, &g->prompt);
    options.length = 1;
    if (status == ZRT_OK)
        status = zrt__build_create(engine->model, &options, &g->token);
    if (status == ZRT_OK)
        status = zrt__zero_compile_generate(engine->compiled.zero, g->prompt, g->token, &g->plan, g->logits);
    ZRT_TRY(zrt__group_agree(zrt__context_world(engine->context), status));
    g->rows = rows;
    g->prompt_length = prompt_length;
    g->cache_length = cache_length;
    ZRT_TRY(grow_scratch(engine, before));
    return zrt__engine_bind(engine);
}

/* ---- running ---- */

typedef struct generate_run {
    zrt_engine *engine;
    const zrt_generate_options *options;
    int n_rows;
    const int32_t *const *prompts;
    const int64_t *prompt_lengths;
    int64_t first_row, rows; /* this rank's */
    int64_t vocab;
    float *logits; /* [rows, vocab] */
    candidate *candidates;
    int32_t *tokens; /* [rows, max_new_tokens] */
    bool *ended;
} generate_run;

/* Stages tokens [first, first + n) of every row, from the prompt where it reaches so far, and runs the segment. */
static zrt_status run_positions(generate_run *run, int segment, int64_t first, int64_t n)
{
    zrt_engine *engine = run->engine;
    const zrt__device_ops *device = engine->runtime.device->ops;
    int ids_field = zrt__model_find_field(engine->model, "input_ids");
    int position_field = zrt__model_find_field(engine->model, "position_ids");
    ZRT_TRY(zrt__engine_synchronize(engine));
    int32_t *ids = zrt__engine_address(engine, NULL, engine->compiled.staging.fields[ids_field]);
    int32_t *positions = zrt__engine_address(engine, NULL, engine->compiled.staging.fields[position_field]);
    for (int64_t r = 0; r < run->rows; r++) {
        int64_t row = run->first_row + r;
        for (int64_t i = 0; i < n; i++) {
            int64_t p = first + i;
            int32_t token = 0;
            if (row < run->n_rows)
                token = p < run->prompt_lengths[row]
                            ? run->prompts[row][p]
                            : run->tokens[r * run->options->max_new_tokens + p - run->prompt_lengths[row]];
            ids[r * n + i] = token;
            positions[r * n + i] = (int32_t)p;
        }
    }
    size_t bytes = (size_t)(run->rows * n) * sizeof *ids;
    zrt__stream *stream = zrt__engine_stream(engine);
    ZRT_TRY(
        device->copy(stream, zrt__engine_address(engine, NULL, engine->compiled.zero->fields[ids_field]), ids, bytes));
    ZRT_TRY(device->copy(stream, zrt__engine_address(engine, NULL, engine->compiled.zero->fields[position_field]),
                         positions, bytes));
    ZRT_TRY(zrt__plan_run(engine->generation.plan, &engine->runtime, segment, NULL));
    const zrt__operand *logits = &engine->generation.logits[segment];
    zrt_dtype dtype = logits->view.dtype;
    size_t elements = (size_t)(run->rows * run->vocab);
    ZRT_TRY(device->copy(stream, run->logits, zrt__engine_address(engine, engine->generation.plan, logits->ref),
                         elements * zrt_dtype_bytes(dtype)));
    ZRT_TRY(zrt__engine_synchronize(engine));
    if (dtype != ZRT_FLOAT32) {
        uint16_t half;
        for (size_t i = elements; i-- > 0;) {
            memcpy(&half, (const char *)run->logits + i * sizeof half, sizeof half);
            run->logits[i] = dtype == ZRT_FLOAT16 ? zrt__fp16_to_float(half) : zrt__bf16_to_float(half);
        }
    }
    return ZRT_OK;
}

static bool is_stop(const zrt_generate_options *options, int32_t token)
{
    for (int i = 0; i < options->n_stop_tokens; i++)
        if (options->stop_token_ids[i] == token)
            return true;
    return options->eos_token_id >= 0 && token == options->eos_token_id;
}

/* The token after position `last` of each row whose prompt has ended there. */
static void take_tokens(generate_run *run, int64_t last)
{
    const zrt_generate_options *options = run->options;
    for (int64_t r = 0; r < run->rows; r++) {
        int64_t row = run->first_row + r;
        int64_t index = row < run->n_rows ? last + 1 - run->prompt_lengths[row] : -1;
        if (index < 0 || index >= options->max_new_tokens)
            continue;
        int32_t token = run->ended[r] ? run->tokens[r * options->max_new_tokens + index - 1]
                                      : choose(run->logits + r * run->vocab, run->vocab, options, (uint64_t)row,
                                               (uint64_t)(last + 1), run->candidates);
        run->tokens[r * options->max_new_tokens + index] = token;
        run->ended[r] = run->ended[r] || is_stop(options, token);
    }
}

static zrt_status check(const zrt_engine *engine, const generate_run *run, int64_t *shortest_out, int64_t *longest_out)
{
    int64_t shortest = INT64_MAX, longest = 0, vocab = engine->model->info.vocab_size;
    if (engine->backward_due || engine->update_due)
        return zrt__fail(ZRT_ERR_USAGE, "zrt_engine_generate inside a training step");
    if (run->n_rows < 1 || run->options->max_new_tokens < 1)
        return zrt__fail(ZRT_ERR_USAGE, "generation needs a prompt and at least one new token");
    for (int i = 0; i < run->n_rows; i++) {
        int64_t n = run->prompt_lengths[i];
        if (n < 1)
            return zrt__fail(ZRT_ERR_INPUT, "prompt %d is empty; give at least one token", i);
        for (int64_t t = 0; t < n; t++)
            if (run->prompts[i][t] < 0 || (vocab > 0 && run->prompts[i][t] >= vocab))
                return zrt__fail(ZRT_ERR_INPUT, "prompt %d: token %d is outside the vocabulary of %lld", i,
                                 run->prompts[i][t], (long long)vocab);
        shortest = n < shortest ? n : shortest;
        longest = n > longest ? n : longest;
    }
    int64_t limit = engine->model->info.max_length;
    if (limit > 0 && longest + run->options->max_new_tokens > limit)
        return zrt__fail(
            ZRT_ERR_INPUT, "a prompt of %lld tokens and %lld new ones are more than the %lld positions of model %s",
            (long long)longest, (long long)run->options->max_new_tokens, (long long)limit, engine->model->name);
    *shortest_out = shortest;
    *longest_out = longest;
    return ZRT_OK;
}

static zrt_status generate(generate_run *run, int64_t shortest, int64_t longest)
{
    zrt_engine *engine = run->engine;
    int64_t room = engine->compiled.zero->fields_rows * engine->compiled.zero->fields_length / run->rows;
    int64_t prompt_length = shortest < room ? shortest : room;
    int64_t end = longest + run->options->max_new_tokens;
    ZRT_TRY(prepare(engine, run->rows, prompt_length, end));
    const zrt_view *view = &engine->generation.logits[1].view;
    run->vocab = zrt_view_elements(view) / run->rows;
    run->logits = zrt__malloc((size_t)(run->rows * run->vocab) * sizeof *run->logits);
    run->candidates = zrt__malloc((size_t)run->vocab * sizeof *run->candidates);
    run->tokens = zrt__calloc((size_t)(run->rows * run->options->max_new_tokens), sizeof *run->tokens);
    run->ended = zrt__calloc((size_t)run->rows, sizeof *run->ended);
    bool taken = run->logits != NULL && run->candidates != NULL && run->tokens != NULL && run->ended != NULL;
    ZRT_TRY(zrt__group_agree(zrt__context_world(engine->context), taken ? ZRT_OK : ZRT_ERR_MEMORY));
    ZRT_TRY(run_positions(run, 0, 0, prompt_length));
    take_tokens(run, prompt_length - 1);
    for (int64_t p = prompt_length; p < end - 1; p++) {
        ZRT_TRY(run_positions(run, 1, p, 1));
        take_tokens(run, p);
    }
    return ZRT_OK;
}

zrt_status zrt_engine_generate(zrt_engine *engine, int n_rows, const int32_t *const *prompts,
                               const int64_t *prompt_lengths, const zrt_generate_options *options, int32_t *tokens_out)
{
    const zrt__group *world = zrt__context_world(engine->context);
    int size = zrt__group_size(world), rank = zrt__group_rank(world);
    int64_t rows = (n_rows + size - 1) / size, shortest = 0, longest = 0;
    /* More rows than the batch has room for come in several rounds. */
    int64_t most = engine->compiled.zero->fields_rows * engine->compiled.zero->fields_length;
    if (rows > most)
        rows = most;
    generate_run run = {.engine = engine,
                        .options = options,
                        .n_rows = n_rows,
                        .prompts = prompts,
                        .prompt_lengths = prompt_lengths,
                        .rows = rows};
    ZRT_TRY(zrt__group_agree(world, check(engine, &run, &shortest, &longest)));
    size_t bytes = (size_t)(rows * options->max_new_tokens) * sizeof(int32_t);
    int32_t *all = zrt__malloc((size_t)size * bytes);
    zrt_status status = zrt__group_agree(world, all != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    for (int64_t round = 0; round < n_rows && status == ZRT_OK; round += rows * size) {
        run.first_row = round + rank * rows;
        status = generate(&run, shortest, longest);
        if (status == ZRT_OK)
            status = zrt__group_all_gather(world, run.tokens, all, bytes);
        int64_t n = n_rows - round < rows * size ? n_rows - round : rows * size;
        if (status == ZRT_OK && tokens_out != NULL)
            memcpy(tokens_out + round * options->max_new_tokens, all,
                   (size_t)(n * options->max_new_tokens) * sizeof(int32_t));
        free(run.logits);
        free(run.candidates);
        free(run.tokens);
        free(run.ended);
        run.logits = NULL;
        run.candidates = NULL;
        run.tokens = NULL;
        run.ended = NULL;
    }
    free(all);
    return status;
}
