#include "config.h"

#include "tools/train_settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool_report.h"

typedef struct question {
    zrt_config *config;
    int n_ranks;
    int64_t hidden_size;
} question;

static zrt_status get(const question *q, const char *key, double *number_out)
{
    char text[64];
    zrt_status status = zrt_config_get(q->config, q->n_ranks, q->hidden_size, key, text, sizeof text);
    *number_out = status == ZRT_OK ? strtod(text, NULL) : 0;
    return status == ZRT_ERR_USAGE ? ZRT_OK : status; /* no such value: 0 */
}

static zrt_status get_count(const question *q, const char *key, int64_t *count_out)
{
    double number;
    ZRT_TRY(get(q, key, &number));
    *count_out = number > 0 ? (int64_t)number : 0;
    return ZRT_OK;
}

/* Takes the quotes and backslashes off a JSON string. */
static void unquote(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from == '"')
            continue;
        if (*from == '\\' && from[1] != '\0')
            from++;
        *to++ = *from;
    }
    *to = '\0';
}

static zrt_status get_state_dict(const question *q, train_state_dict *type_out)
{
    char type[16];
    zrt_status status =
        zrt_config_get(q->config, q->n_ranks, q->hidden_size, "zerort.state_dict.type", type, sizeof type);
    *type_out = status != ZRT_OK                   ? TRAIN_STATE_DICT_UNSAID
                : strcmp(type, "\"sharded\"") == 0 ? TRAIN_STATE_DICT_SHARDED
                                                   : TRAIN_STATE_DICT_FULL;
    return status == ZRT_ERR_USAGE ? ZRT_OK : status;
}

/* transformers' rule but for perplexity: a metric that is no loss is better when it is greater. */
static zrt_status get_best(const question *q, train_settings *s)
{
    static const char *const names[] = {"loss", "perplexity", "accuracy", "f1"};
    char name[32], greater[8];
    ZRT_TRY(zrt_config_get(q->config, q->n_ranks, q->hidden_size, "zerort.arguments.metric_for_best_model", name,
                           sizeof name));
    unquote(name);
    const char *plain = strncmp(name, "eval_", 5) == 0 ? name + 5 : name;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(plain, names[i]) == 0)
            s->best_metric = (train_metric)i;
    s->greater_is_better = s->best_metric == TRAIN_EVAL_ACCURACY || s->best_metric == TRAIN_EVAL_F1;
    zrt_status status = zrt_config_get(q->config, q->n_ranks, q->hidden_size, "zerort.arguments.greater_is_better",
                                       greater, sizeof greater);
    if (status == ZRT_OK && strcmp(greater, "null") != 0)
        s->greater_is_better = strcmp(greater, "true") == 0;
    return status == ZRT_ERR_USAGE ? ZRT_OK : status;
}

static zrt_status get_strategy(const question *q, train_settings *s)
{
    char strategy[16] = "";
    zrt_status status = zrt_config_get(q->config, q->n_ranks, q->hidden_size, "zerort.arguments.save_strategy",
                                       strategy, sizeof strategy);
    if (status != ZRT_OK && status != ZRT_ERR_USAGE)
        return status;
    unquote(strategy);
    s->saves_epochs = strcmp(strategy, "epoch") == 0;
    if (strcmp(strategy, "no") == 0 || s->saves_epochs)
        s->save_steps = 0;
    if (strcmp(strategy, "steps") == 0 && s->save_steps == 0)
        return tool_fail(ZRT_ERR_CONFIG, "--save-strategy steps needs --save-steps: the steps between two checkpoints");
    return ZRT_OK;
}

static zrt_status get_saving(const question *q, train_settings *s)
{
    char best[8];
    ZRT_TRY(get_state_dict(q, &s->state_dict));
    ZRT_TRY(get_best(q, s));
    ZRT_TRY(get_count(q, "zerort.arguments.save_steps", &s->save_steps));
    ZRT_TRY(get_strategy(q, s));
    ZRT_TRY(get(q, "zerort.arguments.save_minutes", &s->save_minutes));
    ZRT_TRY(get_count(q, "zerort.arguments.save_total_limit", &s->keep_last));
    ZRT_TRY(get_count(q, "zerort.arguments.save_best_limit", &s->keep_best));
    ZRT_TRY(zrt_config_get(q->config, q->n_ranks, q->hidden_size, "zerort.arguments.load_best_model_at_end", best,
                           sizeof best));
    s->load_best = strcmp(best, "true") == 0;
    if (s->load_best && s->keep_best == 0)
        s->keep_best = 1;
    ZRT_TRY(zrt_config_get(q->config, q->n_ranks, q->hidden_size, "zerort.arguments.resume_from_checkpoint", s->resume,
                           sizeof s->resume));
    unquote(s->resume);
    return ZRT_OK;
}

zrt_status train_settings_read(zrt_config *config, int n_ranks, int64_t hidden_size, train_settings *s)
{
    const question q = {config, n_ranks, hidden_size};
    char seed[32];
    ZRT_TRY(get_count(&q, "train_micro_batch_size_per_gpu", &s->micro_rows));
    ZRT_TRY(get_count(&q, "gradient_accumulation_steps", &s->accumulation));
    ZRT_TRY(get_count(&q, "zerort.arguments.per_device_eval_batch_size", &s->eval_rows));
    ZRT_TRY(get_count(&q, "zerort.arguments.seq_length", &s->length));
    ZRT_TRY(get_count(&q, "zerort.arguments.max_steps", &s->max_steps));
    ZRT_TRY(get(&q, "zerort.arguments.num_train_epochs", &s->epochs));
    ZRT_TRY(get(&q, "zerort.collective_timeout", &s->collective_timeout));
    ZRT_TRY(get_count(&q, "zerort.arguments.logging_steps", &s->logging_steps));
    ZRT_TRY(get_count(&q, "zerort.arguments.eval_steps", &s->eval_steps));
    /* A seed may have more bits than a double. */
    ZRT_TRY(zrt_config_get(config, n_ranks, hidden_size, "zerort.arguments.seed", seed, sizeof seed));
    s->seed = strtoull(seed, NULL, 10);
    char drop[8];
    ZRT_TRY(zrt_config_get(config, n_ranks, hidden_size, "dataloader_drop_last", drop, sizeof drop));
    s->drop_last = strcmp(drop, "true") == 0;
    return get_saving(&q, s);
}
