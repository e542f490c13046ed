/* Operation graphs through cuDNN's backend API: descriptors are made, filled and finalised one after the other. The first
 * failure sticks, and what comes after it does nothing; so graphs are written without asking each time. */
#ifndef ZRT_DEVICE_CUDA_CUDNN_GRAPH_H
#define ZRT_DEVICE_CUDA_CUDNN_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "device/cuda/cudnn_library.h"

typedef cudnnBackendDescriptor_t zrt__cudnn_descriptor;

typedef struct zrt__cudnn_graph {
    const zrt__cudnn_library *library;
    zrt_status status;
    zrt__cudnn_descriptor *made; /* all; what a plan is made of may not go before it */
    size_t n_made, capacity;
    zrt__cudnn_descriptor operations[48];
    int n_operations;
    int64_t next_uid; /* of virtual tensors */
} zrt__cudnn_graph;

enum { ZRT__CUDNN_VIRTUAL = 0 }; /* uid of a tensor that is never in memory */

typedef struct zrt__cudnn_dims {
    int64_t dims[4], strides[4];
} zrt__cudnn_dims;

void zrt__cudnn_graph_begin(const zrt__cudnn_library *library, zrt__cudnn_graph *graph_out);
void zrt__cudnn_graph_free(zrt__cudnn_graph *graph);

zrt__cudnn_descriptor zrt__cudnn_tensor(zrt__cudnn_graph *graph, int64_t uid, cudnnDataType_t dtype,
                                        const zrt__cudnn_dims *dims);
/* One fp32 number that the host gives with the call. */
zrt__cudnn_descriptor zrt__cudnn_number(zrt__cudnn_graph *graph, int64_t uid);
void zrt__cudnn_matmul(zrt__cudnn_graph *graph, zrt__cudnn_descriptor a, zrt__cudnn_descriptor b,
                       zrt__cudnn_descriptor c);
/* b and t may be NULL; axis -1: none. */
void zrt__cudnn_pointwise(zrt__cudnn_graph *graph, cudnnPointwiseMode_t mode, cudnnDataType_t precision, int64_t axis,
                          zrt__cudnn_descriptor x, zrt__cudnn_descriptor b, zrt__cudnn_descriptor t,
                          zrt__cudnn_descriptor y);
void zrt__cudnn_reduce(zrt__cudnn_graph *graph, cudnnReduceTensorOp_t op, zrt__cudnn_descriptor x,
                       zrt__cudnn_descriptor y);
void zrt__cudnn_reshape(zrt__cudnn_graph *graph, zrt__cudnn_descriptor x, zrt__cudnn_descriptor y);

/* Where a plan is made for: a handle of this device, or a description of another one, by which engines are chosen without
 * a GPU. */
typedef struct zrt__cudnn_target {
    cudnnHandle_t handle;
    zrt__cudnn_descriptor properties;
} zrt__cudnn_target;

/* The descriptor of a device in cuDNN's JSON; part of `graph`. */
zrt__cudnn_descriptor zrt__cudnn_properties(zrt__cudnn_graph *graph, const char *json);

typedef struct zrt__cudnn_plan {
    zrt__cudnn_descriptor plan; /* NULL: none; part of the graph */
    int64_t workspace_bytes;
    int n_engines; /* that cuDNN's heuristic offered */
} zrt__cudnn_plan;

/* Finalises the graph, asks for engines and takes the first that gives a plan. ZRT_ERR_NOT_SUPPORTED: no engine takes
 * it; ZRT_ERR_DEVICE: engines take it, and none could be made ready. */
zrt_status zrt__cudnn_graph_plan(zrt__cudnn_graph *graph, const zrt__cudnn_target *target, zrt__cudnn_plan *plan_out);

#endif
