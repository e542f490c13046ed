#include "config.h"

#include "device/cuda/cudnn_attention.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "device/cuda/cudnn_sdpa.h"

enum { ALIGNMENT = 256, OPERAND_ALIGNMENT = 16, MAX_TENSORS = 16 };

/* A shape that was seen. */
typedef struct entry {
    zrt__cudnn_shape shape;
    zrt__cudnn_graph graph; /* holds the plan */
    zrt__cudnn_plan plan;
    bool taken;
    size_t delta_at, sum_at, workspace_at, bytes; /* in the workspace */
} entry;

struct zrt__cudnn_attention {
    zrt__cuda_device *device; /* lent */
    zrt__cudnn_library library;
    cudnnHandle_t handle;
    cudaStream_t stream; /* that the handle has */
    entry *entries;
    size_t n_entries, capacity;
    char *workspace; /* of one call at a time: attention runs on one stream */
    size_t workspace_bytes;
};

zrt_status zrt__cudnn_attention_create(zrt__cuda_device *device, zrt__cudnn_attention **attention_out)
{
    *attention_out = NULL;
    zrt__cudnn_attention *attention = zrt__calloc(1, sizeof *attention);
    if (attention == NULL)
        return ZRT_ERR_MEMORY;
    attention->device = device;
    zrt_status status = zrt__cudnn_load(&attention->library);
    if (status != ZRT_OK) {
        zrt__log(ZRT_LOG_WARNING, "attention runs on zerort's own kernels, which are slower: %s", zrt_error_message());
        free(attention);
        return ZRT_OK;
    }
    status = zrt__cuda_check(&device->base, cudaSetDevice(device->ordinal), "choosing it");
    if (status == ZRT_OK)
        status = zrt__cudnn_check(&attention->library, attention->library.cudnnCreate(&attention->handle),
                                  "opening the library");
    if (status != ZRT_OK) {
        free(attention);
        return status;
    }
    *attention_out = attention;
    return ZRT_OK;
}

void zrt__cudnn_attention_destroy(zrt__cudnn_attention **attention)
{
    if (attention == NULL || *attention == NULL)
        return;
    zrt__cudnn_attention *a = *attention;
    for (size_t i = 0; i < a->n_entries; i++)
        zrt__cudnn_graph_free(&a->entries[i].graph);
    if (a->workspace != NULL)
        cudaFree(a->workspace);
    a->library.cudnnDestroy(a->handle);
    free(a->entries);
    free(a);
    *attention = NULL;
}

size_t zrt__cudnn_attention_bytes(const zrt__cudnn_attention *attention)
{
    return attention != NULL ? attention->workspace_bytes : 0;
}

/* ---- shapes ---- */

/* What needs no cuDNN to know that it does not take it; the others its heuristic decides. */
static bool shape_of(const zrt__cudnn_attention *a, const zrt__call *call, bool backward, zrt__cudnn_shape *shape_out)
{
    int first_option = backward ? 4 : 1;
    const zrt_view *qkv = &call->in[backward ? 1 : 0];
    for (int i = first_option; i < first_option + 2; i++) /* lengths, segment ids */
        if (call->in[i].n_dims > 0 || call->in[i].data != NULL)
            return false;
    memset(shape_out, 0, sizeof *shape_out);
    *shape_out = (zrt__cudnn_shape){.rows = qkv->dims[0],
                                    .length = qkv->dims[1],
                                    .n_heads = call->attributes.attention.n_heads,
                                    .n_kv_heads = call->attributes.attention.n_kv_heads,
                                    .head_dim = call->attributes.attention.head_dim,
                                    .dtype = qkv->dtype == ZRT_FLOAT16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16,
                                    .causal = call->attributes.attention.causal,
                                    .backward = backward,
                                    .deterministic = backward && a->device->deterministic};
    return (qkv->dtype == ZRT_FLOAT16 || qkv->dtype == ZRT_BFLOAT16) && call->accumulate == 0 &&
           call->attributes.attention.dropout == 0 && shape_out->rows > 0 && shape_out->length > 0 &&
           shape_out->head_dim % 8 == 0;
}

static bool same(const zrt__cudnn_shape *x, const zrt__cudnn_shape *y)
{
    return x->rows == y->rows && x->length == y->length && x->n_heads == y->n_heads && x->n_kv_heads == y->n_kv_heads &&
           x->head_dim == y->head_dim && x->dtype == y->dtype && x->causal == y->causal && x->backward == y->backward &&
           x->deterministic == y->deterministic;
}

static size_t rounded(int64_t bytes)
{
    return ((size_t)bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void place_workspace(entry *e)
{
    const zrt__cudnn_shape *z = &e->shape;
    int64_t n = z->rows * z->n_heads * z->length;
    e->sum_at = z->backward ? rounded(n * 4) : 0;
    e->workspace_at = e->sum_at + (z->backward && !z->deterministic ? rounded(n * z->head_dim * 4) : 0);
    e->bytes = e->workspace_at + rounded(e->plan.workspace_bytes);
}

/* Finds or makes the entry of a shape; NULL for want of memory. */
static zrt_status entry_of(zrt__cudnn_attention *a, const zrt__cudnn_shape *shape, entry **entry_out)
{
    for (size_t i = 0; i < a->n_entries; i++)
        if (same(&a->entries[i].shape, shape)) {
            *entry_out = &a->entries[i];
            return ZRT_OK;
        }
    ZRT_TRY(zrt__grow(&a->entries, &a->capacity, a->n_entries, sizeof *a->entries));
    entry *e = &a->entries[a->n_entries];
    *e = (entry){.shape = *shape};
    zrt__cudnn_graph_begin(&a->library, &e->graph);
    zrt__cudnn_sdpa_build(&e->graph, shape);
    zrt__cudnn_target target = {.handle = a->handle};
    zrt_status status = zrt__cudnn_graph_plan(&e->graph, &target, &e->plan);
    if (status != ZRT_OK)
        zrt__cudnn_graph_free(&e->graph);
    if (status == ZRT_ERR_MEMORY)
        return status;
    e->taken = status == ZRT_OK;
    if (!e->taken)
        zrt__log(ZRT_LOG_WARNING,
                 "attention of %" PRId64 " x %" PRId64 " tokens, %" PRId64 " heads of %" PRId64
                 " %s runs on zerort's own kernel, which is slower: %s",
                 shape->rows, shape->length, shape->n_heads, shape->head_dim, shape->backward ? "backward" : "forward",
                 zrt_error_message());
    place_workspace(e);
    a->n_entries++;
    *entry_out = e;
    return ZRT_OK;
}

/* Nothing may use the old one: outside of steps only, but for a shape that was never prepared. */
static zrt_status grow_workspace(zrt__cudnn_attention *a, size_t bytes)
{
    void *larger = NULL;
    if (bytes <= a->workspace_bytes)
        return ZRT_OK;
    const zrt__device *device = &a->device->base;
    ZRT_TRY(zrt__cuda_check(device, cudaSetDevice(a->device->ordinal), "choosing it"));
    if (a->workspace != NULL) {
        ZRT_TRY(zrt__cuda_check(device, cudaDeviceSynchronize(), "a kernel or copy"));
        cudaFree(a->workspace);
        a->workspace = NULL;
        a->workspace_bytes = 0;
    }
    ZRT_TRY(zrt__cuda_check(device, cudaMalloc(&larger, bytes), "taking memory for attention's workspace"));
    a->workspace = larger;
    a->workspace_bytes = bytes;
    return ZRT_OK;
}

zrt_status zrt__cudnn_attention_prepare(zrt__cudnn_attention *attention, const zrt__call *call, bool backward)
{
    zrt__cudnn_shape shape;
    entry *e;
    if (attention == NULL || !shape_of(attention, call, backward, &shape))
        return ZRT_OK;
    ZRT_TRY(entry_of(attention, &shape, &e));
    return e->taken ? grow_workspace(attention, e->bytes) : ZRT_OK;
}

/* ---- running ---- */

typedef struct operands {
    int64_t uids[MAX_TENSORS];
    void *data[MAX_TENSORS];
    int n;
} operands;

static void give(operands *o, int64_t uid, const void *data)
{
    o->uids[o->n] = uid;
    o->data[o->n++] = (void *)(uintptr_t)data;
}

static bool aligned(const operands *o)
{
    for (int i = 0; i < o->n; i++)
        if (o->uids[i] != ZRT__SDPA_SCALE && o->uids[i] != ZRT__SDPA_INFINITY && o->uids[i] != ZRT__SDPA_ONE &&
            (uintptr_t)o->data[i] % OPERAND_ALIGNMENT != 0)
            return false;
    return true;
}

/* Query, key and value lie beside each other in a packed buffer. */
static void give_packed(operands *o, int64_t uid, const zrt_view *packed, const zrt__cudnn_shape *z)
{
    char *data = packed->data;
    int64_t element = (int64_t)zrt_dtype_bytes(packed->dtype);
    give(o, uid, data);
    give(o, uid + 1, data + z->n_heads * z->head_dim * element);
    give(o, uid + 2, data + (z->n_heads + z->n_kv_heads) * z->head_dim * element);
}

typedef struct numbers {
    float scale, infinity, one;
} numbers;

static operands operands_of(const zrt__cudnn_attention *a, const entry *e, const zrt__call *call, const numbers *n)
{
    const zrt__cudnn_shape *z = &e->shape;
    operands o = {.n = 0};
    give_packed(&o, ZRT__SDPA_Q, &call->in[z->backward ? 1 : 0], z);
    give(&o, ZRT__SDPA_O, z->backward ? call->in[2].data : call->out[0].data);
    give(&o, ZRT__SDPA_LSE, z->backward ? call->in[3].data : call->out[1].data);
    give(&o, ZRT__SDPA_SCALE, &n->scale);
    if (z->causal)
        give(&o, ZRT__SDPA_INFINITY, &n->infinity);
    if (!z->backward)
        return o;
    give(&o, ZRT__SDPA_ONE, &n->one);
    give(&o, ZRT__SDPA_DO, call->in[0].data);
    give_packed(&o, ZRT__SDPA_DQ, &call->out[0], z);
    give(&o, ZRT__SDPA_DELTA, a->workspace + e->delta_at);
    if (!z->deterministic)
        give(&o, ZRT__SDPA_SUM, a->workspace + e->sum_at);
    return o;
}

static zrt_status execute(zrt__cudnn_attention *a, const entry *e, const operands *o)
{
    const zrt__cudnn_library *l = &a->library;
    void *workspace = a->workspace + e->workspace_at;
    zrt__cudnn_descriptor pack = NULL;
    cudnnStatus_t s = l->cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, o->n, o->uids);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, o->n,
                                        o->data);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendFinalize(pack);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendExecute(a->handle, e->plan.plan, pack);
    zrt_status status = zrt__cudnn_check(l, s, e->shape.backward ? "attention, backward" : "attention, forward");
    if (pack != NULL)
        l->cudnnBackendDestroyDescriptor(pack);
    if (status != ZRT_OK)
        return zrt__fail_context(status, "GPU %d of host %s: ", a->device->ordinal, a->device->host);
    return ZRT_OK;
}

zrt_status zrt__cudnn_attention_run(zrt__cudnn_attention *attention, zrt__stream *stream, const zrt__call *call,
                                    bool backward, bool *taken_out)
{
    zrt__cudnn_attention *a = attention;
    zrt__cudnn_shape shape;
    entry *e;
    *taken_out = false;
    if (a == NULL || !shape_of(a, call, backward, &shape))
        return ZRT_OK;
    ZRT_TRY(entry_of(a, &shape, &e));
    if (!e->taken)
        return ZRT_OK;
    ZRT_TRY(grow_workspace(a, e->bytes));
    numbers n = {call->attributes.attention.scale, -INFINITY, 1.0f};
    operands o = operands_of(a, e, call, &n);
    if (!aligned(&o))
        return ZRT_OK;
    if (a->stream != zrt__cuda_stream(stream)) {
        ZRT_TRY(zrt__cudnn_check(&a->library, a->library.cudnnSetStream(a->handle, zrt__cuda_stream(stream)),
                                 "taking a stream"));
        a->stream = zrt__cuda_stream(stream);
    }
    *taken_out = true;
    return execute(a, e, &o);
}
