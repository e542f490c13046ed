/* Resolving: every key to a value, "auto" by the rules of transformers' integrations/deepspeed.py. */
#include "config.h"

#include "config/resolve.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"

bool zrt__argument_given(const zrt__resolution *resolution, const char *name)
{
    return json_object_get(resolution->config->arguments, name) != NULL;
}

json_t *zrt__argument_value(const zrt__resolution *resolution, const char *name, bool *given_out)
{
    json_t *value = json_object_get(resolution->config->arguments, name);
    if (given_out != NULL)
        *given_out = value != NULL;
    return value != NULL ? value
           : zrt__tree_get(resolution->tree, "zerort.arguments") != NULL
               ? json_object_get(zrt__tree_get(resolution->tree, "zerort.arguments"), name)
               : NULL;
}

double zrt__argument_number(const zrt__resolution *resolution, const char *name)
{
    return json_number_value(zrt__argument_value(resolution, name, NULL));
}

zrt_status zrt__resolution_set(zrt__resolution *resolution, const char *path, json_t *value, const char *source)
{
    json_object_set_new(resolution->sources, path, json_string(source));
    return zrt__tree_set(resolution->tree, path, value);
}

static bool same_value(const json_t *a, const json_t *b)
{
    return json_is_number(a) && json_is_number(b) ? json_number_value(a) == json_number_value(b) : json_equal(a, b);
}

zrt_status zrt__resolution_value(zrt__resolution *resolution, const char *path, const char *argument,
                                 json_t **value_out)
{
    json_t *file = zrt__tree_get(resolution->config->file, path);
    bool given = false, is_auto = zrt__is_auto(file);
    json_t *from_argument = argument != NULL ? zrt__argument_value(resolution, argument, &given) : NULL;
    json_t *value = NULL;
    const char *source = "default";
    if (file != NULL && !is_auto) {
        value = json_incref(file);
        source = "file";
        if (given && !same_value(file, from_argument)) {
            char *a = json_dumps(file, JSON_ENCODE_ANY), *b = json_dumps(from_argument, JSON_ENCODE_ANY);
            zrt_status status = zrt__fail(
                ZRT_ERR_CONFIG, "%s is %.60s in the file and %s is %.60s: give one of them, or \"auto\" in the file",
                path, a != NULL ? a : "?", argument, b != NULL ? b : "?");
            free(a);
            free(b);
            json_decref(value);
            return status;
        }
    } else if (from_argument != NULL) {
        value = json_incref(from_argument);
        source = is_auto ? "auto rule" : given ? "option" : "default";
    } else {
        const zrt__key *key = zrt__key_find(path);
        value = key->fallback != NULL ? json_loads(key->fallback, JSON_DECODE_ANY, NULL) : json_null();
        source = is_auto ? "auto rule" : "default";
    }
    *value_out = value;
    return zrt__resolution_set(resolution, path, json_deep_copy(value), source);
}

/* ---- groups of keys ---- */

static zrt_status number(zrt__resolution *resolution, const char *path, const char *argument, double *out)
{
    json_t *value = NULL;
    ZRT_TRY(zrt__resolution_value(resolution, path, argument, &value));
    *out = json_number_value(value);
    json_decref(value);
    return ZRT_OK;
}

static zrt_status integer(zrt__resolution *resolution, const char *path, const char *argument, int64_t *out)
{
    json_t *value = NULL;
    ZRT_TRY(zrt__resolution_value(resolution, path, argument, &value));
    *out = json_is_integer(value) ? (int64_t)json_integer_value(value) : (int64_t)json_number_value(value);
    json_decref(value);
    return ZRT_OK;
}

static zrt_status boolean(zrt__resolution *resolution, const char *path, const char *argument, bool *out)
{
    json_t *value = NULL;
    ZRT_TRY(zrt__resolution_value(resolution, path, argument, &value));
    *out = json_is_true(value);
    json_decref(value);
    return ZRT_OK;
}

/* Bucket sizes whose "auto" comes from the hidden size. */
static zrt_status bucket(zrt__resolution *resolution, const char *path, double factor, int power, int64_t *out)
{
    json_t *file = zrt__tree_get(resolution->config->file, path);
    if (!zrt__is_auto(file))
        return integer(resolution, path, NULL, out);
    if (resolution->hidden_size <= 0)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "configuration key %s is \"auto\", but the model has no hidden size: give a number", path);
    double h = (double)resolution->hidden_size;
    *out = (int64_t)(factor * (power == 2 ? h * h : h));
    return zrt__resolution_set(resolution, path, json_integer(*out), "auto rule");
}

static zrt_status resolve_zero(zrt__resolution *resolution)
{
    zrt__resolved *r = resolution->out;
    int64_t stage;
#define ZO "zero_optimization."
    ZRT_TRY(integer(resolution, ZO "stage", NULL, &stage));
    r->stage = (int)stage;
    ZRT_TRY(bucket(resolution, ZO "reduce_bucket_size", 1, 2, &r->reduce_bucket_size));
    ZRT_TRY(bucket(resolution, ZO "stage3_prefetch_bucket_size", 0.9, 2, &r->prefetch_bucket_size));
    ZRT_TRY(bucket(resolution, ZO "stage3_param_persistence_threshold", 10, 1, &r->persistence_threshold));
    ZRT_TRY(integer(resolution, ZO "stage3_model_persistence_threshold", NULL, &r->model_persistence_threshold));
    ZRT_TRY(integer(resolution, ZO "stage3_max_live_parameters", NULL, &r->max_live_parameters));
    json_t *live = zrt__tree_get(resolution->config->file, ZO "stage3_max_live_parameters");
    r->max_live_given = live != NULL && !zrt__is_auto(live);
    ZRT_TRY(integer(resolution, ZO "stage3_max_reuse_distance", NULL, &r->max_reuse_distance));
    return boolean(resolution, ZO "stage3_gather_16bit_weights_on_model_save", NULL,
                   &r->gather_16bit_weights_on_model_save);
#undef ZO
}

/* "16GiB", "500M", "1e9": bytes. */
static zrt_status parse_size(const char *name, const char *text, size_t *bytes_out)
{
    static const char suffixes[] = "KMGT";
    char *end;
    double value = strtod(text, &end);
    bool bad = end == text || !(value >= 0) || !isfinite(value);
    while (*end == ' ')
        end++;
    const char *suffix = *end != '\0' ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (suffix != NULL) {
        bool binary = end[1] != 'B' && end[1] != 'b'; /* 16G and 16GiB are powers of two, 16GB is not */
        for (const char *s = suffixes; s <= suffix; s++)
            value *= binary ? 1024 : 1000;
        end++;
        end += *end == 'i';
    }
    end += *end == 'B' || *end == 'b';
    if (bad || *end != '\0' || value >= 9e18)
        return zrt__fail(ZRT_ERR_CONFIG, "%s is '%.60s'; it must be a size like 16GiB or 500M", name, text);
    *bytes_out = (size_t)value;
    return ZRT_OK;
}

static zrt_status size(zrt__resolution *resolution, const char *name, size_t *bytes_out)
{
    json_t *value = zrt__argument_value(resolution, name, NULL);
    return value != NULL ? parse_size(name, json_string_value(value), bytes_out) : ZRT_OK;
}

static zrt_status resolve_aio(zrt__resolution *resolution)
{
    zrt__resolved_aio *aio = &resolution->out->aio;
    ZRT_TRY(integer(resolution, "aio.block_size", NULL, &aio->block_size));
    ZRT_TRY(integer(resolution, "aio.queue_depth", NULL, &aio->queue_depth));
    ZRT_TRY(integer(resolution, "aio.intra_op_parallelism", NULL, &aio->intra_op_parallelism));
    ZRT_TRY(boolean(resolution, "aio.single_submit", NULL, &aio->single_submit));
    return boolean(resolution, "aio.overlap_events", NULL, &aio->overlap_events);
}

static zrt_status resolve_optimizer_files(zrt__resolution *resolution)
{
    zrt__resolved *r = resolution->out;
    zrt__resolved_files *files = &r->optimizer_files;
#define OO "zero_optimization.offload_optimizer."
    const char *device = json_string_value(zrt__tree_get(resolution->config->file, OO "device"));
    files->on = device != NULL && strcmp(device, "nvme") == 0;
    ZRT_TRY(integer(resolution, OO "buffer_count", NULL, &files->buffer_count));
    ZRT_TRY(integer(resolution, OO "buffer_size", NULL, &files->buffer_size));
    ZRT_TRY(boolean(resolution, OO "pipeline_read", NULL, &files->pipeline_read));
    ZRT_TRY(boolean(resolution, OO "pipeline_write", NULL, &files->pipeline_write));
    ZRT_TRY(boolean(resolution, OO "fast_init", NULL, &files->fast_init));
#undef OO
    if (!files->on)
        return ZRT_OK;
    return zrt__resolve_folder(resolution, "offload_optimizer", files->folder, sizeof files->folder);
}

/* "auto" is for the plan, which knows the device. */
static zrt_status resolve_ratio(zrt__resolution *resolution)
{
    static const char path[] = "zero_optimization.offload_optimizer.ratio";
    if (!zrt__is_auto(zrt__tree_get(resolution->config->file, path)))
        return number(resolution, path, NULL, &resolution->out->offload_ratio);
    resolution->out->offload_ratio = -1;
    return zrt__resolution_set(resolution, path, json_string("auto"), "file");
}

static zrt_status resolve_offload(zrt__resolution *resolution)
{
    zrt__resolved *r = resolution->out;
    const char *device =
        json_string_value(zrt__tree_get(resolution->config->file, "zero_optimization.offload_optimizer.device"));
    const char *overlap = json_string_value(zrt__tree_get(resolution->config->file, "zerort.overlapped_step"));
    ZRT_TRY(resolve_aio(resolution));
    ZRT_TRY(resolve_optimizer_files(resolution));
    ZRT_TRY(zrt__check_offload_param(resolution));
    ZRT_TRY(resolve_ratio(resolution));
    ZRT_TRY(boolean(resolution, "zero_optimization.offload_optimizer.pin_memory", NULL, &r->offload_pinned));
    r->offload_optimizer = device != NULL && (strcmp(device, "cpu") == 0 || r->optimizer_files.on);
    r->overlapped_step_given = overlap != NULL;
    bool speculative = overlap != NULL && strcmp(overlap, "speculative") == 0;
    if (speculative && r->optimizer_files.on)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "zerort.overlapped_step \"speculative\" is not supported with "
                         "zero_optimization.offload_optimizer.device \"nvme\": use \"pipelined\"");
    r->overlapped_step = overlap != NULL && strcmp(overlap, "none") == 0 ? 0 : speculative ? 2 : 1;
    return integer(resolution, "zero_optimization.sub_group_size", NULL, &r->sub_group_size);
}

/* Its type is given or it is not: a run without it ends with what its data ask for. */
static zrt_status resolve_state_dict(zrt__resolution *resolution)
{
    zrt__resolved *r = resolution->out;
    json_t *type = NULL;
    if (zrt__tree_get(resolution->config->file, "zerort.state_dict.type") != NULL ||
        zrt__argument_given(resolution, "state_dict_type"))
        ZRT_TRY(zrt__resolution_value(resolution, "zerort.state_dict.type", "state_dict_type", &type));
    json_decref(type);
    ZRT_TRY(boolean(resolution, "zerort.state_dict.offload_to_cpu", NULL, &r->state_dict_offload_to_cpu));
    return boolean(resolution, "zerort.state_dict.rank0_only", NULL, &r->state_dict_rank0_only);
}

static zrt_status resolve_run(zrt__resolution *resolution, int64_t total_steps)
{
    static const char *const modes[] = {"none", "selective", "full"};
    zrt__resolved *r = resolution->out;
    json_t *recompute = zrt__tree_get(resolution->config->file, "zerort.recompute");
    bool checkpointing = json_is_true(zrt__argument_value(resolution, "gradient_checkpointing", NULL));
    r->recompute = checkpointing ? 2 : 0;
    for (int i = 0; recompute != NULL && i < 3; i++)
        if (strcmp(json_string_value(recompute), modes[i]) == 0)
            r->recompute = i;
    if (recompute != NULL && r->recompute == 0 && checkpointing &&
        zrt__argument_given(resolution, "gradient_checkpointing"))
        return zrt__fail(ZRT_ERR_CONFIG,
                         "zerort.recompute is \"none\" and gradient_checkpointing is true: give one of them");
    ZRT_TRY(zrt__resolution_set(resolution, "zerort.recompute", json_string(modes[r->recompute]),
                                recompute != NULL ? "file"
                                : checkpointing   ? "option"
                                                  : "default"));
    ZRT_TRY(resolve_offload(resolution));
    ZRT_TRY(resolve_state_dict(resolution));
    ZRT_TRY(integer(resolution, "zerort.loss_chunk_bytes", NULL, &r->loss_chunk_bytes));
    ZRT_TRY(integer(resolution, "zerort.checkpoint_staging_bytes", NULL, &r->checkpoint_staging_bytes));
    ZRT_TRY(number(resolution, "gradient_clipping", "max_grad_norm", &r->max_grad_norm));
    ZRT_TRY(number(resolution, "zerort.collective_timeout", "collective_timeout", &r->collective_timeout));
    ZRT_TRY(boolean(resolution, "dataloader_drop_last", "dataloader_drop_last", &r->drop_last));
    r->seed = (uint64_t)json_integer_value(zrt__argument_value(resolution, "seed", NULL));
    r->deterministic = json_is_true(zrt__argument_value(resolution, "full_determinism", NULL));
    r->evaluation_batch = (int64_t)zrt__argument_number(resolution, "per_device_eval_batch_size");
    r->seq_length = (int64_t)zrt__argument_number(resolution, "seq_length");
    r->max_steps = (int64_t)zrt__argument_number(resolution, "max_steps");
    if (r->max_steps <= 0)
        r->max_steps = total_steps;
    snprintf(r->device, sizeof r->device, "%s", json_string_value(zrt__argument_value(resolution, "device", NULL)));
    ZRT_TRY(size(resolution, "host_memory", &r->host_memory));
    return size(resolution, "device_memory", &r->device_memory);
}

/* Everything that stands without a rule: arguments and honoured keys with their defaults, the file over them. */
static zrt_status begin(zrt__resolution *resolution)
{
    resolution->tree = json_deep_copy(resolution->config->file);
    resolution->sources = json_object();
    resolution->out->tree = resolution->tree;
    if (resolution->tree == NULL || resolution->sources == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "no memory to resolve the configuration");
    for (size_t i = 0; zrt__argument_get(i) != NULL; i++) {
        const zrt__argument *argument = zrt__argument_get(i);
        json_t *given = json_object_get(resolution->config->arguments, argument->name);
        json_t *value = given != NULL                ? json_deep_copy(given)
                        : argument->fallback != NULL ? json_loads(argument->fallback, JSON_DECODE_ANY, NULL)
                                                     : NULL;
        if (value == NULL)
            continue;
        char path[128];
        snprintf(path, sizeof path, "zerort.arguments.%s", argument->name);
        ZRT_TRY(zrt__resolution_set(resolution, path, value, given != NULL ? "option" : "default"));
    }
    for (size_t i = 0; zrt__key_get(i) != NULL; i++) {
        const zrt__key *key = zrt__key_get(i);
        json_t *file = zrt__tree_get(resolution->config->file, key->path);
        if (key->disposition != ZRT__HONOURED && file != NULL && key->may_be_auto && zrt__is_auto(file))
            ZRT_TRY(zrt__resolution_set(resolution, key->path, json_loads(key->fallback, JSON_DECODE_ANY, NULL),
                                        "auto rule"));
        else if (file != NULL && key->type != ZRT__KEY_BLOCK)
            json_object_set_new(resolution->sources, key->path, json_string("file"));
        bool plain = key->disposition == ZRT__HONOURED && key->fallback != NULL && key->type != ZRT__KEY_BLOCK &&
                     strncmp(key->path, "optimizer", 9) != 0 && strncmp(key->path, "scheduler", 9) != 0;
        if (file == NULL && plain)
            ZRT_TRY(zrt__resolution_set(resolution, key->path, json_loads(key->fallback, JSON_DECODE_ANY, NULL),
                                        "default"));
    }
    return ZRT_OK;
}

/* Arguments that have a key of their own say what was resolved, so that the result resolves to itself. */
static zrt_status mirror_arguments(zrt__resolution *resolution)
{
    for (size_t i = 0; zrt__argument_get(i) != NULL; i++) {
        const zrt__argument *argument = zrt__argument_get(i);
        json_t *value = argument->key != NULL ? zrt__tree_get(resolution->tree, argument->key) : NULL;
        char path[128];
        snprintf(path, sizeof path, "zerort.arguments.%s", argument->name);
        if (value != NULL)
            ZRT_TRY(zrt__tree_set(resolution->tree, path, json_deep_copy(value)));
    }
    return ZRT_OK;
}

static zrt_status flatten(zrt__resolved *r, const char *prefix, json_t *value)
{
    const char *name;
    json_t *member;
    if (json_is_object(value)) {
        json_object_foreach(value, name, member)
        {
            char *path = zrt__format("%s%s%s", prefix, *prefix != '\0' ? "." : "", name);
            zrt_status status = path != NULL ? flatten(r, path, member) : ZRT_ERR_MEMORY;
            free(path);
            if (status != ZRT_OK)
                return status;
        }
        return ZRT_OK;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    char **items = zrt__realloc(r->items, (size_t)(r->n_items + 1) * sizeof *items);
    char *item = text != NULL && items != NULL ? zrt__format("%s: %s", prefix, text) : NULL;
    free(text);
    if (items != NULL)
        r->items = items;
    if (item == NULL)
        return ZRT_ERR_MEMORY;
    r->items[r->n_items++] = item;
    return ZRT_OK;
}

zrt_status zrt__config_resolve(const zrt_config *config, int n_ranks, int64_t hidden_size, int64_t total_steps,
                               zrt__resolved **resolved_out)
{
    zrt__resolved *out = zrt__calloc(1, sizeof *out);
    if (out == NULL)
        return ZRT_ERR_MEMORY;
    out->n_ranks = n_ranks;
    zrt__resolution resolution = {.config = config, .hidden_size = hidden_size, .out = out};
    zrt_status status = begin(&resolution);
    if (status == ZRT_OK)
        status = zrt__resolve_batch(&resolution);
    if (status == ZRT_OK)
        status = zrt__resolve_precision(&resolution);
    if (status == ZRT_OK)
        status = resolve_zero(&resolution);
    if (status == ZRT_OK)
        status = resolve_run(&resolution, total_steps);
    if (status == ZRT_OK)
        status = zrt__resolve_optimizer(&resolution);
    if (status == ZRT_OK)
        status = zrt__resolve_schedule(&resolution);
    if (status == ZRT_OK)
        status = zrt__resolve_monitor(&resolution);
    if (status == ZRT_OK)
        status = mirror_arguments(&resolution);
    if (status == ZRT_OK)
        status = flatten(out, "", resolution.tree);
    if (status == ZRT_OK)
        out->sources = resolution.sources;
    else
        json_decref(resolution.sources);
    if (status != ZRT_OK) {
        zrt__resolved_destroy(&out);
        return status;
    }
    *resolved_out = out;
    return ZRT_OK;
}

void zrt__resolved_destroy(zrt__resolved **resolved)
{
    if (resolved == NULL || *resolved == NULL)
        return;
    for (int i = 0; i < (*resolved)->n_items; i++)
        free((*resolved)->items[i]);
    free((*resolved)->items);
    json_decref((*resolved)->tree);
    json_decref((*resolved)->sources);
    free(*resolved);
    *resolved = NULL;
}

uint64_t zrt__resolved_hash(const zrt__resolved *resolved)
{
    uint64_t hash = (uint64_t)resolved->n_items;
    for (int i = 0; i < resolved->n_items; i++)
        hash = zrt__hash_bytes(hash, resolved->items[i], strlen(resolved->items[i]));
    return hash;
}

int zrt__resolved_n_items(const zrt__resolved *resolved)
{
    return resolved->n_items;
}

void zrt__resolved_item(const zrt__resolved *resolved, int index, char *text, size_t capacity)
{
    snprintf(text, capacity, "%s", index < resolved->n_items ? resolved->items[index] : "");
}
