/* flops_profiler: multiply-accumulates by DeepSpeed's formulas, from the shapes of the planned calls. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/engine.h"

/* deepspeed/profiling/flops_profiler/profiler.py: attention counts whole score matrices, masked or not. */
static void count(const zrt__planned_call *planned, double *macs_out, double *flops_out)
{
    const zrt__call *call = &planned->call;
    const zrt_view *x = &call->in[0];
    double n = (double)zrt_view_elements(x), macs = 0, flops = 0;
    double channels = x->n_dims > 0 ? (double)x->dims[x->n_dims - 1] : 1;
    switch (planned->kernel) {
    case ZRT__KERNEL_linear_forward:
    case ZRT__KERNEL_linear_activation_forward:
        macs = n / channels * (double)zrt_view_elements(&call->in[1]);
        if (planned->kernel == ZRT__KERNEL_linear_activation_forward)
            flops = (double)zrt_view_elements(&call->out[0]);
        break;
    case ZRT__KERNEL_attention_forward: {
        double length = x->n_dims > 1 ? (double)x->dims[x->n_dims - 2] : 1;
        double heads = call->attributes.attention.n_heads, size = call->attributes.attention.head_dim;
        macs = 2 * n / channels * length * heads * size;
        flops = n / channels * length * heads;
        break;
    }
    case ZRT__KERNEL_layernorm_forward:
    case ZRT__KERNEL_rmsnorm_forward:
    case ZRT__KERNEL_add_layernorm_forward:
    case ZRT__KERNEL_add_rmsnorm_forward:
        flops = 5 * n;
        break;
    case ZRT__KERNEL_activation_forward:
    case ZRT__KERNEL_glu_forward:
    case ZRT__KERNEL_add:
    case ZRT__KERNEL_mul:
    case ZRT__KERNEL_dropout:
        flops = n;
        break;
    default:
        break;
    }
    *macs_out = macs;
    *flops_out = flops + 2 * macs;
}

static zrt_status find_row(zrt__flops *flops, int unit, zrt__kernel kernel, zrt__flops_row **row_out)
{
    for (size_t i = 0; i < flops->n; i++)
        if (flops->rows[i].unit == unit && flops->rows[i].kernel == kernel) {
            *row_out = &flops->rows[i];
            return ZRT_OK;
        }
    ZRT_TRY(zrt__grow(&flops->rows, &flops->capacity, flops->n, sizeof *flops->rows));
    *row_out = &flops->rows[flops->n++];
    **row_out = (zrt__flops_row){.unit = unit, .kernel = kernel};
    return ZRT_OK;
}

zrt_status zrt__flops_add(zrt__flops *flops, const zrt__plan *plan, const zrt__trace *trace, size_t first, size_t end,
                          int segment)
{
    for (size_t i = first; i < end; i++) {
        const zrt__entry *entry = &plan->entries[i];
        zrt__flops_row *row;
        double macs = 0, operations = 0;
        if (entry->call == NULL || entry->call->fn != NULL || trace->begin[i] == 0)
            continue;
        ZRT_TRY(find_row(flops, entry->unit, entry->call->kernel, &row));
        if (segment == ZRT__SEGMENT_FORWARD) /* what backward computes again is not the model's */
            count(entry->call, &macs, &operations);
        row->calls++;
        row->macs += macs;
        row->flops += operations;
        row->seconds[segment] += (double)(trace->end[i] - trace->begin[i]) * 1e-9;
        flops->macs += macs;
        flops->flops += operations;
    }
    return ZRT_OK;
}

/* ---- printing ---- */

static const char *scaled(double value, char text[32])
{
    static const char *const units[] = {"", " K", " M", " G", " T", " P"};
    int unit = 0;
    for (; value >= 1000 && unit < 5; unit++)
        value /= 1000;
    snprintf(text, 32, "%.2f%s", value, units[unit]);
    return text;
}

static double rate(double operations, double seconds)
{
    return seconds > 0 ? operations / seconds : 0;
}

static double share(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

static double parameters_of(const zrt_model *model, size_t unit)
{
    double n = 0;
    const zrt__unit_description *description = &model->units[unit];
    for (int i = 0; i < description->n_parameters; i++)
        n += (double)model->parameters[description->first_parameter + i].n_elements;
    return n;
}

typedef struct module {
    const char *name;
    double parameters, macs, flops, seconds;
} module;

static module module_of(const zrt_model *model, const zrt__flops *flops, size_t unit)
{
    module m = {*model->units[unit].prefix != '\0' ? model->units[unit].prefix : "(unnamed unit)",
                parameters_of(model, unit), 0, 0, 0};
    for (size_t i = 0; i < flops->n; i++)
        if (flops->rows[i].unit == (int)unit) {
            m.macs += flops->rows[i].macs;
            m.flops += flops->rows[i].flops;
            m.seconds += flops->rows[i].seconds[ZRT__SEGMENT_FORWARD];
        }
    return m;
}

static void print_summary(const zrt_engine *engine, const zrt__flops *flops, FILE *file)
{
    const zrt__zero_options *zero = &engine->settings.zero;
    const double *s = flops->seconds, passes = s[0] + s[1], all = passes + s[2];
    char a[32];
    double rows = (double)(zero->rows * zero->micro_steps);
    fprintf(file, "-------------------------- DeepSpeed Flops Profiler --------------------------\n");
    fprintf(file, "Profile Summary at step %lld:\n", (long long)engine->settings.watch.profile_step);
#define LINE(text, format, ...) fprintf(file, "%-62s" format "\n", text, __VA_ARGS__)
    LINE("world size:", "%d", zero->n_ranks);
    LINE("data parallel size:", "%d", zero->n_ranks);
    LINE("model parallel size:", "%d", 1);
    LINE("batch size per GPU:", "%lld", (long long)zero->rows);
    LINE("params per GPU:", "%s", scaled((double)zrt_model_n_elements(engine->model), a));
    LINE("fwd MACs per GPU:", "%sMACs", scaled(flops->macs, a));
    LINE("fwd flops per GPU:", "%s", scaled(flops->flops, a));
    LINE("fwd latency:", "%.2f ms", s[0] * 1e3);
    LINE("bwd latency:", "%.2f ms", s[1] * 1e3);
    LINE("fwd FLOPS per GPU = fwd flops per GPU / fwd latency:", "%sFLOPS", scaled(rate(flops->flops, s[0]), a));
    LINE("bwd FLOPS per GPU = 2 * fwd flops per GPU / bwd latency:", "%sFLOPS",
         scaled(rate(2 * flops->flops, s[1]), a));
    LINE("fwd+bwd FLOPS per GPU = 3 * fwd flops / (fwd+bwd latency):", "%sFLOPS",
         scaled(rate(3 * flops->flops, passes), a));
    LINE("step latency:", "%.2f ms", s[2] * 1e3);
    LINE("iter latency:", "%.2f ms", all * 1e3);
    LINE("samples/second:", "%.2f", rate(rows * zero->n_ranks, all));
#undef LINE
}

/* The largest by one measure (1 parameters, 2 MACs, 3 latency), without those that were taken. */
static void print_top(const module *modules, size_t n, int64_t top, int measure, FILE *file)
{
    static const char *const names[] = {"", "params     ", "MACs       ", "fwd latency"};
    char a[32];
    double last = 1e300;
    fprintf(file, "    %s - {", names[measure]);
    size_t last_index = 0;
    for (int64_t k = 0; k < top && k < (int64_t)n; k++) {
        size_t best = n;
        double best_value = -1;
        for (size_t i = 0; i < n; i++) {
            double value = measure == 1 ? modules[i].parameters : measure == 2 ? modules[i].macs : modules[i].seconds;
            bool is_left = value < last || (value == last && i > last_index);
            if (is_left && value > best_value) {
                best = i;
                best_value = value;
            }
        }
        if (best == n)
            break;
        last = best_value;
        last_index = best;
        if (measure == 3)
            snprintf(a, sizeof a, "%.2f ms", best_value * 1e3);
        else
            scaled(best_value, a);
        fprintf(file, "%s'%s': '%s'", k > 0 ? ", " : "", modules[best].name, a);
    }
    fprintf(file, "}\n");
}

void zrt__flops_print(const zrt_engine *engine, const zrt__flops *flops, FILE *file)
{
    const zrt_model *model = engine->model;
    const zrt__watch *keys = &engine->settings.watch;
    char a[32], b[32], c[32];
    double total = (double)zrt_model_n_elements(model), forward = flops->seconds[ZRT__SEGMENT_FORWARD];
    module whole = {zrt_model_get_name(model), total, flops->macs, flops->flops, forward};
    module *modules = zrt__calloc(model->n_units + 1, sizeof *modules);
    print_summary(engine, flops, file);
    for (size_t i = 0; modules != NULL && i < model->n_units; i++)
        modules[i] = module_of(model, flops, i);
    fprintf(file,
            "----------------------------- Aggregated Profile per GPU -----------------------------\n"
            "Top %lld modules in terms of params, MACs or fwd latency at different model depths:\n",
            (long long)keys->top_modules);
    for (int depth = 0; depth < 2; depth++) {
        if (keys->module_depth >= 0 && keys->module_depth != depth)
            continue;
        fprintf(file, "depth %d:\n", depth);
        for (int measure = 1; measure <= 3; measure++)
            if (depth == 0)
                print_top(&whole, 1, keys->top_modules, measure, file);
            else if (modules != NULL)
                print_top(modules, model->n_units, keys->top_modules, measure, file);
    }
    if (keys->flops_detailed && modules != NULL) {
        fprintf(file, "------------------------------ Detailed Profile per GPU ------------------------------\n"
                      "Each module profile is listed after its name in the following order:\n"
                      "params, percentage of total params, MACs, percentage of total MACs, fwd latency, percentage of "
                      "total fwd latency, fwd FLOPS\n");
        for (size_t u = 0; u < model->n_units; u++) {
            const module *m = &modules[u];
            fprintf(file, "(%s): %s, %.2f%% Params, %sMACs, %.2f%% MACs, %.2f ms, %.2f%% latency, %sFLOPS\n", m->name,
                    scaled(m->parameters, a), share(m->parameters, total), scaled(m->macs, b),
                    share(m->macs, flops->macs), m->seconds * 1e3, share(m->seconds, forward),
                    scaled(rate(m->flops, m->seconds), c));
            for (size_t i = 0; i < flops->n; i++) {
                const zrt__flops_row *row = &flops->rows[i];
                if (row->unit != (int)u)
                    continue;
                fprintf(file, "  (%s): %lld calls, %sMACs, fwd %.2f ms, bwd %.2f ms, step %.2f ms\n",
                        zrt__kernel_name(row->kernel), (long long)row->calls, scaled(row->macs, a),
                        row->seconds[0] * 1e3, row->seconds[1] * 1e3, row->seconds[2] * 1e3);
            }
        }
    }
    fprintf(file, "------------------------------------------------------------------------------\n");
    fflush(file);
    free(modules);
}
