#include "config.h"

#include "config/arguments.h"

#include <float.h>
#include <stdint.h>
#include <string.h>

#include <zerort/config.h>

#define ZO "zero_optimization."

static const zrt__argument arguments[] = {
    {"per_device_train_batch_size", "batch", ZRT__KEY_INT, "8", 1, DBL_MAX, NULL, "train_micro_batch_size_per_gpu",
     "rows of a rank and micro-step"},
    {"per_device_eval_batch_size", "batch", ZRT__KEY_INT, "8", 1, DBL_MAX, NULL, NULL, "rows of a rank in evaluation"},
    {"gradient_accumulation_steps", "batch", ZRT__KEY_INT, "1", 1, DBL_MAX, NULL, "gradient_accumulation_steps",
     "micro-steps of an optimizer step"},
    {"seq_length", "batch", ZRT__KEY_INT, NULL, 1, DBL_MAX, NULL, NULL,
     "tokens of a row; the model's longest where it is not given"},
    {"max_steps", "schedule", ZRT__KEY_INT, "-1", -1, DBL_MAX, NULL, NULL,
     "optimizer steps, skipped ones counted; -1: by epochs"},
    {"num_train_epochs", "schedule", ZRT__KEY_NUMBER, "3.0", 0, DBL_MAX, NULL, NULL, "passes over the training data"},
    {"warmup_steps", "schedule", ZRT__KEY_INT, "0", 0, DBL_MAX, NULL, NULL, "steps in which the learning rate rises"},
    {"warmup_ratio", "schedule", ZRT__KEY_NUMBER, "0.0", 0, 1, NULL, NULL,
     "the same as a share of all steps; --warmup-steps wins"},
    {"lr_scheduler_type", "schedule", ZRT__KEY_CHOICE, "\"linear\"", 0, 0,
     "linear|cosine|constant|constant_with_warmup|cosine_with_restarts|polynomial|inverse_sqrt|cosine_with_min_lr|"
     "warmup_stable_decay",
     NULL, "how the learning rate goes on"},
    {"lr_scheduler_kwargs", "schedule", ZRT__KEY_OPEN, "{}", 0, 0, NULL, NULL, "the schedule's own parameters, JSON"},
    {"learning_rate", "optimizer", ZRT__KEY_NUMBER, "5e-05", 0, DBL_MAX, NULL, NULL, "peak learning rate"},
    {"weight_decay", "optimizer", ZRT__KEY_NUMBER, "0.0", 0, DBL_MAX, NULL, NULL,
     "of matrices; none on norms and biases"},
    {"adam_beta1", "optimizer", ZRT__KEY_NUMBER, "0.9", 0, 1, NULL, NULL, "decay of the first moment"},
    {"adam_beta2", "optimizer", ZRT__KEY_NUMBER, "0.999", 0, 1, NULL, NULL, "decay of the second moment"},
    {"adam_epsilon", "optimizer", ZRT__KEY_NUMBER, "1e-08", 0, DBL_MAX, NULL, NULL, "added to the denominator"},
    {"optim", "optimizer", ZRT__KEY_STRING, "\"adamw_torch\"", 0, 0, NULL, NULL, "adamw_torch, sgd, lion_32bit, ..."},
    {"optim_args", "optimizer", ZRT__KEY_OPEN, "{}", 0, 0, NULL, NULL,
     "more parameters of the optimizer, JSON: {\"momentum\": 0.9}"},
    {"max_grad_norm", "optimizer", ZRT__KEY_NUMBER, "1.0", 0, DBL_MAX, NULL, "gradient_clipping",
     "global norm to which gradients are clipped; 0: none"},
    {"bf16", "precision", ZRT__KEY_BOOL, "false", 0, 0, NULL, "bf16.enabled",
     "train in bfloat16 with fp32 master weights"},
    {"fp16", "precision", ZRT__KEY_BOOL, "false", 0, 0, NULL, "fp16.enabled",
     "train in fp16 with loss scaling and fp32 master weights"},
    {"gradient_checkpointing", "memory", ZRT__KEY_BOOL, "false", 0, 0, NULL, NULL,
     "compute activations again in backward (\"zerort\": {\"recompute\": ..} chooses how)"},
    {"host_memory", "memory", ZRT__KEY_STRING, NULL, 0, 0, NULL, NULL,
     "what the ranks of a host may take in all, for example 16GiB"},
    {"device_memory", "memory", ZRT__KEY_STRING, NULL, 0, 0, NULL, NULL,
     "what a rank may take of its GPU, for example 80GiB; with --plan --device cuda, what a GPU has"},
    {"device", "run", ZRT__KEY_CHOICE, "\"auto\"", 0, 0, "auto|cpu|cuda", NULL, "where ranks compute"},
    {"collective_timeout", "run", ZRT__KEY_NUMBER, "600", 0, DBL_MAX, NULL, "zerort.collective_timeout",
     "seconds that ranks wait for one another before the job is ended with status 75 and a report; 0: for ever"},
    {"seed", "run", ZRT__KEY_INT, "42", 0, 9.2e18, NULL, NULL, "of initial weights, shuffling and dropout"},
    {"full_determinism", "run", ZRT__KEY_BOOL, "false", 0, 0, NULL, NULL, "bit-equal results on every run"},
    {"dataloader_drop_last", "run", ZRT__KEY_BOOL, "false", 0, 0, NULL, "dataloader_drop_last",
     "leave out a last batch that is not full"},
    {"logging_steps", "run", ZRT__KEY_INT, "500", 0, DBL_MAX, NULL, NULL,
     "steps between two rows of metrics.jsonl; 0: none"},
    {"eval_steps", "run", ZRT__KEY_INT, "0", 0, DBL_MAX, NULL, NULL,
     "steps between two evaluations; 0: only at the end"},
    {"save_steps", "checkpoints", ZRT__KEY_INT, "0", 0, DBL_MAX, NULL, NULL,
     "steps between two checkpoints; with it or --save-minutes there is one at the end too; 0: none"},
    {"save_strategy", "checkpoints", ZRT__KEY_CHOICE, NULL, 0, 0, "no|steps|epoch", NULL,
     "epoch: a checkpoint after every epoch; steps: by --save-steps, which alone says so too; no: none"},
    {"save_minutes", "checkpoints", ZRT__KEY_NUMBER, "0", 0, DBL_MAX, NULL, NULL,
     "minutes of wall-clock time between two checkpoints; 0: none"},
    {"save_total_limit", "checkpoints", ZRT__KEY_INT, "0", 0, DBL_MAX, NULL, NULL,
     "checkpoints that stay, the newest; 0: all"},
    {"save_best_limit", "checkpoints", ZRT__KEY_INT, "0", 0, DBL_MAX, NULL, NULL,
     "and the best of the others; each checkpoint then has an evaluation"},
    {"load_best_model_at_end", "checkpoints", ZRT__KEY_BOOL, "false", 0, 0, NULL, NULL,
     "end with the checkpoint that evaluated best; it stays"},
    {"metric_for_best_model", "checkpoints", ZRT__KEY_CHOICE, "\"eval_loss\"", 0, 0,
     "eval_loss|loss|eval_perplexity|perplexity|eval_accuracy|accuracy|eval_f1|f1", NULL,
     "loss, perplexity, and of classifiers accuracy or f1, with or without eval_"},
    {"greater_is_better", "checkpoints", ZRT__KEY_BOOL, NULL, 0, 0, NULL, NULL,
     "whether the best has the greatest metric; where it is not given, that of accuracy and f1 is"},
    {"state_dict_type", "checkpoints", ZRT__KEY_CHOICE, NULL, 0, 0, "full|sharded", "zerort.state_dict.type",
     "what the run folder ends with. full: config.json and safetensors, written by rank 0; sharded: sharded_model, a "
     "file of "
     "each rank, which zerort export turns into the same. Where it is not given, full where there is JSONL, LoRA, or "
     "stage3_gather_16bit_weights_on_model_save, otherwise neither"},
    {"resume_from_checkpoint", "checkpoints", ZRT__KEY_STRING, "\"never\"", 0, 0, NULL, NULL,
     "auto (the run folder's newest that is whole, or a new run), must (that, or an error), never, or a FOLDER: a "
     "checkpoint or a run"},
};

const zrt__argument *zrt__argument_get(size_t index)
{
    return index < sizeof arguments / sizeof *arguments ? &arguments[index] : NULL;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
            return false;
    return *a == *b;
}

const zrt__argument *zrt__argument_find(const char *name)
{
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
        if (same_name(arguments[i].name, name))
            return &arguments[i];
    return NULL;
}

const char *zrt__argument_nearest(const char *name)
{
    const char *best = NULL;
    size_t least = strlen(name) / 2 + 1;
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        size_t distance = zrt__edit_distance(arguments[i].name, name);
        if (distance < least) {
            least = distance;
            best = arguments[i].name;
        }
    }
    return best;
}

bool zrt_config_argument(int index, zrt_argument_info *info_out)
{
    const zrt__argument *argument = index >= 0 ? zrt__argument_get((size_t)index) : NULL;
    if (argument == NULL)
        return false;
    static const char *const placeholders[] = {"", "N", "X", "TEXT", "NAME", "LIST", "JSON", "JSON"};
    *info_out = (zrt_argument_info){argument->name,     argument->group, placeholders[argument->type],
                                    argument->fallback, argument->help,  argument->type == ZRT__KEY_BOOL};
    return true;
}
