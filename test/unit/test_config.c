/* Keys, arguments, batch sizes, contradictions, and that a resolved configuration resolves to itself. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/zerort.h>

#include "base/random.h"
#include "config/configuration.h"
#include "config/resolved.h"
#include "deepspeed_keys.h"
#include "tap.h"

static const char shipped[] = "{\"fp16\":{\"enabled\":true},\"zero_optimization\":{\"stage\":3,\"offload_optimizer\":{"
                              "\"device\":\"cpu\",\"pin_memory\":false},"
                              "\"overlap_comm\":true,\"contiguous_gradients\":true,\"reduce_bucket_size\":\"auto\","
                              "\"stage3_prefetch_bucket_size\":\"auto\","
                              "\"stage3_param_persistence_threshold\":\"auto\",\"gather_16bit_weights_on_model_save\":"
                              "true,\"round_robin_gradients\":true},"
                              "\"gradient_accumulation_steps\":\"auto\",\"gradient_clipping\":\"auto\",\"steps_per_"
                              "print\":10,\"train_batch_size\":\"auto\","
                              "\"train_micro_batch_size_per_gpu\":\"auto\",\"wall_clock_breakdown\":false}";

static zrt__resolved *resolve(const char *json, const char *argument, const char *value, int ranks, int64_t hidden)
{
    zrt_config *config = NULL;
    zrt__resolved *resolved = NULL;
    if (zrt_config_create(&config) == ZRT_OK && (json == NULL || zrt_config_read_string(config, json) == ZRT_OK) &&
        (argument == NULL || zrt_config_set_argument(config, argument, value) == ZRT_OK))
        zrt__config_resolve(config, ranks, hidden, 0, &resolved);
    zrt_config_destroy(&config);
    return resolved;
}

/* json must be refused, with all of the words in the message. */
static void refused(const char *json, const char *argument, const char *value, const char *words)
{
    zrt__resolved *resolved = resolve(json, argument, value, 4, 64);
    char list[256], *save = NULL;
    bool named = resolved == NULL;
    snprintf(list, sizeof list, "%s", words);
    for (char *word = strtok_r(list, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
        named = named && strstr(zrt_error_message(), word) != NULL;
    tap_ok(named, "refused: %.70s%s%s (%s)", json != NULL ? json : "", argument != NULL ? argument : "",
           argument != NULL ? " given" : "", resolved == NULL ? zrt_error_message() : "accepted");
    zrt__resolved_destroy(&resolved);
}

static void batches(void)
{
    static const struct {
        const char *json;
        int ranks;
        int64_t total, micro, steps;
    } cases[] = {
        {"{\"train_batch_size\": 32}", 4, 32, 8, 1},
        {"{\"train_batch_size\": 32, \"train_micro_batch_size_per_gpu\": 2}", 4, 32, 2, 4},
        {"{\"train_batch_size\": 32, \"gradient_accumulation_steps\": 2}", 4, 32, 4, 2},
        {"{\"train_micro_batch_size_per_gpu\": 3}", 4, 12, 3, 1},
        {"{\"train_micro_batch_size_per_gpu\": 3, \"gradient_accumulation_steps\": 5}", 2, 30, 3, 5},
        {"{}", 3, 24, 8, 1},
        {"{\"train_batch_size\": \"auto\", \"train_micro_batch_size_per_gpu\": \"auto\"}", 1, 8, 8, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zrt__resolved *r = resolve(cases[i].json, NULL, NULL, cases[i].ranks, 0);
        tap_ok(r != NULL && r->train_batch == cases[i].total && r->micro_batch == cases[i].micro &&
                   r->accumulation == cases[i].steps,
               "%s on %d ranks", cases[i].json, cases[i].ranks);
        zrt__resolved_destroy(&r);
    }
}

static void refusals(void)
{
    refused("{\"train_batch_size\": 33}", NULL, NULL, "train_batch_size 33 4 ranks");
    refused("{\"train_batch_size\": 32, \"train_micro_batch_size_per_gpu\": 2, \"gradient_accumulation_steps\": 2}",
            NULL, NULL, "32 2 train_micro_batch_size_per_gpu gradient_accumulation_steps");
    refused("{\"train_micro_batch_size_per_gpu\": 2}", "per_device_train_batch_size", "4",
            "train_micro_batch_size_per_gpu per_device_train_batch_size 2 4");
    refused("{\"zero_optimisation\": {}}", NULL, NULL, "zero_optimisation zero_optimization");
    refused("{\"zero_optimization\": {\"stag\": 3}}", NULL, NULL, "zero_optimization.stag did mean stage");
    refused("{\"zero_optimization\": {\"stage\": 4}}", NULL, NULL, "zero_optimization.stage 4 0 3");
    refused("{\"zero_optimization\": {\"stage\": \"three\"}}", NULL, NULL, "zero_optimization.stage three whole");
    refused("{\"fp16\": {\"enabled\": true}, \"bf16\": {\"enabled\": true}}", NULL, NULL, "fp16.enabled bf16.enabled");
    refused("{\"fp16\": {\"enabled\": true, \"enabled\": false}}", NULL, NULL, "duplicate");
    refused("{\"gradient_clipping\": 0.5}", "max_grad_norm", "1.0", "gradient_clipping max_grad_norm 0.5");
    refused("{\"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.1}}}", "learning_rate", "0.2",
            "optimizer.params.lr learning_rate");
    refused("{\"amp\": {\"enabled\": true}}", NULL, NULL, "amp.enabled fp16.enabled");
    refused("{\"zero_optimization\": {\"zero_quantized_weights\": true}}", NULL, NULL, "zero_quantized_weights");
    refused("[1]", NULL, NULL, "object");
    refused("{\"train_batch_size\": 1e30}", NULL, NULL, "train_batch_size");
    refused(NULL, "learning_rat", "1", "learning_rat learning_rate");
    refused(NULL, "learning_rate", "fast", "learning_rate fast");
    refused(NULL, "max_steps", "1.5", "max_steps 1.5");
    refused(NULL, "host_memory", "much", "host_memory much");
}

static void shipped_file(void)
{
    for (int ranks = 1; ranks <= 5; ranks++) {
        zrt__resolved *r = resolve(shipped, "fp16", "true", ranks, 4096);
        tap_ok(r != NULL && r->stage == 3 && r->compute_dtype == ZRT_FLOAT16 && r->reduce_bucket_size == 16777216 &&
                   r->prefetch_bucket_size == 15099494 && r->persistence_threshold == 40960 && r->dynamic_loss_scale &&
                   r->initial_loss_scale == 65536 && r->gather_16bit_weights_on_model_save && r->max_grad_norm == 1 &&
                   r->train_batch == 8 * ranks,
               "the file that people copy resolves on %d ranks: %s", ranks,
               r == NULL ? zrt_error_message() : "as transformers does");
        zrt__resolved_destroy(&r);
    }
}

/* Printed, read again and printed: the same bytes. */
static bool idempotent(const char *json, int ranks)
{
    zrt_config *first = NULL, *second = NULL;
    char *printed = NULL, *again = NULL;
    bool same = zrt_config_create(&first) == ZRT_OK && zrt_config_create(&second) == ZRT_OK &&
                zrt_config_read_string(first, json) == ZRT_OK &&
                zrt_config_print(first, ranks, 64, &printed) == ZRT_OK &&
                zrt_config_read_string(second, printed) == ZRT_OK &&
                zrt_config_print(second, ranks, 64, &again) == ZRT_OK && strcmp(printed, again) == 0;
    zrt_config_destroy(&first);
    zrt_config_destroy(&second);
    free(printed);
    free(again);
    return same;
}

/* Any JSON made by dropping or mistyping keys of a full one resolves, or is refused by a message that names a key. */
static void mutations(void)
{
    static const char *const values[] = {"true", "-1", "\"auto\"", "\"x\"", "[]", "{}", "null", "1e400", "0.5", "7"};
    int n = 3000, silent = 0, resolved_n = 0, changed = 0;
    for (int i = 0; i < n; i++) {
        json_t *tree = json_loads(shipped, 0, NULL);
        uint64_t h = zrt__hash_mix(99, (uint64_t)i);
        size_t which = 0;
        while (zrt__key_get(which) != NULL)
            which++;
        const zrt__key *key = zrt__key_get(h % which);
        json_t *value = json_loads(values[h / 977 % 10], JSON_DECODE_ANY, NULL);
        zrt__tree_set(tree, key->path, value != NULL ? value : json_null());
        char *text = json_dumps(tree, 0);
        zrt_config *config = NULL;
        char *printed = NULL;
        zrt_config_create(&config);
        zrt_status status = zrt_config_read_string(config, text);
        if (status == ZRT_OK)
            status = zrt_config_print(config, 2, 64, &printed);
        char block[64]; /* the key itself, or one of its block that it takes away */
        snprintf(block, sizeof block, "%.*s", (int)strcspn(key->path, "."), key->path);
        if (status == ZRT_OK) {
            resolved_n++;
            changed += !idempotent(text, 2);
        } else {
            bool named = strstr(zrt_error_message(), block) != NULL || strstr(zrt_error_message(), "batch") != NULL;
            silent += !named;
            if (!named)
                tap_diag("%s = %s: %s", key->path, values[h / 977 % 10], zrt_error_message());
        }
        free(printed);
        free(text);
        json_decref(tree);
        zrt_config_destroy(&config);
    }
    tap_ok(silent == 0, "%d of %d mistyped configurations are refused without naming the key", silent, n);
    tap_ok(resolved_n > n / 20 && changed == 0, "%d resolve, of which %d do not resolve to themselves", resolved_n,
           changed);
}

/* Known by itself, by a newer spelling, as a switch of older times, or as part of a block that is judged as a whole. */
static bool is_known(const char *path)
{
    const char *renamed = zrt__key_renamed(path), *target;
    const zrt__key *key = zrt__key_find(renamed != NULL ? renamed : path);
    if (key != NULL)
        return key->type == ZRT__KEY_BLOCK || (key->note != NULL && strlen(key->note) > 3);
    if (zrt__key_switch(path, &target) != NULL)
        return zrt__key_find(target) != NULL;
    char block[128];
    snprintf(block, sizeof block, "%s", path);
    while (strrchr(block, '.') != NULL) {
        *strrchr(block, '.') = '\0';
        renamed = zrt__key_renamed(block);
        key = zrt__key_find(renamed != NULL ? renamed : block);
        if (key != NULL)
            return key->type == ZRT__KEY_OPEN || (renamed != NULL && is_known(renamed));
    }
    return false;
}

static void every_deepspeed_key(void)
{
    int n = 0, missing = 0;
    for (size_t i = 0; i < sizeof deepspeed_keys / sizeof *deepspeed_keys; i++) {
        char names[2048], path[256], *save = NULL;
        snprintf(names, sizeof names, "%s", deepspeed_keys[i][1]);
        for (char *name = strtok_r(names, " ", &save); name != NULL; name = strtok_r(NULL, " ", &save), n++) {
            snprintf(path, sizeof path, "%s%s%s", deepspeed_keys[i][0], *deepspeed_keys[i][0] != '\0' ? "." : "", name);
            if (!is_known(path)) {
                missing++;
                tap_diag("%s is in no list", path);
            }
        }
    }
    tap_ok(n > 190 && missing == 0, "%d keys of DeepSpeed are honoured, without effect, or refused; %d are in no list",
           n, missing);
}

/* What `json` prints of itself at the start has `line`. */
static void explained(const char *json, const char *argument, const char *value, const char *line)
{
    zrt_config *config = NULL;
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    zrt_status status = zrt_config_create(&config);
    if (status == ZRT_OK)
        status = zrt_config_read_string(config, json);
    if (status == ZRT_OK && argument != NULL)
        status = zrt_config_set_argument(config, argument, value);
    if (status == ZRT_OK)
        status = zrt_config_explain(config, 4, 64, file);
    fclose(file);
    bool begins = *line == '\n';
    tap_ok(status == ZRT_OK && strstr(text, line) != NULL, "explained: %.*s%s", (int)strcspn(line + begins, "\n"),
           line + begins, status == ZRT_OK ? "" : zrt_error_message());
    free(text);
    zrt_config_destroy(&config);
}

static void explanations(void)
{
    explained("{\"train_batch_size\": 64}", NULL, NULL,
              "\n  train_micro_batch_size_per_gpu = 16 (completed from the others), acts\n");
    explained("{}", "max_grad_norm", "0.5", "\n  gradient_clipping = 0.5 (option), acts\n");
    explained("{\"gradient_clipping\": \"auto\"}", NULL, NULL, "  gradient_clipping = 1.0 (auto rule), acts\n");
    explained("{\"amp\": {\"enabled\": false}}", NULL, NULL, "  amp.enabled = false (file), off, refused if on: ");
    explained("{\"zero_optimization\": {\"overlap_comm\": true}}", NULL, NULL,
              "  zero_optimization.overlap_comm = true (file), accepted without effect here: communication");
    explained("{\"bf16\": {\"enabled\": true}}", NULL, NULL, "  master weights, optimizer moments    fp32\n");
    explained("{\"bfloat16\": {\"enabled\": true}}", NULL, NULL, "notice: bfloat16 is another spelling of bf16\n");
    explained("{\"zero_optimization\": {\"stage\": 2, \"cpu_offload\": true}}", NULL, NULL,
              "notice: zero_optimization.cpu_offload is deprecated: true is read as "
              "zero_optimization.offload_optimizer.device");
    explained("{\"zero_optimization\": {\"stage\": 2, \"cpu_offload\": true}}", NULL, NULL,
              "  zero_optimization.offload_optimizer.device = \"cpu\" (file)");
    explained("{\"zero_optimization\": true}", NULL, NULL, "  zero_optimization.stage = 1 (file), acts\n");
    explained("{\"zero_optimization\": {\"cpu_offload_use_pin_memory\": false}}", NULL, NULL,
              "  zero_optimization.offload_optimizer.pin_memory = false (file)");
    refused("{\"zero_optimization\": {\"cpu_offload\": true, \"offload_optimizer\": {\"device\": \"none\"}}}", NULL,
            NULL, "cpu_offload offload_optimizer");
    refused("{\"zero_optimization\": {\"cpu_offload\": 3}}", NULL, NULL, "zero_optimization.cpu_offload true false");
    refused("{\"offload_optimizer\": {}}", NULL, NULL, "offload_optimizer did zero_optimization.offload_optimizer");
    refused("{\"zero_optimization\": {\"offload_optimizer\": {\"devise\": \"cpu\"}}}", NULL, NULL,
            "zero_optimization.offload_optimizer.devise mean device");
    refused("{\"comms_logger\": {\"prof_ops\": [3]}}", NULL, NULL, "comms_logger.prof_ops");
    refused("{\"checkpoint\": {\"writer\": {\"typ\": \"fast\"}}}", NULL, NULL, "checkpoint.writer.typ mean type");
    refused("{\"gather_16bit_weights_on_model_save\": true}", NULL, NULL, "gather_16bit_weights_on_model_save");
    refused("{\"zero_optimization\": {\"gather_16bit_weights_on_model_save\": true, "
            "\"stage3_gather_16bit_weights_on_model_save\": true}}",
            NULL, NULL, "same gather_16bit_weights_on_model_save");
    refused("{\"zero_optimization\": {\"stage\": 1}, \"zero_optimization\": {\"stage\": 2}}", NULL, NULL,
            "duplicate zero_optimization");
}

/* A key that is misspelt anywhere is refused by its whole path; one that is taken away leaves what resolves or is refused. */
static void misspellings(void)
{
    int n = 0, silent = 0, dropped = 0;
    for (size_t i = 0; zrt__key_get(i) != NULL; i++) {
        for (uint64_t round = 0; round < 10; round++) {
            const zrt__key *key = zrt__key_get(i);
            char path[128];
            uint64_t h = zrt__hash_mix(7 + round, i);
            snprintf(path, sizeof path, "%s", key->path);
            char *name = strrchr(path, '.') != NULL ? strrchr(path, '.') + 1 : path;
            size_t length = strlen(name), at = h % length;
            if (h / 64 % 3 == 0)
                name[at] = (char)(name[at] == 'z' ? 'q' : 'z');
            else if (h / 64 % 3 == 1 && length > 1)
                memmove(name + at, name + at + 1, length - at);
            else
                memmove(name + at + 1, name + at, length - at + 1);
            const char *target;
            if (zrt__key_find(path) != NULL || zrt__key_renamed(path) != NULL || zrt__key_switch(path, &target) != NULL)
                continue;
            json_t *tree = json_loads(shipped, 0, NULL);
            if (zrt__tree_set(tree, path, json_true()) == ZRT_OK) {
                char *text = json_dumps(tree, 0), *printed = NULL;
                zrt_config *config = NULL;
                zrt_status status = zrt_config_create(&config);
                if (status == ZRT_OK)
                    status = zrt_config_read_string(config, text);
                if (status == ZRT_OK)
                    status = zrt_config_print(config, 2, 64, &printed);
                /* Keys of an open block are judged where they are used; the block may be refused before. */
                bool named = status != ZRT_OK && (strstr(zrt_error_message(), path) != NULL ||
                                                  strncmp(key->path, "zerort.arguments", 16) == 0);
                n++;
                silent += !named;
                if (!named)
                    tap_diag("%s: %s", path, status != ZRT_OK ? zrt_error_message() : "accepted");
                free(text);
                free(printed);
                zrt_config_destroy(&config);
            }
            json_decref(tree);
        }
    }
    json_t *whole = json_loads(shipped, 0, NULL);
    for (size_t i = 0; zrt__key_get(i) != NULL; i++) {
        if (zrt__tree_get(whole, zrt__key_get(i)->path) == NULL)
            continue;
        json_t *tree = json_deep_copy(whole), *block = tree;
        const char *path = zrt__key_get(i)->path, *dot = strrchr(path, '.');
        char parent[128];
        snprintf(parent, sizeof parent, "%.*s", dot != NULL ? (int)(dot - path) : 0, path);
        if (dot != NULL)
            block = zrt__tree_get(tree, parent);
        json_object_del(block, dot != NULL ? dot + 1 : path);
        char *text = json_dumps(tree, 0);
        dropped += !idempotent(text, 2);
        free(text);
        json_decref(tree);
    }
    json_decref(whole);
    tap_ok(n > 1500 && silent == 0, "%d misspelt keys, %d refused without their path", n, silent);
    tap_ok(dropped == 0, "%d of the shipped file's keys are missed when they are taken away", dropped);
}

int main(void)
{
    misspellings();
    every_deepspeed_key();
    explanations();
    batches();
    refusals();
    shipped_file();
    for (int ranks = 1; ranks <= 4; ranks++)
        tap_ok(idempotent(shipped, ranks) &&
                   idempotent("{\"scheduler\": {\"type\": \"WarmupLR\", \"params\": {\"warmup_max_lr\": \"auto\", "
                              "\"warmup_num_steps\": 5}}, \"optimizer\": {\"type\": \"Adam\", \"params\": {\"lr\": "
                              "0.02, \"betas\": [0.8, 0.99]}}}",
                              ranks),
               "what is printed for %d ranks resolves to itself", ranks);
    mutations();
    return tap_done();
}
