/* The plan for people: memory by category, and the order of gathers and reductions. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/engine.h"

/* What a pretended host has, at most. */
enum { GPUS_OF_A_HOST = 8 };

static void print_bytes(FILE *file, const char *text, size_t bytes)
{
    fprintf(file, "  %-36s %16zu  %10.3f MiB\n", text, bytes, (double)bytes / 1048576.0);
}

static void print_places(FILE *file, const zrt__zero *zero)
{
    int64_t all, device;
    if (zero->options.offload == ZRT__OFFLOAD_NONE)
        return;
    zrt__zero_shares(zero, &all, &device);
    fprintf(file,
            "optimizer states of %lld elements: %lld (%.1f%%) on the device, %lld (%.1f%%) %s; "
            "the device takes %zu bytes of all\n",
            (long long)all, (long long)device, all > 0 ? 100.0 * (double)device / (double)all : 0.0,
            (long long)(all - device), all > 0 ? 100.0 * (double)(all - device) / (double)all : 0.0,
            zero->options.files.optimizer ? "in files" : "on the host", zrt__memory_on_device(zero->memory));
}

void zrt__print_memory(FILE *file, const zrt__compiled *compiled, const zrt__settings *settings, const zrt_model *model)
{
    const zrt__zero_options *options = &settings->zero;
    const zrt__memory *memory = &compiled->memory;
    size_t persistent[ZRT__N_CATEGORIES] = {0}, peak[ZRT__N_CATEGORIES], total = 0, scratch = 0, live = 0;
    fprintf(file,
            "model %s: %lld parameters; ZeRO stage %d on %d rank%s, %lld x %lld tokens a rank and micro-step, "
            "%lld micro-step%s, %s\n",
            model->name, (long long)zrt_model_n_elements(model), options->stage, options->n_ranks,
            options->n_ranks > 1 ? "s" : "", (long long)options->rows, (long long)options->length,
            (long long)options->micro_steps, options->micro_steps > 1 ? "s" : "",
            zrt_dtype_name(options->compute_dtype));
    fprintf(file, "memory of rank %d, bytes\n", options->rank);
    for (size_t i = 0; i < memory->persistent.n; i++)
        persistent[memory->persistent.items[i].category] += memory->persistent.items[i].bytes;
    for (int c = 0; c < ZRT__N_CATEGORIES; c++) {
        if (persistent[c] > 0)
            print_bytes(file, zrt__category_text((zrt__category)c), persistent[c]);
        total += persistent[c];
    }
    print_bytes(file, "all that stays", total);
    const zrt__plan *largest = compiled->evaluation;
    size_t largest_bytes = 0;
    for (int v = 0; v < ZRT__N_VARIANTS; v++) {
        const zrt__plan *plan = compiled->train[v];
        size_t bytes = 0;
        for (int region = 0; plan != NULL && region < ZRT__N_REGIONS; region++)
            bytes += plan->scratch_bytes[region];
        if (bytes > largest_bytes) {
            largest = plan;
            largest_bytes = bytes;
        }
    }
    int position = zrt__buffers_peak(&largest->buffers, peak);
    for (int c = 0; c < ZRT__N_CATEGORIES; c++) {
        if (peak[c] > 0)
            print_bytes(file, zrt__category_text((zrt__category)c), peak[c]);
        live += peak[c];
    }
    for (int region = 0; region < ZRT__N_REGIONS; region++)
        scratch += memory->scratch_bytes[region];
    if (scratch > live)
        print_bytes(file, "gaps of the packing", scratch - live);
    print_bytes(file, "scratch of a step at its peak", scratch);
    print_bytes(file, "total", total + scratch);
    print_places(file, compiled->zero);
    (void)position;
}

void zrt__print_schedule(FILE *file, const zrt__compiled *compiled, const zrt_model *model)
{
    const zrt__plan *plan = compiled->train[ZRT__VARIANT_ONLY] != NULL ? compiled->train[ZRT__VARIANT_ONLY]
                                                                       : compiled->train[ZRT__VARIANT_LAST];
    const char *phase = "";
    int unit = -2, kernels = 0;
    fprintf(file, "schedule of the last micro-step (%zu entries)\n", plan->n_entries);
    for (size_t i = 0; i <= plan->n_entries; i++) {
        const zrt__entry *entry = i < plan->n_entries ? &plan->entries[i] : NULL;
        bool computes = entry != NULL && entry->stream == ZRT__STREAM_COMPUTE && entry->collective == NULL;
        if (kernels > 0 && (entry == NULL || entry->unit != unit || strcmp(entry->phase, phase) != 0)) {
            fprintf(file, "  %-8s %-8s %s, %d kernels\n", phase, "compute",
                    unit >= 0 ? (*model->units[unit].prefix != '\0' ? model->units[unit].prefix : "(unnamed unit)")
                              : "scalars and updates",
                    kernels);
            kernels = 0;
        }
        if (entry == NULL)
            break;
        if (computes) {
            unit = entry->unit;
            phase = entry->phase;
            kernels += entry->call != NULL;
        } else if (entry->collective != NULL) {
            static const char *const kinds[] = {"all-gather", "reduce-scatter", "all-reduce"};
            const zrt__collective *c = &entry->collective->collective;
            fprintf(file, "  %-8s %-8s %s %s, %zu x %s a rank\n", entry->phase, zrt__stream_role_name(entry->stream),
                    kinds[entry->collective_kind], entry->label, c->count, zrt_dtype_name(c->dtype));
        }
    }
}

zrt_status zrt_engine_print_plan(const zrt_engine *engine, FILE *file)
{
    zrt__print_memory(file, &engine->compiled, &engine->settings, engine->model);
    zrt__print_host_memory(file, &engine->compiled, &engine->settings,
                           zrt__context_placement(engine->context)->local_size, engine->host_available);
    zrt__print_schedule(file, &engine->compiled, engine->model);
    if (ferror(file))
        return zrt__fail(ZRT_ERR_IO, "the plan could not be written");
    return ZRT_OK;
}

zrt_status zrt_plan_print(zrt_context *context, zrt_model *model, const zrt_config *config, int n_ranks, FILE *file)
{
    zrt__resolved *resolved = NULL;
    zrt__settings settings;
    zrt__compiled compiled;
    int ranks = n_ranks > 0 ? n_ranks : zrt_size(context);
    ZRT_TRY(zrt__config_resolve(config, ranks, model->info.hidden_size, 0, &resolved));
    zrt_status status = zrt__settings_from(resolved, model, &settings);
    zrt__resolved_destroy(&resolved);
    if (status != ZRT_OK)
        return status;
    settings.zero.n_ranks = ranks;
    settings.zero.rules = &settings.rules;
    ZRT_TRY(zrt__compiled_create(model, &settings, &compiled));
    bool gpu = strcmp(settings.device, "cuda") == 0;
    int host_ranks = gpu && ranks > GPUS_OF_A_HOST ? GPUS_OF_A_HOST : ranks;
    zrt__print_memory(file, &compiled, &settings, model);
    zrt__print_host_memory(file, &compiled, &settings, host_ranks, settings.host_memory);
    zrt__print_schedule(file, &compiled, model);
    /* What a pretended machine holds is only known when it is given. */
    if (settings.host_memory > 0)
        status =
            zrt__fit_check(model, &settings, &compiled, ZRT__FIT_HOST, host_ranks, settings.host_memory, "one host");
    if (status == ZRT_OK && gpu && settings.device_memory > 0)
        status = zrt__fit_check(model, &settings, &compiled, ZRT__FIT_GPU, 1, settings.device_memory, "a GPU");
    zrt__compiled_free(&compiled);
    return status;
}
