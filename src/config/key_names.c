/* Names of keys: older spellings, and the nearest known name of one that is mistyped. */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "config/keys.h"

#define ZO "zero_optimization."

static const char *const renamed[][2] = {
    {"bfloat16", "bf16"},
    {"fp16.fp16_enabled", "fp16.enabled"},
    {ZO "allgather_size", ZO "allgather_bucket_size"},
    {ZO "cpu_offload_use_pin_memory", ZO "offload_optimizer.pin_memory"},
    {"aio.thread_count", "aio.intra_op_parallelism"},
    {ZO "gather_16bit_weights_on_model_save", ZO "stage3_gather_16bit_weights_on_model_save"},
    {ZO "stage3_gather_fp16_weights_on_model_save", ZO "stage3_gather_16bit_weights_on_model_save"},
    {ZO "prefetch_bucket_size", ZO "stage3_prefetch_bucket_size"},
    {ZO "param_persistence_threshold", ZO "stage3_param_persistence_threshold"},
    {ZO "model_persistence_threshold", ZO "stage3_model_persistence_threshold"},
    {ZO "max_live_parameters", ZO "stage3_max_live_parameters"},
    {ZO "max_reuse_distance", ZO "stage3_max_reuse_distance"},
};

const char *zrt__key_renamed(const char *path)
{
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        if (strcmp(renamed[i][0], path) == 0)
            return renamed[i][1];
    return NULL;
}

const char *zrt__key_switch(const char *path, const char **target_out)
{
    static const char *const switches[][3] = {
        {ZO "cpu_offload", ZO "offload_optimizer.device", "\"cpu\""},
        {ZO "cpu_offload_params", ZO "offload_param.device", "\"cpu\""},
        {ZO "cpu_offload_param", ZO "offload_param.device", "\"cpu\""},
        {"zero_optimization", ZO "stage", "1"},
        {"fp32_allreduce", "communication_data_type", "\"fp32\""},
    };
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strcmp(switches[i][0], path) == 0) {
            *target_out = switches[i][1];
            return switches[i][2];
        }
    return NULL;
}

size_t zrt__edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t n = strlen(a), m = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t insert = row[j] + 1, drop = row[j - 1] + 1;
            row[j] = change < insert ? change : insert;
            row[j] = drop < row[j] ? drop : row[j];
        }
    }
    return row[m];
}

const char *zrt__key_nearest(const char *block, const char *name)
{
    const char *best = NULL;
    size_t length = strlen(block), least = strlen(name) / 2 + 1;
    for (size_t i = 0; zrt__key_get(i) != NULL; i++) {
        const char *path = zrt__key_get(i)->path;
        if (length > 0) {
            if (strncmp(path, block, length) != 0 || path[length] != '.')
                continue;
            path += length + 1;
        }
        if (strchr(path, '.') != NULL)
            continue;
        size_t distance = zrt__edit_distance(path, name);
        if (distance < least) {
            least = distance;
            best = path;
        }
    }
    return best;
}

const char *zrt__key_elsewhere(const char *name)
{
    const char *found = NULL;
    for (size_t i = 0; zrt__key_get(i) != NULL; i++) {
        const char *path = zrt__key_get(i)->path, *dot = strrchr(path, '.');
        if (dot == NULL || strcmp(dot + 1, name) != 0)
            continue;
        if (found != NULL)
            return NULL;
        found = path;
    }
    return found;
}
