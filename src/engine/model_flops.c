/* What a step's products and attention cost, for MFU (Chowdhery et al. 2022, PaLM, appendix B). */
#include "config.h"

#include "engine/engine.h"

/* Of dy W, dy^T x or x W^T: two for each element of the first operand and each column of the other. */
static double product(const zrt_view *x, double columns)
{
    return 2 * (double)zrt_view_elements(x) * columns;
}

static double width(const zrt_view *x)
{
    return x->n_dims > 0 ? (double)x->dims[x->n_dims - 1] : 1;
}

/* Whole score matrices, masked or not, as the paper counts them: scores and their product with the values. */
static double attention(const zrt__call *call)
{
    const zrt_view *x = &call->in[0];
    double length = x->n_dims > 1 ? (double)x->dims[x->n_dims - 2] : 1;
    return 4 * (double)zrt_view_elements(x) / width(x) * length * call->attributes.attention.n_heads *
           call->attributes.attention.head_dim;
}

static double flops(const zrt__planned_call *planned, bool forward)
{
    const zrt__call *call = &planned->call;
    const zrt_view *first = &call->in[0], *second = &call->in[1];
    switch (planned->kernel) {
    case ZRT__KERNEL_linear_forward:
    case ZRT__KERNEL_linear_activation_forward: /* in backward they are computed again, which does not count */
        return forward ? product(second, (double)zrt_view_elements(first) / width(first)) : 0;
    case ZRT__KERNEL_linear_backward_input:
    case ZRT__KERNEL_linear_activation_backward:
        return product(second, (double)zrt_view_elements(first) / width(first));
    case ZRT__KERNEL_linear_backward_weight:
        return product(first, width(second));
    case ZRT__KERNEL_attention_forward:
        return forward ? attention(call) : 0;
    case ZRT__KERNEL_attention_backward:
        return 2 * attention(call);
    default:
        return 0;
    }
}

void zrt_engine_model_flops(const zrt_engine *engine, double *flops_out, double *peak_out)
{
    const zrt__zero_options *options = &engine->settings.zero;
    const zrt__plan *plan = engine->compiled.train[options->micro_steps == 1 ? ZRT__VARIANT_ONLY : ZRT__VARIANT_FIRST];
    zrt__device_description device = {0};
    double sum = 0;
    size_t forward_end = plan->n_segments > ZRT__SEGMENT_BACKWARD ? plan->segments[ZRT__SEGMENT_BACKWARD] : 0;
    for (size_t i = 0; i < plan->n_entries; i++)
        if (plan->entries[i].call != NULL && plan->entries[i].call->fn == NULL)
            sum += flops(plan->entries[i].call, i < forward_end);
    engine->runtime.device->ops->describe(engine->runtime.device, &device);
    *flops_out = sum * (double)options->micro_steps;
    *peak_out = options->compute_dtype == ZRT_FLOAT32 ? device.peak_flops_fp32 : device.peak_flops_16bit;
}
