/* Linear layers by cuBLASLt. */
#include "config.h"

#include "device/cuda/cuda_blas.h"
#include "device/cuda/cuda_column_sums.h"
#include "device/cuda/cuda_kernels.h"

static int64_t columns_of(const zrt_view *view)
{
    return view->dims[view->n_dims - 1];
}

static int64_t rows_of(const zrt_view *view)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < view->n_dims; i++)
        n *= view->dims[i];
    return n;
}

static zrt_status multiply(zrt__stream *stream, const zrt__cuda_product *p)
{
    if (p->rows == 0 || p->columns == 0)
        return ZRT_OK;
    if (p->inner == 0) { /* no rows in the batch: the sum over them is zero */
        size_t bytes = (size_t)(p->rows * p->columns) * zrt_dtype_bytes(p->c_dtype);
        if (p->accumulate)
            return ZRT_OK;
        return zrt__cuda_check(stream->device, cudaMemsetAsync(p->c, 0, bytes, zrt__cuda_stream(stream)), "zeroing");
    }
    return zrt__cuda_multiply(stream, p);
}

static zrt__cuda_product forward_product(const zrt__call *call, const zrt_view *y)
{
    const zrt_view *x = &call->in[0], *w = &call->in[1];
    return (zrt__cuda_product){.a = x->data,
                               .b = w->data,
                               .c = y->data,
                               .a_dtype = x->dtype,
                               .b_dtype = w->dtype,
                               .c_dtype = y->dtype,
                               .trans_b = !call->attributes.linear.weight_in_out,
                               .rows = rows_of(x),
                               .columns = columns_of(y),
                               .inner = columns_of(x),
                               .bias = call->in[2].data};
}

static zrt__cuda_product backward_product(const zrt__call *call)
{
    const zrt_view *dy = &call->in[0], *w = &call->in[1], *dx = &call->out[0];
    return (zrt__cuda_product){.a = dy->data,
                               .b = w->data,
                               .c = dx->data,
                               .a_dtype = dy->dtype,
                               .b_dtype = w->dtype,
                               .c_dtype = dx->dtype,
                               .trans_b = call->attributes.linear.weight_in_out,
                               .rows = rows_of(dy),
                               .columns = columns_of(dx),
                               .inner = columns_of(dy)};
}

zrt_status zrt__cuda_linear_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    zrt__cuda_product p = forward_product(call, &call->out[0]);
    return multiply(stream, &p);
}

zrt_status zrt__cuda_linear_backward_input(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    zrt__cuda_product p = backward_product(call);
    p.add = call->in[2].data;
    return multiply(stream, &p);
}

/* Whether the library's epilogue is the activation: its GELU is the one by tanh, and in fp32 it is not exact enough. */
static bool has_epilogue(const zrt__call *call, const zrt_view *y)
{
    return call->attributes.linear.activation == ZRT_GELU_TANH && y->dtype != ZRT_FLOAT32 && columns_of(y) % 8 == 0;
}

zrt_status zrt__cuda_linear_activation_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_view *y = &call->out[0], *h = &call->out[1];
    if (has_epilogue(call, y)) {
        zrt__cuda_product p = forward_product(call, y);
        p.epilogue = ZRT__CUDA_GELU;
        p.aux = h->data;
        zrt_status status = multiply(stream, &p);
        if (status != ZRT_ERR_NOT_SUPPORTED)
            return status;
    }
    zrt__call activation = {.in = {h->data != NULL ? *h : *y}, .out = {*y}};
    zrt__cuda_product p = forward_product(call, &activation.in[0]);
    activation.attributes.activation.kind = call->attributes.linear.activation;
    ZRT_TRY(multiply(stream, &p));
    return zrt__cuda_activation_forward(stream, &activation);
}

zrt_status zrt__cuda_linear_activation_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_view *dh = &call->out[0], *h = &call->in[2];
    zrt__cuda_product p = backward_product(call);
    if (has_epilogue(call, dh)) {
        zrt__cuda_product fused = p;
        fused.epilogue = ZRT__CUDA_DGELU;
        fused.aux = h->data;
        zrt_status status = multiply(stream, &fused);
        if (status != ZRT_ERR_NOT_SUPPORTED)
            return status;
    }
    zrt__call activation = {.in = {*dh, *h}, .out = {*dh}};
    activation.attributes.activation.kind = call->attributes.linear.activation;
    ZRT_TRY(multiply(stream, &p));
    return zrt__cuda_activation_backward(stream, &activation);
}

zrt_status zrt__cuda_linear_backward_weight(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    const zrt_view *dy = &call->in[0], *x = &call->in[1], *dw = &call->out[0], *db = &call->out[1];
    bool in_out = call->attributes.linear.weight_in_out;
    const zrt_view *a = in_out ? x : dy, *b = in_out ? dy : x;
    zrt__cuda_product p = {.a = a->data,
                           .b = b->data,
                           .c = dw->data,
                           .a_dtype = a->dtype,
                           .b_dtype = b->dtype,
                           .c_dtype = dw->dtype,
                           .trans_a = true,
                           .rows = columns_of(a),
                           .columns = columns_of(b),
                           .inner = rows_of(dy),
                           .accumulate = (call->accumulate & 1u) != 0};
    if (db->data != NULL)
        ZRT_TRY(zrt__cuda_column_sums(stream, dy, db, (call->accumulate & 2u) != 0));
    return dw->data != NULL ? multiply(stream, &p) : ZRT_OK;
}
