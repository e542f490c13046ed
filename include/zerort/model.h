/* Models: units described with ops.
 *
 * A model is a list of units. A unit is what ZeRO-3 gathers and releases together: the embedding, one transformer
 * block, the head. Each unit has a describe function that declares the unit's parameters and builds its forward
 * graph from ops (zerort/ops.h); nothing runs while it describes. The function is called again for every shape that is planned
 * (rows, sequence length, training or evaluation or generation), and must declare the same parameters each time.
 *
 * Errors inside a description are sticky: the first failing call records its message in the unit and returns NULL,
 * every call given NULL for a needed operand returns NULL, and the engine or zrt_model_add_unit reports the
 * first message. So a description reads as straight mathematics without a check on every line. */
#ifndef ZERORT_MODEL_H
#define ZERORT_MODEL_H

#include <stdbool.h>

#include <zerort/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zrt_model zrt_model;
typedef struct zrt_unit zrt_unit;     /* a unit while it is being described */
typedef struct zrt_tensor zrt_tensor; /* a value in a unit's graph; lent by the unit */

typedef enum zrt_mode { ZRT_MODE_TRAIN, ZRT_MODE_EVALUATE, ZRT_MODE_GENERATE } zrt_mode;

typedef zrt_status zrt_describe_fn(zrt_unit *unit, const void *spec);

/* Gives an empty model. Local. `name` is copied. */
ZRT_EXPORT zrt_status zrt_model_create(const char *name, zrt_model **model_out);

/* Destroys *model and sets it to NULL. NULL is accepted. Local. Engines made from it must be destroyed first. */
ZRT_EXPORT void zrt_model_destroy(zrt_model **model);

/* Appends a unit. Its parameters are named PREFIX.NAME (NAME alone when prefix is ""). `spec` (spec_bytes of it)
 * is copied and passed to describe. describe is called once at once, with one row of the model's shortest length, to register
 * the parameters. Local. */
ZRT_EXPORT zrt_status zrt_model_add_unit(zrt_model *model, const char *prefix, zrt_describe_fn *describe,
                                         const void *spec, size_t spec_bytes);

/* Declares a field of the batch: what zrt_input(unit, name) finds besides the outputs of earlier units.
 * dims are those of one row; -1 stands for the sequence length. Must come before the units that use it. Local.
 * Every model has these without declaring them: "input_ids", "labels" and "position_ids", int32 [length]
 * (`labels` already shifted: the token that the position predicts, -100 where it is not counted). Declaring one of these names
 * again gives it other dims. */
ZRT_EXPORT zrt_status zrt_model_add_field(zrt_model *model, const char *name, zrt_dtype dtype, int n_dims,
                                          const int64_t *dims);

/* Facts that configuration and generation ask for; 0 where unknown. Local. */
typedef struct zrt_model_info {
    int64_t hidden_size;                /* for "auto" buckets */
    int64_t vocab_size;                 /* bound of input_ids */
    int64_t max_length;                 /* longest sequence */
    int32_t bos_token_id, eos_token_id; /* -1 where there is none */
    int64_t n_classes;                  /* of a classifier of sequences: bound of labels, one a row */
} zrt_model_info;
ZRT_EXPORT void zrt_model_set_info(zrt_model *model, const zrt_model_info *info);
ZRT_EXPORT const zrt_model_info *zrt_model_get_info(const zrt_model *model);
ZRT_EXPORT const char *zrt_model_get_name(const zrt_model *model);

/* Parameters, in the order of declaration, shared ones once. Local. Lends the name. */
ZRT_EXPORT int zrt_model_n_parameters(const zrt_model *model);
ZRT_EXPORT int64_t zrt_model_n_elements(const zrt_model *model);
ZRT_EXPORT zrt_status zrt_model_get_parameter(const zrt_model *model, int index, const char **name_out, int *n_dims_out,
                                              int64_t dims_out[ZRT_MAX_DIMS]);

/* Makes rows hold several sequences end to end: a field "segment_ids", int32 [length], is added, and causal attention without segment
 * ids of its own sees only positions of the same one. Must come before zrt_engine_create. Local. */
ZRT_EXPORT zrt_status zrt_model_set_packing(zrt_model *model);

/* Excludes parameters whose name matches the shell pattern from training: gathered, no gradient, no state. Local.
 * A pattern that matches nothing is ZRT_ERR_CONFIG. Must come before zrt_engine_create. */
ZRT_EXPORT zrt_status zrt_model_freeze(zrt_model *model, const char *pattern);

/* ---- inside a describe function ---- */

typedef enum zrt_init_kind { ZRT_INIT_ZERO, ZRT_INIT_ONE, ZRT_INIT_NORMAL, ZRT_INIT_UNIFORM } zrt_init_kind;

/* How a parameter starts: normal with mean 0 and standard deviation `scale`, or uniform in [-scale, scale).
 * Drawn by a counter-based generator keyed by (seed, parameter name, element): equal at any number of ranks. */
typedef struct zrt_initializer {
    zrt_init_kind kind;
    float scale;
} zrt_initializer;

/* Declares a parameter of this unit. Matrices (2 dimensions and more) are in the weight-decay group, vectors are not. */
ZRT_EXPORT zrt_tensor *zrt_param(zrt_unit *unit, const char *name, int n_dims, const int64_t *dims,
                                 zrt_initializer init);

/* Declares several matrices [out_i, in] that lie one below the other and are used as one [sum of out_i, in]: query, key and value, or gate
 * and up. They keep their own names and shapes in checkpoints. The tensor returned is the whole.
 * n_dims 1 packs vectors. */
typedef struct zrt_param_part {
    const char *name;
    int64_t n_rows;
    zrt_initializer init;
} zrt_param_part;
ZRT_EXPORT zrt_tensor *zrt_param_pack(zrt_unit *unit, int n_parts, const zrt_param_part *parts, int n_dims,
                                      int64_t n_columns);

/* A parameter that an earlier unit declared, by its full name (a tied embedding). */
ZRT_EXPORT zrt_tensor *zrt_param_shared(zrt_unit *unit, const char *full_name);

/* A named output of an earlier unit, or a field of the batch ([rows, dims of the field]). */
ZRT_EXPORT zrt_tensor *zrt_input(zrt_unit *unit, const char *name);

/* Names an output for later units. "logits" is what evaluation, generation and zrt_engine_logits hand out. A later unit may
 * take the same name again ("hidden" in, "hidden" out). */
ZRT_EXPORT void zrt_output(zrt_unit *unit, const char *name, zrt_tensor *tensor);

/* What this description is for. */
ZRT_EXPORT zrt_mode zrt_unit_mode(const zrt_unit *unit);
ZRT_EXPORT int64_t zrt_unit_rows(const zrt_unit *unit);
ZRT_EXPORT int64_t zrt_unit_length(const zrt_unit *unit);
/* Dims of a tensor; 0 for a dimension that it does not have. */
ZRT_EXPORT int64_t zrt_tensor_dim(const zrt_tensor *tensor, int dim);
ZRT_EXPORT int zrt_tensor_n_dims(const zrt_tensor *tensor);

/* The sticky status: what describe returns at its end. */
ZRT_EXPORT zrt_status zrt_unit_status(const zrt_unit *unit);

/* Records an error of the description itself (a bad spec): printf-style. Returns ZRT_ERR_CONFIG. */
ZRT_EXPORT zrt_status zrt_unit_fail(zrt_unit *unit, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
