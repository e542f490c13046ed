/* Ops that users bring: given the stream, they enqueue what they do. */
#include "config.h"

#include "base/error.h"
#include "device/cuda/cuda_kernels.h"

static zrt_status named(zrt_status status, const zrt_op *op, const char *what)
{
    if (status == ZRT_OK)
        return status;
    return zrt__fail(status, "op %s: its %s function returned \"%s\"", op->name, what, zrt_status_text(status));
}

zrt_status zrt__cuda_user_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_op *op = call->attributes.user.op;
    zrt_op_context context = {.is_cuda = true, .cuda_stream = zrt__cuda_stream(stream)};
    return named(op->forward(&context, call->in, &call->out[0], call->attributes.user.attributes), op, "forward");
}

zrt_status zrt__cuda_user_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_op *op = call->attributes.user.op;
    int n_inputs = call->attributes.user.n_inputs;
    zrt_op_context context = {.is_cuda = true, .cuda_stream = zrt__cuda_stream(stream)};
    zrt_view gradients[ZRT__MAX_INPUTS] = {0}; /* of the inputs past the fourth none is asked for */
    if (n_inputs < 0 || n_inputs > ZRT__MAX_INPUTS - 2)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "op %s: %d inputs; at most %d are supported", op->name, n_inputs,
                         ZRT__MAX_INPUTS - 2);
    if (op->backward == NULL)
        return zrt__fail(ZRT_ERR_INTERNAL, "op %s: a gradient was asked of an op that has no backward function",
                         op->name);
    for (int i = 0; i < n_inputs && i < ZRT__MAX_OUTPUTS; i++)
        gradients[i] = call->out[i];
    return named(op->backward(&context, call->in, &call->in[n_inputs], &call->in[n_inputs + 1], gradients,
                              call->attributes.user.attributes),
                 op, "backward");
}
