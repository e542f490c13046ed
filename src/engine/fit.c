/* Refusing a run that does not fit, with the settings that would make it fit. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"

/* Bytes a rank needs of its host, or of its GPU. */
static size_t bytes_of(const zrt__settings *settings, const zrt__compiled *compiled, zrt__fit_where memory)
{
    zrt__host_memory host;
    zrt__host_memory_of(compiled, settings, &host);
    return memory == ZRT__FIT_HOST ? host.rank : zrt__memory_on_device(&compiled->memory);
}

/* Bytes a rank needs under other settings; SIZE_MAX where they do not work. */
static size_t bytes_with(zrt_model *model, const zrt__settings *settings, zrt__fit_where memory)
{
    zrt__compiled compiled;
    zrt__settings copy = *settings;
    copy.zero.rules = &copy.rules;
    if (zrt__compiled_create(model, &copy, &compiled) != ZRT_OK)
        return SIZE_MAX;
    size_t bytes = bytes_of(settings, &compiled, memory);
    zrt__compiled_free(&compiled);
    return bytes;
}

/* The last changes of advice: states in files, then smaller buffers for them. */
enum { FILES_CHANGE = 6 };

static char *into_files(zrt__settings *trial, bool small)
{
    enum { DEFAULT_BUFFERS = 4, DEFAULT_ELEMENTS = 100000000, SMALL_ELEMENTS = 100000 };
    zrt__file_options *files = &trial->zero.files;
    if (small) {
        int64_t bytes = (int64_t)DEFAULT_BUFFERS * SMALL_ELEMENTS * (int64_t)sizeof(float);
        if (!files->optimizer || files->buffer_bytes <= bytes)
            return NULL;
        files->buffer_bytes = bytes;
        return zrt__format("its \"buffer_count\": %d, \"buffer_size\": %d", DEFAULT_BUFFERS, SMALL_ELEMENTS);
    }
    if (files->optimizer)
        return NULL;
    *files = (zrt__file_options){.optimizer = true,
                                 .buffer_bytes = (int64_t)DEFAULT_BUFFERS * DEFAULT_ELEMENTS * (int64_t)sizeof(float),
                                 .read_ahead = true,
                                 .write_behind = true};
    trial->zero.offload = ZRT__OFFLOAD_PIPELINED;
    return zrt__strdup("\"offload_optimizer\": {\"device\": \"nvme\", \"nvme_path\": \"FOLDER\"}");
}

/* Changes that keep the batch and the mathematics, one added to the other until it fits. */
static char *advice(zrt_model *model, const zrt__settings *settings, zrt__fit_where memory, int ranks, size_t available)
{
    zrt__settings trial = *settings;
    char *text = zrt__strdup("");
    bool of_gpus_host = memory == ZRT__FIT_HOST && strcmp(settings->device, "cuda") == 0;
    for (int change = 0; change <= FILES_CHANGE + 1 && text != NULL; change++) {
        if (of_gpus_host && change > 0 && change < FILES_CHANGE) /* these are for the GPU */
            continue;
        char *added = NULL;
        switch (change) {
        case 0:
            if (trial.zero.offload == ZRT__OFFLOAD_SPECULATIVE) {
                trial.zero.offload = ZRT__OFFLOAD_PIPELINED;
                added = zrt__strdup("\"zerort\": {\"overlapped_step\": \"pipelined\"}, without the second copy");
            }
            break;
        case 1:
            if (trial.zero.stage < 3 && trial.zero.n_ranks > 1) {
                trial.zero.stage = 3;
                added = zrt__strdup("\"zero_optimization\": {\"stage\": 3}");
            }
            break;
        case 2:
            if (trial.zero.recompute != ZRT__RECOMPUTE_FULL) {
                trial.zero.recompute = ZRT__RECOMPUTE_FULL;
                added = zrt__strdup("--gradient-checkpointing");
            }
            break;
        case 3:
            if (trial.zero.evaluation_rows > trial.zero.rows) {
                trial.zero.evaluation_rows = trial.zero.rows;
                added = zrt__format("--per-device-eval-batch-size %lld", (long long)trial.zero.rows);
            }
            break;
        case 4:
            if (trial.zero.rows > 1) {
                trial.zero.micro_steps *= trial.zero.rows;
                trial.zero.rows = trial.zero.evaluation_rows = 1;
                added = zrt__format("--per-device-train-batch-size 1 --per-device-eval-batch-size 1 "
                                    "--gradient-accumulation-steps %lld",
                                    (long long)trial.zero.micro_steps);
            }
            break;
        case FILES_CHANGE:
        case FILES_CHANGE + 1:
            if (memory == ZRT__FIT_HOST)
                added = into_files(&trial, change == FILES_CHANGE + 1);
            break;
        default: {
            /* The smallest cap is named by the error that a too small one gives. */
            if (trial.zero.stage == 3 && trial.zero.n_ranks > 1) {
                int64_t largest = 0, second = 0;
                for (size_t u = 0; u < model->n_units; u++) {
                    int64_t n = 0;
                    for (size_t s = 0; s < model->n_slots; s++)
                        n += model->slots[s].unit == (int)u ? model->slots[s].n_elements + 64 * trial.zero.n_ranks : 0;
                    second = n > largest ? largest : n > second ? n : second;
                    largest = n > largest ? n : largest;
                }
                trial.zero.max_live_parameters = 2 * (largest + second);
                added = zrt__format("\"stage3_max_live_parameters\": %lld", (long long)trial.zero.max_live_parameters);
            }
            break;
        }
        }
        if (added == NULL)
            continue;
        char *joined = zrt__format("%s%s%s", text, *text != '\0' ? ", " : "", added);
        free(text);
        free(added);
        text = joined;
        size_t bytes = bytes_with(model, &trial, memory);
        if (text != NULL && bytes != SIZE_MAX && bytes <= available / (size_t)ranks) {
            char *done = zrt__format("it would fit with %s (%zu bytes a rank)", text, bytes);
            free(text);
            return done;
        }
    }
    free(text);
    return zrt__strdup("no setting makes it fit: use more hosts, or a smaller model or sequence");
}

zrt_status zrt__fit_check(zrt_model *model, const zrt__settings *settings, const zrt__compiled *compiled,
                          zrt__fit_where memory, int ranks, size_t available, const char *where)
{
    size_t bytes = bytes_of(settings, compiled, memory);
    bool gpu = memory == ZRT__FIT_GPU;
    if (bytes <= available / (size_t)ranks)
        return ZRT_OK;
    char *table = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&table, &length);
    if (file == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "the run does not fit");
    zrt__print_memory(file, compiled, settings, model);
    if (!gpu)
        zrt__print_host_memory(file, compiled, settings, ranks, available);
    fclose(file);
    char *help = advice(model, settings, memory, ranks, available);
    zrt_status status =
        zrt__fail(ZRT_ERR_MEMORY,
                  "the run does not fit: %d rank%s of %s need%s %zu bytes each, %zu together, and %zu are available "
                  "(%s overrides this)\n%s%s",
                  ranks, ranks > 1 ? "s" : "", where, ranks > 1 ? "" : "s", bytes, bytes * (size_t)ranks, available,
                  gpu ? "--device-memory" : "--host-memory", table != NULL ? table : "", help != NULL ? help : "");
    free(table);
    free(help);
    return status;
}
