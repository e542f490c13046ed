/* Where each element of each parameter lies in a checkpoint: a function of shapes and the number of ranks alone, so that no rank
 * has to ask another.
 *
 * Parameters lie end to end in buffers, a buffer in `world` slices of equal length, slice r in the file of rank r. A dataset of
 * a file is the rank's slices of all buffers, one after the other (large ones begin with a page); those of trainable buffers come
 * first, and the datasets of the optimizer's states have only these. */
#ifndef ZRT_CHECKPOINT_LAYOUT_H
#define ZRT_CHECKPOINT_LAYOUT_H

#include <stdbool.h>

#include <zerort/tensor.h>

#define ZRT__CHECKPOINT_MAX_STATES 2 /* of the optimizer, besides the parameters themselves */
#define ZRT__CHECKPOINT_MAX_WORLD 99999

typedef struct zrt__layout_parameter {
    char *name;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
    int64_t n_elements;
    int buffer;
    int64_t offset; /* of its first element in the buffer */
} zrt__layout_parameter;

typedef struct zrt__layout_buffer {
    bool trainable;
    int64_t n_elements;
    int64_t slice; /* elements a rank; slice x world >= n_elements */
    int64_t start; /* of the slice in a rank's dataset */
} zrt__layout_buffer;

typedef struct zrt__layout {
    int world;
    int n_states;
    char states[ZRT__CHECKPOINT_MAX_STATES][16]; /* "exp_avg", "exp_avg_sq" */
    zrt__layout_parameter *parameters;           /* in the order of the model */
    size_t n_parameters, parameters_capacity;
    zrt__layout_buffer *buffers;
    size_t n_buffers, buffers_capacity;
    int64_t rank_elements[2]; /* of a dataset: of parameters, of a state; without padding */
} zrt__layout;

/* A run of elements of one parameter in one rank's file. */
typedef struct zrt__layout_piece {
    int64_t first, n; /* of the parameter */
    int rank;
    int64_t at; /* element of the rank's dataset */
} zrt__layout_piece;

void zrt__layout_free(zrt__layout *layout);
/* Adds a buffer; trainable ones must come first. slice 0: as short as it can be. */
zrt_status zrt__layout_add_buffer(zrt__layout *layout, bool trainable, int64_t n_elements, int64_t slice);
/* Adds a parameter of the buffer. */
zrt_status zrt__layout_add_parameter(zrt__layout *layout, const char *name, int n_dims, const int64_t *dims, int buffer,
                                     int64_t offset);
/* Checks all of it, of which nothing is trusted (it may come from a file), and sums up: ZRT_ERR_INPUT. */
zrt_status zrt__layout_finish(zrt__layout *layout);

/* Datasets: 0 the parameters, 1 + i the i-th state. */
int zrt__layout_n_datasets(const zrt__layout *layout);
const char *zrt__layout_dataset_name(const zrt__layout *layout, int dataset);
/* Elements of a rank's dataset, padded to a multiple of 4096 bytes. */
int64_t zrt__layout_dataset_elements(const zrt__layout *layout, int dataset);

/* The piece that holds element `first` of a parameter, as long as it goes on. */
zrt__layout_piece zrt__layout_find(const zrt__layout *layout, const zrt__layout_parameter *parameter, int64_t first);
/* By name; NULL: none. Lends. */
const zrt__layout_parameter *zrt__layout_parameter_find(const zrt__layout *layout, const char *name);

#endif
