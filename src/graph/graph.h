/* Graphs: what the describe functions of a model built. Pure description, nothing runs.
 *
 * A unit's graph is a list of tensors and a list of nodes in order of execution, forward nodes first, then (in training)
 * the nodes of backward that autodiff added, recomputation among them. Tensors are written once, but for gradients of parameters, which nodes may add to. */
#ifndef ZRT_GRAPH_GRAPH_H
#define ZRT_GRAPH_GRAPH_H

#include <zerort/data.h>
#include <zerort/lora.h>
#include <zerort/model.h>

#include "device/kernels.h"

typedef enum zrt__tensor_kind {
    ZRT__TENSOR_VALUE,      /* written by a node of this unit */
    ZRT__TENSOR_PARAM,      /* index: slot */
    ZRT__TENSOR_PARAM_GRAD, /* index: slot */
    ZRT__TENSOR_EDGE,       /* index: edge (an output of an earlier unit) */
    ZRT__TENSOR_EDGE_GRAD,  /* index: edge; the gradient that later units have summed so far */
    ZRT__TENSOR_FIELD,      /* index: field of the batch */
    ZRT__TENSOR_CONSTANT,   /* index: constant of the unit */
    ZRT__TENSOR_STATE,      /* kept between runs of a generation plan: the key/value cache */
    ZRT__TENSOR_SYSTEM      /* index: zrt__system_tensor */
} zrt__tensor_kind;

typedef enum zrt__system_tensor {
    ZRT__SYSTEM_STEP_STATE, /* u8 [sizeof zrt__step_state] */
    ZRT__SYSTEM_GRAD_SCALE, /* f32 [1], inside the step state */
    ZRT__SYSTEM_MICRO_SUMS, /* f64 [2], inside the step state */
    ZRT__SYSTEM_SAMPLE_IDS, /* i64 [rows] */
    ZRT__N_SYSTEM_TENSORS
} zrt__system_tensor;

struct zrt_tensor {
    zrt_unit *unit;
    int id;
    zrt__tensor_kind kind;
    int index;
    zrt_dtype dtype;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
    int alias_of;   /* id of the tensor whose memory this is (a reshape, a slice); its own id otherwise */
    int64_t offset; /* of a slice: elements from the start of that tensor */
    bool requires_grad;
};

#define ZRT__NO_TENSOR (-1)

typedef struct zrt__gradients zrt__gradients;
typedef struct zrt__node zrt__node;

/* Emits the nodes that turn the gradients of a node's outputs into those of its inputs. */
typedef void zrt__backward_fn(zrt__gradients *gradients, const zrt__node *node);

struct zrt__node {
    zrt__kernel kernel;
    int in[ZRT__MAX_INPUTS]; /* tensor ids or ZRT__NO_TENSOR */
    int out[ZRT__MAX_OUTPUTS];
    uint32_t accumulate;
    zrt__attributes attributes;
    zrt__backward_fn *backward; /* NULL: no gradient flows */
    bool cheap;                 /* recomputed by "selective" */
};

typedef struct zrt__constant {
    int64_t n_elements; /* fp32 */
    float *values;
    uint64_t hash;
} zrt__constant;

/* An input or output of a unit, by name and by the edge of the model that carries it. */
typedef struct zrt__port {
    int edge;
    int tensor; /* EDGE tensor of an input; the VALUE that an output is */
    int grad;   /* input: VALUE that becomes the edge's gradient, NO_TENSOR if none; output: EDGE_GRAD tensor */
} zrt__port;

struct zrt_unit {
    struct zrt__build *build;
    int index;
    bool registering; /* the first description: parameters are declared, later ones must find the same */
    zrt_status status;
    zrt_tensor **tensors;
    size_t n_tensors, tensors_capacity;
    zrt__node *nodes;
    size_t n_nodes, nodes_capacity;
    int n_forward;
    zrt__constant *constants;
    size_t n_constants, constants_capacity;
    zrt__port *inputs, *outputs;
    size_t n_inputs, inputs_capacity, n_outputs, outputs_capacity;
    int next_parameter; /* of the unit's, while describing again */
    void **kept;        /* copies of user ops' attributes */
    size_t n_kept, kept_capacity;
    uint32_t n_random_ops;
    bool has_loss;
};

/* A value that travels between units in one build of a model. */
typedef struct zrt__edge {
    char *name;
    int producer; /* unit */
    zrt_dtype dtype;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
    bool requires_grad;
    int last_consumer; /* unit, -1: none yet */
    bool is_logits;
} zrt__edge;

typedef enum zrt__recompute { ZRT__RECOMPUTE_NONE, ZRT__RECOMPUTE_SELECTIVE, ZRT__RECOMPUTE_FULL } zrt__recompute;

typedef struct zrt__build_options {
    zrt_mode mode;
    int64_t rows, length;
    int64_t cache_length; /* generation: positions of the key/value cache */
    int64_t table_length; /* positions that tables of constants hold, at least length */
    zrt_dtype compute_dtype;
    zrt__recompute recompute;
    size_t loss_chunk_bytes; /* of logits at a time, in training; 0: ZRT__LOSS_CHUNK_BYTES */
} zrt__build_options;

#define ZRT__LOSS_CHUNK_BYTES ((size_t)512 << 20)

/* A model described for one shape: all its units' graphs. */
typedef struct zrt__build {
    zrt_model *model;
    zrt__build_options options;
    zrt__edge *edges;
    size_t n_edges, edges_capacity;
    zrt_unit **units;
    int n_units;
} zrt__build;

zrt_status zrt__build_create(zrt_model *model, const zrt__build_options *options, zrt__build **build_out);
void zrt__build_destroy(zrt__build **build);

/* ---- the model's own lists ---- */

typedef struct zrt__parameter {
    char *name;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
    int64_t n_elements;
    zrt_initializer init;
    int slot;
    int64_t offset; /* elements from the start of the slot */
    bool trainable;
    bool adapter; /* of LoRA: in an adapter's folder, not in the base model's */
    bool in_out;  /* of an adapter: of a weight [in, out] */
    bool saved;   /* of a module to save: in both, and the adapter's counts */
} zrt__parameter;

/* What is used as one tensor: a parameter, or several packed ones. */
typedef struct zrt__slot {
    int unit;
    int first_parameter, n_parameters;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
    int64_t n_elements;
    bool shared; /* another unit uses it too */
} zrt__slot;

typedef struct zrt__field {
    char *name;
    zrt_dtype dtype;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS]; /* of a row; -1: the length */
} zrt__field;

typedef struct zrt__unit_description {
    char *prefix;
    zrt_describe_fn *describe;
    void *spec;
    int first_parameter, n_parameters;
} zrt__unit_description;

/* What zrt_model_add_lora was given. */
typedef struct zrt__lora {
    zrt_lora_spec spec; /* its lists are copies */
    float factor;       /* of B A x */
    bool *matched;      /* by target module */
} zrt__lora;

struct zrt_model {
    char *name;
    zrt__lora *lora; /* NULL: none */
    zrt_model_info info;
    zrt__unit_description *units;
    size_t n_units, units_capacity;
    zrt__parameter *parameters;
    size_t n_parameters, parameters_capacity;
    zrt__slot *slots;
    size_t n_slots, slots_capacity;
    zrt__field *fields;
    size_t n_fields, fields_capacity;
    zrt__build *probe;    /* one row, for registering */
    bool packs;           /* causal attention reads segment_ids */
    int64_t stored_vocab; /* rows that embedding and head have in the folder of the weights; 0: all */
};

int zrt__model_find_parameter(const zrt_model *model, const char *name); /* -1: none */
int zrt__model_find_field(const zrt_model *model, const char *name);
/* Whether the parameter has a row for each token: an embedding, or a head. */
bool zrt__parameter_is_vocabulary(const zrt_model *model, const zrt__parameter *parameter);
bool zrt__slot_trainable(const zrt_model *model, int slot);

/* ---- for the ops (ops_*.c) and autodiff ---- */

/* Describes all units anew, declaring their parameters again. */
zrt_status zrt__model_register(zrt_model *model);
/* y, with what the adapters of this weight's parameters add to it; y itself where there are none. */
zrt_tensor *zrt__lora_apply(zrt_unit *unit, zrt_tensor *x, zrt_tensor *y, const zrt_tensor *weight, bool in_out);
void zrt__lora_destroy(zrt__lora **lora);

/* Records the error; NULL. */
void *zrt__unit_out_of_memory(zrt_unit *unit);
/* A new VALUE of this unit; NULL after recording an error. */
zrt_tensor *zrt__unit_value(zrt_unit *unit, zrt_dtype dtype, int n_dims, const int64_t *dims);
/* The same memory with other dims. */
zrt_tensor *zrt__unit_alias(zrt_unit *unit, const zrt_tensor *tensor, int n_dims, const int64_t *dims);
/* A part of its memory, `offset` elements from the tensor's start. */
zrt_tensor *zrt__unit_slice(zrt_unit *unit, const zrt_tensor *tensor, int64_t offset, int n_dims, const int64_t *dims);
/* A tensor of another kind, made once a unit and index. */
zrt_tensor *zrt__unit_reference(zrt_unit *unit, zrt__tensor_kind kind, int index, zrt_dtype dtype, int n_dims,
                                const int64_t *dims);
zrt_tensor *zrt__unit_system(zrt_unit *unit, zrt__system_tensor which);
/* Takes `values` (malloc'ed). */
zrt_tensor *zrt__unit_constant(zrt_unit *unit, float *values, int n_dims, const int64_t *dims);
/* A copy that lives as long as the unit. */
void *zrt__unit_keep(zrt_unit *unit, const void *data, size_t bytes);
/* Appends a node; NULL operands are absent. An output requires a gradient when an input does and there is a backward. */
typedef struct zrt__node_spec {
    zrt__kernel kernel;
    const zrt_tensor *in[ZRT__MAX_INPUTS];
    const zrt_tensor *out[ZRT__MAX_OUTPUTS];
    zrt__attributes attributes;
    zrt__backward_fn *backward;
    bool cheap;
} zrt__node_spec;
zrt__node *zrt__unit_node(zrt_unit *unit, const zrt__node_spec *spec);
zrt_tensor *zrt__unit_tensor(const zrt_unit *unit, int id);
bool zrt__unit_trains(const zrt_unit *unit);
/* Elements before the last dimension, and the last dimension. */
int64_t zrt__tensor_rows(const zrt_tensor *tensor);
int64_t zrt__tensor_columns(const zrt_tensor *tensor);
int64_t zrt__tensor_elements(const zrt_tensor *tensor);
size_t zrt__tensor_bytes(const zrt_tensor *tensor);

/* Autodiff: appends backward's nodes to a described unit (in training). */
zrt_status zrt__autodiff(zrt_unit *unit);
/* Replaces values that the policy does not keep by recomputed ones. After autodiff. */
zrt_status zrt__recompute_apply(zrt_unit *unit, zrt__recompute policy);
/* Linear layers and the activations behind them become one kernel. After autodiff, where there is one. */
void zrt__fuse_activations(zrt_unit *unit);
/* Splits a head and its loss into parts whose logits take at most about `chunk_bytes`. After autodiff. */
zrt_status zrt__chunk_loss(zrt_unit *unit, size_t chunk_bytes);

struct zrt__gradients {
    zrt_unit *unit;
    int *of; /* by tensor id: its gradient, or NO_TENSOR */
    size_t n;
    bool *param_written; /* by slot: the parameter's gradient has been written in this unit */
};
/* Gradient of a tensor so far; NULL: none. */
zrt_tensor *zrt__gradient_of(zrt__gradients *gradients, int tensor);
/* True when the tensor is there and wants a gradient. */
bool zrt__gradient_wanted(zrt__gradients *gradients, int tensor);
/* A new VALUE shaped as `tensor`. */
zrt_tensor *zrt__gradient_like(zrt__gradients *gradients, int tensor);
/* Adds `gradient` to what `tensor` has: sets it, or emits an add. */
void zrt__gradient_add(zrt__gradients *gradients, int tensor, zrt_tensor *gradient);
/* Sets it: `gradient` already holds what there was (a kernel's add operand). */
void zrt__gradient_set(zrt__gradients *gradients, int tensor, zrt_tensor *gradient);
/* Where a node writes the gradient of a parameter; *accumulate_out when it has been written before. NULL: not wanted. */
zrt_tensor *zrt__gradient_param(zrt__gradients *gradients, int tensor, bool *accumulate_out);

/* Which input an output may share memory with, for a kernel: bit i of the result for input i. */
uint32_t zrt__kernel_in_place(zrt__kernel kernel, int output);

#endif
