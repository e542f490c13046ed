/* The plans: training, evaluation, generation. */
#include "config.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/error.h"
#include "zero/compile.h"

static zrt__operand micro_sums(const zrt__zero *zero)
{
    return zrt__operand_1d(zrt__ref_at(zero->state, offsetof(zrt__step_state, micro_sums)), ZRT_FLOAT64, 2);
}

static zrt__operand state_operand(const zrt__zero *zero)
{
    return zrt__operand_1d(zero->state, ZRT_UINT8, (int64_t)sizeof(zrt__step_state));
}

/* The first entries of a pass; also the point that the first gathers wait for. */
static void begin_pass(zrt__compiler *compiler, bool train)
{
    zrt__zero *zero = compiler->zero;
    zrt__operand sums = micro_sums(zero);
    zrt__plan_kernel(compiler->plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_zero, NULL, 0, &sums, 1, 0, NULL);
    if (!train)
        return;
    zrt__operand capacity = zrt__operand_1d(zero->capacity, ZRT_FLOAT64, 1), state = state_operand(zero);
    zrt__plan_kernel(compiler->plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_scale_begin, &capacity, 1, &state, 1,
                     compiler->variant.first ? 0u : 1u, NULL);
}

static void forward(zrt__compiler *compiler)
{
    for (int u = 0; u < compiler->build->n_units; u++) {
        zrt__compiler_gather(compiler, u);
        zrt__compiler_nodes(compiler, u, 0, (size_t)compiler->build->units[u]->n_forward);
    }
}

static zrt_status finish(zrt__compiler *compiler, zrt_status status, zrt__plan **plan, zrt__plan **plan_out)
{
    if (status == ZRT_OK)
        status = compiler->status;
    zrt__compiler_end(compiler);
    free(compiler->caches);
    if (status == ZRT_OK)
        status = zrt__plan_finish(*plan);
    if (status != ZRT_OK) {
        zrt__plan_destroy(plan);
        return status;
    }
    *plan_out = *plan;
    return ZRT_OK;
}

zrt_status zrt__zero_compile_train(zrt__zero *zero, const zrt__build *build, zrt__train_variant variant,
                                   zrt__plan **plan_out)
{
    zrt__plan *plan = NULL;
    ZRT_TRY(zrt__plan_create(zero->memory, &plan));
    zrt__compiler compiler = {.variant = variant};
    zrt_status status = zrt__compiler_begin(&compiler, zero, plan, build);
    if (status == ZRT_OK) {
        plan->phase = "forward";
        zrt__plan_segment(plan);
        begin_pass(&compiler, true);
        forward(&compiler);
        zrt__operand micro = micro_sums(zero);
        zrt__operand total = zrt__operand_1d(zrt__ref_at(zero->state, offsetof(zrt__step_state, sums)), ZRT_FLOAT64, 2);
        zrt__plan_kernel(plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_accumulate, &micro, 1, &total, 1, 1u, NULL);

        plan->phase = "backward";
        zrt__plan_segment(plan);
        zrt__plan_point(plan, ZRT__STREAM_COMPUTE);
        if (variant.last && zero->options.offload == ZRT__OFFLOAD_SPECULATIVE)
            zrt__offload_predict(zero, plan);
        zrt__compiler_count_contributions(&compiler);
        for (int u = build->n_units - 1; u >= 0; u--) {
            const zrt_unit *unit = build->units[u];
            zrt__compiler_gather(&compiler, 2 * build->n_units - 1 - u);
            zrt__compiler_nodes(&compiler, u, (size_t)unit->n_forward, unit->n_nodes);
            zrt__compiler_reduce(&compiler, u);
        }
        zrt__compiler_reduce_rest(&compiler);

        plan->phase = "step";
        zrt__plan_segment(plan);
        if (variant.last)
            zrt__zero_emit_step(zero, plan);
    }
    return finish(&compiler, status, &plan, plan_out);
}

/* Where the output "logits" is; kept to the end of the plan. */
static zrt__operand keep_logits(zrt__compiler *compiler)
{
    const zrt__build *build = compiler->build;
    for (size_t i = build->n_edges; i-- > 0;) {
        const zrt__edge *edge = &build->edges[i];
        if (!edge->is_logits)
            continue;
        zrt__operand logits = {.ref = compiler->edges[i], .view = {.dtype = edge->dtype, .n_dims = edge->n_dims}};
        for (int d = 0; d < edge->n_dims; d++)
            logits.view.dims[d] = edge->dims[d];
        zrt__plan_keep(compiler->plan, logits.ref);
        return logits;
    }
    return ZRT__NO_OPERAND;
}

zrt_status zrt__zero_compile_evaluate(zrt__zero *zero, const zrt__build *build, zrt__plan **plan_out,
                                      zrt__operand *logits_out)
{
    zrt__plan *plan = NULL;
    ZRT_TRY(zrt__plan_create(zero->memory, &plan));
    zrt__compiler compiler = {.variant = {false, false}};
    zrt_status status = zrt__compiler_begin(&compiler, zero, plan, build);
    if (status == ZRT_OK) {
        plan->phase = "evaluate";
        zrt__plan_segment(plan);
        begin_pass(&compiler, false);
        forward(&compiler);
        *logits_out = keep_logits(&compiler);
    }
    return finish(&compiler, status, &plan, plan_out);
}

zrt_status zrt__zero_compile_generate(zrt__zero *zero, const zrt__build *prompt, const zrt__build *token,
                                      zrt__plan **plan_out, zrt__operand logits_out[2])
{
    zrt__plan *plan = NULL;
    ZRT_TRY(zrt__plan_create(zero->memory, &plan));
    zrt__compiler compilers[2] = {{.variant = {false, false}}, {.variant = {false, false}}};
    const zrt__build *builds[2] = {prompt, token};
    zrt_status status = ZRT_OK;
    for (int i = 0; i < 2 && status == ZRT_OK; i++) {
        zrt__compiler *compiler = &compilers[i];
        status = zrt__compiler_begin(compiler, zero, plan, builds[i]);
        if (status != ZRT_OK)
            break;
        compiler->caches = compilers[0].caches;
        compiler->n_caches = compilers[0].n_caches;
        plan->phase = i == 0 ? "prompt" : "token";
        zrt__plan_segment(plan);
        begin_pass(compiler, false);
        forward(compiler);
        logits_out[i] = keep_logits(compiler);
        status = compiler->status;
        if (status == ZRT_OK && zrt__ref_is_none(logits_out[i].ref))
            status = zrt__fail(ZRT_ERR_NOT_SUPPORTED, "model %s names no output \"logits\": it cannot generate",
                               zero->model->name);
    }
    /* The cache lives from the first prompt to the last token. */
    for (int i = 0; i < compilers[1].n_caches; i++) {
        zrt__buffers_touch(&plan->buffers, compilers[1].caches[i].buffer, 0);
        zrt__plan_keep(plan, compilers[1].caches[i]);
    }
    compilers[1].caches = NULL;
    zrt__compiler_end(&compilers[1]);
    return finish(&compilers[0], status, &plan, plan_out);
}
