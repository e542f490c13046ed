#include "config.h"

#include <string.h>

#include "data/tokenizer/model.h"

static int64_t count_characters(const char *text, size_t n)
{
    int64_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* From the left the longest piece each time; a word of which a part is none is unknown as a whole. */
zrt_status zrt__model_wordpiece(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n)
{
    zrt__bytes *piece = &scratch->text;
    size_t start = 0;

    if (count_characters(text, n) > model->most_characters)
        return zrt__ids_append(&scratch->ids, model->unknown);
    while (start < n) {
        size_t n_prefix = start > 0 ? model->n_prefix : 0, end = n;
        int32_t id = -1;
        piece->n = 0;
        ZRT_TRY(zrt__bytes_append(piece, model->prefix, n_prefix));
        if (n_prefix + n - start > model->longest_token) {
            end = start + (model->longest_token > n_prefix ? model->longest_token - n_prefix : 0);
            while (end > start && ((unsigned char)text[end] & 0xc0) == 0x80)
                end--;
        }
        ZRT_TRY(zrt__bytes_append(piece, text + start, end - start));
        while (end > start) {
            id = zrt__vocabulary_find(&model->vocabulary, piece->data, n_prefix + end - start);
            if (id >= 0)
                break;
            end = zrt__utf8_previous(text, end);
        }
        if (id < 0) {
            scratch->ids.n = 0;
            return zrt__ids_append(&scratch->ids, model->unknown);
        }
        ZRT_TRY(zrt__ids_append(&scratch->ids, id));
        start = end;
    }
    return ZRT_OK;
}
