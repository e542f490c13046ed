/* For test/parity: the batches of a golden case, and ends that take all ranks along. */
#ifndef ZRT_TEST_PARITY_BATCHES_H
#define ZRT_TEST_PARITY_BATCHES_H

#include <stdio.h>
#include <stdlib.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "checkpoint/safetensors.h"

typedef struct tokens {
    int32_t *ids, *labels; /* [n, batch, length], labels shifted; of a classifier [n, batch] as they are */
    int32_t *mask, *types; /* [n, batch, length], of a classifier only */
    int64_t n, batch, length;
} tokens;

static void check(zrt_status status, const char *what)
{
    if (status == ZRT_OK)
        return;
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    fprintf(stderr, "parity: rank %d: %s: %s\n", rank, what, zrt_error_message());
    MPI_Abort(MPI_COMM_WORLD, zrt_status_exit_code(status));
}

static void *need(void *pointer)
{
    if (pointer == NULL) {
        fprintf(stderr, "parity: out of memory\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return pointer;
}

static int32_t *read_tokens(zrt__safetensors *file, const char *name, int64_t dims[3])
{
    const zrt__safetensors_entry *entry = zrt__safetensors_find(file, name);
    if (entry == NULL || entry->dtype != ZRT_INT32) {
        fprintf(stderr, "parity: no int32 tensor %s\n", name);
        MPI_Abort(MPI_COMM_WORLD, 2);
        return NULL;
    }
    int skip = 3 - entry->n_dims;
    for (int i = 0; i < 3; i++)
        dims[i] = i < skip ? 1 : entry->dims[i - skip];
    int32_t *values = need(malloc((size_t)entry->n_elements * sizeof *values));
    check(zrt__safetensors_read_raw(entry, 0, entry->n_elements, values), name);
    return values;
}

static tokens read_batches(zrt__safetensors *file)
{
    int64_t dims[3];
    tokens t;
    t.ids = read_tokens(file, "input_ids", dims);
    int32_t *labels = read_tokens(file, "labels", dims);
    t.n = dims[0], t.batch = dims[1], t.length = dims[2];
    t.mask = t.types = NULL;
    if (zrt__safetensors_find(file, "attention_mask") != NULL) {
        int64_t id_dims[3];
        t.mask = read_tokens(file, "attention_mask", id_dims);
        t.types = read_tokens(file, "token_type_ids", id_dims);
        t.n = id_dims[0], t.batch = id_dims[1], t.length = id_dims[2];
        t.labels = labels;
        return t;
    }
    t.labels = need(malloc((size_t)(t.n * t.batch * t.length) * sizeof *t.labels));
    for (int64_t i = 0; i < t.n * t.batch; i++) /* position p predicts label p + 1 */
        for (int64_t p = 0; p < t.length; p++)
            t.labels[i * t.length + p] = p + 1 < t.length ? labels[i * t.length + p + 1] : ZRT_LABEL_IGNORED;
    free(labels);
    return t;
}

#endif
