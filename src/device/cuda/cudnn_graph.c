#include "config.h"

#include "device/cuda/cudnn_graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { MAX_ENGINES = 16, ALIGNMENT = 16 };

void zrt__cudnn_graph_begin(const zrt__cudnn_library *library, zrt__cudnn_graph *graph_out)
{
    memset(graph_out, 0, sizeof *graph_out);
    graph_out->library = library;
    graph_out->next_uid = 1000;
}

void zrt__cudnn_graph_free(zrt__cudnn_graph *graph)
{
    while (graph->n_made > 0)
        graph->library->cudnnBackendDestroyDescriptor(graph->made[--graph->n_made]);
    free(graph->made);
    graph->made = NULL;
    graph->capacity = 0;
}

static void keep(zrt__cudnn_graph *graph, cudnnStatus_t result, const char *what)
{
    if (graph->status == ZRT_OK)
        graph->status = zrt__cudnn_check(graph->library, result, what);
}

static zrt__cudnn_descriptor make(zrt__cudnn_graph *graph, cudnnBackendDescriptorType_t type)
{
    zrt__cudnn_descriptor descriptor = NULL;
    if (graph->status != ZRT_OK)
        return NULL;
    graph->status = zrt__grow(&graph->made, &graph->capacity, graph->n_made, sizeof *graph->made);
    if (graph->status != ZRT_OK)
        return NULL;
    keep(graph, graph->library->cudnnBackendCreateDescriptor(type, &descriptor), "making a descriptor");
    if (graph->status == ZRT_OK)
        graph->made[graph->n_made++] = descriptor;
    return descriptor;
}

static void set(zrt__cudnn_graph *graph, zrt__cudnn_descriptor descriptor, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *values)
{
    if (graph->status == ZRT_OK)
        keep(graph, graph->library->cudnnBackendSetAttribute(descriptor, name, type, n, values),
             "setting an attribute");
}

static void set_descriptor(zrt__cudnn_graph *graph, zrt__cudnn_descriptor descriptor, cudnnBackendAttributeName_t name,
                           zrt__cudnn_descriptor value)
{
    set(graph, descriptor, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void set_dtype(zrt__cudnn_graph *graph, zrt__cudnn_descriptor descriptor, cudnnBackendAttributeName_t name,
                      cudnnDataType_t value)
{
    set(graph, descriptor, name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}

static void finalize(zrt__cudnn_graph *graph, zrt__cudnn_descriptor descriptor, const char *what)
{
    if (graph->status == ZRT_OK)
        keep(graph, graph->library->cudnnBackendFinalize(descriptor), what);
}

static zrt__cudnn_descriptor tensor(zrt__cudnn_graph *graph, int64_t uid, cudnnDataType_t dtype,
                                    const zrt__cudnn_dims *dims, bool by_value)
{
    int64_t alignment = ALIGNMENT;
    bool is_virtual = uid == ZRT__CUDNN_VIRTUAL;
    zrt__cudnn_descriptor t = make(graph, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    if (is_virtual)
        uid = graph->next_uid++;
    set_dtype(graph, t, CUDNN_ATTR_TENSOR_DATA_TYPE, dtype);
    set(graph, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims->dims);
    set(graph, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, dims->strides);
    set(graph, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set(graph, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(graph, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    set(graph, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
    finalize(graph, t, "a tensor");
    return t;
}

zrt__cudnn_descriptor zrt__cudnn_tensor(zrt__cudnn_graph *graph, int64_t uid, cudnnDataType_t dtype,
                                        const zrt__cudnn_dims *dims)
{
    return tensor(graph, uid, dtype, dims, false);
}

zrt__cudnn_descriptor zrt__cudnn_number(zrt__cudnn_graph *graph, int64_t uid)
{
    static const zrt__cudnn_dims one = {{1, 1, 1, 1}, {1, 1, 1, 1}};
    return tensor(graph, uid, CUDNN_DATA_FLOAT, &one, true);
}

static void add(zrt__cudnn_graph *graph, zrt__cudnn_descriptor operation, const char *what)
{
    finalize(graph, operation, what);
    if (graph->status == ZRT_OK)
        graph->operations[graph->n_operations++] = operation;
}

void zrt__cudnn_matmul(zrt__cudnn_graph *graph, zrt__cudnn_descriptor a, zrt__cudnn_descriptor b,
                       zrt__cudnn_descriptor c)
{
    zrt__cudnn_descriptor m = make(graph, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    set_dtype(graph, m, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
    finalize(graph, m, "a product's type");
    zrt__cudnn_descriptor o = make(graph, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_MATMUL_DESC, m);
    add(graph, o, "a product");
}

void zrt__cudnn_pointwise(zrt__cudnn_graph *graph, cudnnPointwiseMode_t mode, cudnnDataType_t precision, int64_t axis,
                          zrt__cudnn_descriptor x, zrt__cudnn_descriptor b, zrt__cudnn_descriptor t,
                          zrt__cudnn_descriptor y)
{
    zrt__cudnn_descriptor p = make(graph, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(graph, p, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set_dtype(graph, p, CUDNN_ATTR_POINTWISE_MATH_PREC, precision);
    if (axis >= 0)
        set(graph, p, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    finalize(graph, p, "a pointwise operation's kind");
    zrt__cudnn_descriptor o = make(graph, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, p);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b != NULL)
        set_descriptor(graph, o, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    if (t != NULL)
        set_descriptor(graph, o, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    add(graph, o, "a pointwise operation");
}

void zrt__cudnn_reduce(zrt__cudnn_graph *graph, cudnnReduceTensorOp_t op, zrt__cudnn_descriptor x,
                       zrt__cudnn_descriptor y)
{
    zrt__cudnn_descriptor r = make(graph, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    set_dtype(graph, r, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    set(graph, r, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &op);
    finalize(graph, r, "a reduction's kind");
    zrt__cudnn_descriptor o = make(graph, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_REDUCTION_DESC, r);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    add(graph, o, "a reduction");
}

void zrt__cudnn_reshape(zrt__cudnn_graph *graph, zrt__cudnn_descriptor x, zrt__cudnn_descriptor y)
{
    zrt__cudnn_descriptor o = make(graph, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_descriptor(graph, o, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    add(graph, o, "a reshape");
}

/* ---- plans ---- */

zrt__cudnn_descriptor zrt__cudnn_properties(zrt__cudnn_graph *graph, const char *json)
{
    zrt__cudnn_descriptor p = make(graph, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    set(graph, p, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json), json);
    finalize(graph, p, "a description of a device");
    return p;
}

static void set_target(zrt__cudnn_graph *graph, zrt__cudnn_descriptor descriptor, const zrt__cudnn_target *target,
                       cudnnBackendAttributeName_t handle, cudnnBackendAttributeName_t properties)
{
    if (target->handle != NULL)
        set(graph, descriptor, handle, CUDNN_TYPE_HANDLE, 1, &target->handle);
    else
        set_descriptor(graph, descriptor, properties, target->properties);
}

static int64_t ask_heuristic(zrt__cudnn_graph *graph, zrt__cudnn_descriptor operations, const zrt__cudnn_target *target,
                             zrt__cudnn_descriptor configs[MAX_ENGINES])
{
    int64_t n = 0;
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    zrt__cudnn_descriptor heuristic = make(graph, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_descriptor(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations);
    set(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (target->handle == NULL)
        set_descriptor(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target->properties);
    finalize(graph, heuristic, "asking for engines");
    for (int i = 0; i < MAX_ENGINES; i++)
        configs[i] = make(graph, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (graph->status == ZRT_OK)
        keep(graph,
             graph->library->cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                      CUDNN_TYPE_BACKEND_DESCRIPTOR, MAX_ENGINES, &n, configs),
             "asking for engines");
    return graph->status == ZRT_OK ? n : 0;
}

/* What an engine cannot do is no error of the graph: the next one is asked. */
static zrt_status plan_with(zrt__cudnn_graph *graph, zrt__cudnn_descriptor config, const zrt__cudnn_target *target,
                            zrt__cudnn_plan *plan)
{
    int64_t n = 0;
    zrt__cudnn_descriptor p = make(graph, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_descriptor(graph, p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    set_target(graph, p, target, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
    finalize(graph, p, "making an engine ready");
    if (graph->status == ZRT_OK)
        keep(graph,
             graph->library->cudnnBackendGetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                                                      &n, &plan->workspace_bytes),
             "asking for the size of the workspace");
    zrt_status status = graph->status;
    if (status == ZRT_OK)
        plan->plan = p;
    else if (status != ZRT_ERR_MEMORY)
        graph->status = ZRT_OK;
    return status;
}

zrt_status zrt__cudnn_graph_plan(zrt__cudnn_graph *graph, const zrt__cudnn_target *target, zrt__cudnn_plan *plan_out)
{
    zrt__cudnn_descriptor configs[MAX_ENGINES] = {NULL};
    *plan_out = (zrt__cudnn_plan){0};
    zrt__cudnn_descriptor operations = make(graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (target->handle != NULL)
        set(graph, operations, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target->handle);
    set(graph, operations, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, graph->n_operations,
        graph->operations);
    finalize(graph, operations, "a graph of operations");
    int64_t n = ask_heuristic(graph, operations, target, configs);
    if (graph->status == ZRT_ERR_MEMORY)
        return graph->status;
    if (graph->status != ZRT_OK)
        return zrt__fail_with(ZRT_ERR_NOT_SUPPORTED, zrt_error_message());
    plan_out->n_engines = (int)n;
    if (n == 0)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "cuDNN has no engine for it");
    zrt_status status = ZRT_ERR_DEVICE;
    for (int64_t i = 0; i < n && status == ZRT_ERR_DEVICE; i++)
        status = plan_with(graph, configs[i], target, plan_out);
    return status;
}
