/* Repeats a recorded run of DeepSpeed's ZeRO-3 with fp16 and compares its decisions.
 *
 *   mpirun -np WORLD_SIZE test/deepspeed_run FILE [ROW..]
 *
 * FILE has the form of test/golden/deepspeed_zero3_fp16_*.json; the model's folder lies beside it by the name that it gives.
 * Scales and skips are equal and losses within 0.5% up to the first decision that differs. Both may be right there: DeepSpeed's
 * own rounding decides near the limit of fp16. So that decision passes where the largest |gradient| x scale of any rank is
 * within 5% of 65504, and what follows it is another run and is not compared. That number is printed for the ROWs, too. */
#include "config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "checkpoint/safetensors.h"

#define LARGEST 65504.0
#define LOSS_LIMIT 0.005
#define NEAR 0.05

typedef struct recording {
    json_t *file, *rows;
    char folder[4096];
    int32_t *ids, *labels; /* [n, batch, length] */
    int64_t n, batch, length;
} recording;

typedef struct row {
    double loss, scale;
    bool skipped;
} row;

static int my_rank(void)
{
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

/* Every rank comes here with the same file: rank 0 speaks for all. */
static _Noreturn void refuse(const char *path, const char *what)
{
    if (my_rank() == 0)
        fprintf(stderr, "deepspeed_run: %s: %s\n", path, what);
    MPI_Finalize();
    exit(2);
}

static void check(zrt_status status, const char *what)
{
    if (status == ZRT_OK)
        return;
    fprintf(stderr, "deepspeed_run: rank %d: %s: %s\n", my_rank(), what, zrt_error_message());
    MPI_Abort(MPI_COMM_WORLD, zrt_status_exit_code(status));
}

static void *need(void *pointer)
{
    if (pointer == NULL) {
        fprintf(stderr, "deepspeed_run: out of memory\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return pointer;
}

static void read_batches(recording *r)
{
    char path[4200];
    zrt__safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/training.safetensors", r->folder);
    check(zrt__safetensors_open(path, &file), path);
    const zrt__safetensors_entry *entry = zrt__safetensors_find(file, "input_ids");
    if (entry == NULL || entry->dtype != ZRT_INT32 || entry->n_dims != 3)
        refuse(path, "no int32 tensor input_ids of three dimensions");
    r->n = entry->dims[0], r->batch = entry->dims[1], r->length = entry->dims[2];
    r->ids = need(malloc((size_t)entry->n_elements * sizeof *r->ids));
    r->labels = need(malloc((size_t)entry->n_elements * sizeof *r->labels));
    check(zrt__safetensors_read_raw(entry, 0, entry->n_elements, r->ids), path);
    for (int64_t i = 0; i < entry->n_elements; i++)
        r->labels[i] = i % r->length + 1 < r->length ? r->ids[i + 1] : ZRT_LABEL_IGNORED;
    zrt__safetensors_close(&file);
}

/* Rows of batch i that `rank` has; none where n_rows is 0. */
static zrt_batch share(const recording *r, int64_t i, int rank, int64_t n_rows)
{
    int world = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    int64_t at = ((i % r->n) * r->batch + rank * (r->batch / world)) * r->length;
    zrt_batch batch = {.n_rows = n_rows,
                       .length = r->length,
                       .n_fields = 2,
                       .names = {"input_ids", "labels"},
                       .label_positions = r->length - 1};
    batch.fields[0] = (zrt_view){r->ids + at, ZRT_INT32, 2, {n_rows, r->length}};
    batch.fields[1] = (zrt_view){r->labels + at, ZRT_INT32, 2, {n_rows, r->length}};
    return batch;
}

static double optimizer_number(const recording *r, const char *key, int index)
{
    json_t *value = json_object_get(json_object_get(r->file, "optimizer"), key);
    return json_number_value(index < 0 ? value : json_array_get(value, (size_t)index));
}

/* scale 0: the recording's own dynamic scale. */
static zrt_engine *make_engine(zrt_context *context, zrt_model *model, const recording *r, const char *weights,
                               double scale)
{
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    const struct {
        const char *name;
        double value;
    } arguments[] = {{"learning_rate", optimizer_number(r, "lr", -1)},
                     {"adam_beta1", optimizer_number(r, "betas", 0)},
                     {"adam_beta2", optimizer_number(r, "betas", 1)},
                     {"adam_epsilon", optimizer_number(r, "eps", -1)},
                     {"weight_decay", optimizer_number(r, "weight_decay", -1)},
                     {"max_steps", (double)json_array_size(r->rows)},
                     {"seq_length", (double)r->length}};
    char *text = json_dumps(json_object_get(r->file, "config"), JSON_COMPACT), value[64];
    check(zrt_config_create(&config), "configuration");
    check(zrt_config_read_string(config, need(text)), "the recording's config");
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        snprintf(value, sizeof value, "%.17g", arguments[i].value);
        check(zrt_config_set_argument(config, arguments[i].name, value), arguments[i].name);
    }
    check(zrt_config_set_argument(config, "lr_scheduler_type", "constant"), "lr_scheduler_type");
    check(zrt_config_set_argument(config, "fp16", "true"), "fp16");
    if (scale > 0) {
        snprintf(value, sizeof value, "%.17g", scale);
        check(zrt_config_set(config, "fp16.loss_scale", value), "fp16.loss_scale");
    }
    check(zrt_engine_create(context, model, config, &engine), "engine");
    check(zrt_engine_load_pretrained(engine, weights), weights);
    zrt_config_destroy(&config);
    free(text);
    return engine;
}

static double largest_gradient(zrt_engine *engine, const zrt_model *model)
{
    double largest = 0;
    for (int p = 0; p < zrt_model_n_parameters(model); p++) {
        const char *name;
        int n_dims;
        int64_t dims[ZRT_MAX_DIMS], n = 1;
        check(zrt_model_get_parameter(model, p, &name, &n_dims, dims), "parameter");
        for (int i = 0; i < n_dims; i++)
            n *= dims[i];
        float *values = need(malloc((size_t)n * sizeof *values));
        check(zrt_engine_get_full(engine, name, ZRT_STATE_GRADIENT, values), name);
        for (int64_t i = 0; i < n; i++)
            largest = fmax(largest, fabs((double)values[i]));
        free(values);
    }
    return largest;
}

/* The largest gradient of any rank's own rows at the weights that `engine` has, found at a scale far from overflow: DeepSpeed's
 * ranks each make an fp16 gradient of their own mean loss. */
static double largest_of_ranks(zrt_context *context, zrt_model *model, zrt_engine *engine, const recording *r,
                               int64_t i, double scale)
{
    char folder[64] = "";
    double largest = 0;
    if (zrt_rank(context) == 0) {
        snprintf(folder, sizeof folder, "/tmp/deepspeed_run.XXXXXX");
        if (mkdtemp(folder) == NULL)
            folder[0] = 0;
    }
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (folder[0] == 0)
        refuse("/tmp", "no folder can be made for the weights");
    check(zrt_engine_save_pretrained(engine, folder, ZRT_FLOAT32), folder);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int rank = 0; rank < zrt_size(context); rank++) {
        zrt_engine *probe = make_engine(context, model, r, folder, scale / 16);
        zrt_loss *loss = NULL;
        zrt_batch batch = share(r, i, rank, zrt_rank(context) == rank ? r->batch / zrt_size(context) : 0);
        check(zrt_engine_forward(probe, &batch, &loss), "forward");
        check(zrt_engine_backward(probe, loss), "backward");
        largest = fmax(largest, largest_gradient(probe, model));
        zrt_engine_destroy(&probe);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (zrt_rank(context) == 0) {
        const char *const names[] = {"config.json", "model.safetensors"};
        char path[128];
        for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
            snprintf(path, sizeof path, "%s/%s", folder, names[f]);
            remove(path);
        }
        remove(folder);
    }
    return largest;
}

static row recorded(const recording *r, size_t i)
{
    json_t *values = json_array_get(r->rows, i);
    return (row){json_number_value(json_array_get(values, 0)), json_number_value(json_array_get(values, 1)),
                 json_integer_value(json_array_get(values, 2)) != 0};
}

/* What row i's largest |gradient| x scale is of the largest fp16 number: this run up to there, again, and the step's gradients. */
static double ratio_at(zrt_context *context, zrt_model *model, const recording *r, size_t i)
{
    zrt_engine *engine = make_engine(context, model, r, r->folder, 0);
    for (size_t k = 0; k < i; k++) {
        zrt_batch batch = share(r, (int64_t)k, zrt_rank(context), r->batch / zrt_size(context));
        zrt_loss *loss = NULL;
        check(zrt_engine_forward(engine, &batch, &loss), "forward");
        check(zrt_engine_backward(engine, loss), "backward");
        check(zrt_engine_step(engine), "step");
    }
    double scale = recorded(r, i).scale;
    double ratio = largest_of_ranks(context, model, engine, r, (int64_t)i, scale) * scale / LARGEST;
    zrt_engine_destroy(&engine);
    return ratio;
}

static bool repeat(zrt_context *context, const recording *r, int n_asked, char **asked)
{
    zrt_model *model = NULL;
    check(zrt_model_open(r->folder, &model), r->folder);
    zrt_engine *engine = make_engine(context, model, r, r->folder, 0);
    bool same = true, speaks = zrt_rank(context) == 0;
    int64_t skipped = 0, rows = r->batch / zrt_size(context);
    double worst = 0;
    size_t i = 0, n = json_array_size(r->rows);
    for (; i < n; i++) {
        row want = recorded(r, i);
        zrt_batch batch = share(r, (int64_t)i, zrt_rank(context), rows);
        zrt_loss *loss = NULL;
        zrt_metrics metrics;
        check(zrt_engine_forward(engine, &batch, &loss), "forward");
        check(zrt_engine_backward(engine, loss), "backward");
        check(zrt_engine_step(engine), "step");
        check(zrt_engine_metrics(engine, &metrics), "metrics");
        bool skip = metrics.skipped > skipped;
        skipped = metrics.skipped;
        double off = fabs(metrics.loss - want.loss) / want.loss;
        worst = fmax(worst, off);
        if (!(off <= LOSS_LIMIT) || metrics.loss_scale != want.scale) {
            if (speaks)
                printf("row %zu: loss %.6f at scale %g, recorded %.6f at %g\n", i, metrics.loss, metrics.loss_scale,
                       want.loss, want.scale);
            same = false;
            break;
        }
        if (skip == want.skipped)
            continue;
        break;
    }
    if (same && i < n) {
        row want = recorded(r, i);
        double ratio = ratio_at(context, model, r, i);
        same = fabs(ratio - 1) <= NEAR;
        if (speaks)
            printf("row %zu: %s, recorded %s; the largest |gradient| x scale is %.3f of %g: %s\n", i,
                   want.skipped ? "taken" : "skipped", want.skipped ? "skipped" : "taken", ratio, LARGEST,
                   same ? "rounding decides" : "not a matter of rounding");
    }
    if (speaks)
        printf("%s: %zu of %zu decisions equal, losses within %.2e: %s\n", r->folder, i, n, worst,
               same ? "agrees" : "DIFFERS");
    zrt_engine_destroy(&engine);
    for (int k = 0; k < n_asked; k++) {
        long at = strtol(asked[k], NULL, 10);
        double ratio = at >= 0 && (size_t)at < n ? ratio_at(context, model, r, (size_t)at) : 0;
        if (speaks && ratio > 0)
            printf("row %ld: the largest |gradient| x scale is %.3f of %g\n", at, ratio, LARGEST);
    }
    zrt_model_destroy(&model);
    return same;
}

static void open_recording(const char *path, recording *r)
{
    json_error_t error;
    r->file = json_load_file(path, 0, &error);
    if (r->file == NULL)
        refuse(path, error.text);
    r->rows = json_object_get(r->file, "rows");
    const char *model = json_string_value(json_object_get(r->file, "model")), *slash = strrchr(path, '/');
    if (model == NULL || json_array_size(r->rows) == 0 || !json_is_object(json_object_get(r->file, "config")) ||
        !json_is_object(json_object_get(r->file, "optimizer")))
        refuse(path, "not a recording: it needs model, world_size, optimizer, config and rows");
    int world = 0;
    char message[128];
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    int64_t recorded_world = json_integer_value(json_object_get(r->file, "world_size"));
    snprintf(message, sizeof message, "recorded with %lld ranks, started with %d: give mpirun -np %lld",
             (long long)recorded_world, world, (long long)recorded_world);
    if (world != recorded_world)
        refuse(path, message);
    snprintf(r->folder, sizeof r->folder, "%.*s%s", slash != NULL ? (int)(slash + 1 - path) : 0, path, model);
    read_batches(r);
    if (r->batch % world != 0)
        refuse(path, "the batch does not divide among the ranks");
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    recording r = {0};
    int provided = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    if (argc < 2)
        refuse("usage", "deepspeed_run FILE [ROW..]");
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status != ZRT_OK) {
        fprintf(stderr, "deepspeed_run: %s\n", zrt_error_message());
        return zrt_status_exit_code(status);
    }
    open_recording(argv[1], &r);
    bool same = repeat(context, &r, argc - 2, argv + 2);
    json_decref(r.file);
    free(r.ids);
    free(r.labels);
    zrt_finalize(&context);
    MPI_Finalize();
    return same ? 0 : 1;
}
