#include "config.h"

#include "data/samples.h"

#include <stdlib.h>
#include <string.h>

#include <zerort/data.h>

#include "base/alloc.h"
#include "base/error.h"

zrt_status zrt__samples_append(zrt__samples *samples, const int32_t *tokens, zrt__sample sample)
{
    ZRT_TRY(zrt__grow(&samples->samples, &samples->capacity, samples->n, sizeof *samples->samples));
    ZRT_TRY(zrt__ids_reserve(&samples->tokens, (size_t)sample.n));
    sample.first = (int64_t)samples->tokens.n;
    memcpy(samples->tokens.data + samples->tokens.n, tokens, (size_t)sample.n * sizeof *tokens);
    samples->tokens.n += (size_t)sample.n;
    samples->samples[samples->n++] = sample;
    return ZRT_OK;
}

/* Rows by the room they have left: lists through `next`, heads by room. */
typedef struct packer {
    size_t *heads, *next; /* SIZE_MAX: none */
    size_t *row_of;       /* by sample */
    size_t *order;        /* of samples, the longest first */
    size_t n_rows;
} packer;

static zrt_status sort_by_length(const zrt__samples *samples, int64_t length, size_t *order)
{
    size_t *counts = zrt__calloc((size_t)length + 2, sizeof *counts);

    if (counts == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < samples->n; i++)
        counts[length - samples->samples[i].n + 1]++;
    for (int64_t i = 0; i < length; i++)
        counts[i + 1] += counts[i];
    for (size_t i = 0; i < samples->n; i++)
        order[counts[length - samples->samples[i].n]++] = i;
    free(counts);
    return ZRT_OK;
}

static void assign_rows(const zrt__samples *samples, int64_t length, packer *p)
{
    for (int64_t room = 0; room <= length; room++)
        p->heads[room] = SIZE_MAX;
    for (size_t i = 0; i < samples->n; i++) {
        int64_t n = samples->samples[p->order[i]].n, room = n;
        size_t row;
        while (room <= length && p->heads[room] == SIZE_MAX)
            room++;
        if (room <= length) {
            row = p->heads[room];
            p->heads[room] = p->next[row];
        } else {
            room = length;
            row = p->n_rows++;
        }
        p->next[row] = p->heads[room - n];
        p->heads[room - n] = row;
        p->row_of[p->order[i]] = row;
    }
}

static void fill_rows(zrt__samples *samples, const packer *p)
{
    for (size_t i = 0; i < samples->n; i++)
        samples->starts[p->row_of[i] + 1]++;
    for (size_t row = 0; row < p->n_rows; row++)
        samples->starts[row + 1] += samples->starts[row];
    for (size_t i = 0; i < samples->n; i++)
        samples->packed[samples->starts[p->row_of[i]]++] = i;
    memmove(samples->starts + 1, samples->starts, p->n_rows * sizeof *samples->starts);
    samples->starts[0] = 0;
    samples->n_rows = p->n_rows;
}

zrt_status zrt__samples_pack(zrt__samples *samples, int64_t length)
{
    packer p = {0};
    zrt_status status = ZRT_ERR_MEMORY;

    p.heads = zrt__malloc(((size_t)length + 1) * sizeof *p.heads);
    p.next = zrt__malloc((samples->n + 1) * sizeof *p.next);
    p.row_of = zrt__malloc((samples->n + 1) * sizeof *p.row_of);
    p.order = zrt__malloc((samples->n + 1) * sizeof *p.order);
    samples->starts = zrt__calloc(samples->n + 2, sizeof *samples->starts);
    samples->packed = zrt__calloc(samples->n + 1, sizeof *samples->packed);
    if (p.heads != NULL && p.next != NULL && p.row_of != NULL && p.order != NULL && samples->starts != NULL &&
        samples->packed != NULL)
        status = sort_by_length(samples, length, p.order);
    if (status == ZRT_OK) {
        assign_rows(samples, length, &p);
        fill_rows(samples, &p);
    }
    free(p.heads);
    free(p.next);
    free(p.row_of);
    free(p.order);
    return status;
}

/* input_ids and labels of a sequence; the last position predicts nothing. */
static void put_sequence(const int32_t *tokens, int64_t n, int32_t *input, int32_t *labels)
{
    for (int64_t i = 0; i < n; i++)
        input[i] = tokens[i] >= 0 ? tokens[i] : ~tokens[i];
    for (int64_t i = 0; i + 1 < n; i++)
        labels[i] = tokens[i + 1] >= 0 ? tokens[i + 1] : ZRT_LABEL_IGNORED;
    if (n > 0)
        labels[n - 1] = ZRT_LABEL_IGNORED;
}

static void put_padding(int64_t from, int64_t length, int32_t *input, int32_t *labels)
{
    for (int64_t i = from; i < length; i++) {
        input[i] = 0;
        labels[i] = ZRT_LABEL_IGNORED;
    }
}

/* input_ids, attention_mask, token_type_ids, labels. */
static void read_classified(const zrt__samples *samples, const zrt__sample *sample, int64_t length,
                            void *const *destinations)
{
    int32_t *input = destinations[0], *mask = destinations[1], *types = destinations[2], *label = destinations[3];
    const int32_t *tokens = samples->tokens.data + sample->first;

    for (int64_t i = 0; i < length; i++) {
        input[i] = i < sample->n ? tokens[i] : 0;
        mask[i] = i < sample->n;
        types[i] = i < sample->n && i >= sample->type_start;
    }
    *label = sample->label;
}

/* input_ids, labels, position_ids, segment_ids. Padding is a segment of its own. */
static void read_packed(const zrt__samples *samples, int64_t row, int64_t length, void *const *destinations)
{
    int32_t *input = destinations[0], *labels = destinations[1], *positions = destinations[2],
            *segments = destinations[3];
    int32_t segment = 0;
    int64_t at = 0;

    for (size_t i = samples->starts[row]; i < samples->starts[row + 1]; i++, segment++) {
        const zrt__sample *sample = &samples->samples[samples->packed[i]];
        put_sequence(samples->tokens.data + sample->first, sample->n, input + at, labels + at);
        for (int32_t j = 0; j < sample->n; j++) {
            positions[at + j] = j;
            segments[at + j] = segment;
        }
        at += sample->n;
    }
    put_padding(at, length, input, labels);
    for (int32_t j = 0; at < length; at++, j++) {
        positions[at] = j;
        segments[at] = segment;
    }
}

void zrt__samples_read_row(const zrt__samples *samples, int64_t row, int64_t length, void *const *destinations)
{
    const zrt__sample *sample = &samples->samples[row];

    if (samples->starts != NULL) {
        read_packed(samples, row, length, destinations);
    } else if (samples->classifies) {
        read_classified(samples, sample, length, destinations);
    } else {
        put_sequence(samples->tokens.data + sample->first, sample->n, destinations[0], destinations[1]);
        put_padding(sample->n, length, destinations[0], destinations[1]);
    }
}

void zrt__samples_release(zrt__samples *samples)
{
    zrt__ids_release(&samples->tokens);
    free(samples->samples);
    free(samples->starts);
    free(samples->packed);
    *samples = (zrt__samples){0};
}
