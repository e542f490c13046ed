#include "config.h"

#include "data/tokenizer/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

zrt_status zrt__bytes_reserve(zrt__bytes *bytes, size_t more)
{
    size_t capacity = bytes->capacity;
    char *data;

    if (bytes->capacity - bytes->n >= more && bytes->data)
        return ZRT_OK;
    if (bytes->most > 0 && bytes->n + more > bytes->most)
        return zrt__fail(ZRT_ERR_INPUT,
                         "the tokenizer makes more than %zu bytes of a text: its steps make it longer again and again",
                         bytes->most);
    capacity = capacity * 2 > bytes->n + more ? capacity * 2 : bytes->n + more + 64;
    data = zrt__realloc(bytes->data, capacity);
    if (data == NULL)
        return ZRT_ERR_MEMORY;
    bytes->data = data;
    bytes->capacity = capacity;
    return ZRT_OK;
}

zrt_status zrt__bytes_append(zrt__bytes *bytes, const void *data, size_t n)
{
    if (bytes->capacity - bytes->n < n || bytes->data == NULL)
        ZRT_TRY(zrt__bytes_reserve(bytes, n));
    if (n > 0)
        memcpy(bytes->data + bytes->n, data, n);
    bytes->n += n;
    return ZRT_OK;
}

zrt_status zrt__bytes_append_code(zrt__bytes *bytes, uint32_t code)
{
    if (bytes->capacity - bytes->n < 4 || bytes->data == NULL)
        ZRT_TRY(zrt__bytes_reserve(bytes, 4));
    bytes->n += zrt__utf8_encode(code, bytes->data + bytes->n);
    return ZRT_OK;
}

void zrt__bytes_release(zrt__bytes *bytes)
{
    free(bytes->data);
    *bytes = (zrt__bytes){0};
}

zrt_status zrt__ids_reserve(zrt__ids *ids, size_t more)
{
    size_t capacity = ids->capacity;
    int32_t *data;

    if (ids->capacity - ids->n >= more && ids->data)
        return ZRT_OK;
    capacity = capacity * 2 > ids->n + more ? capacity * 2 : ids->n + more + 16;
    data = zrt__realloc(ids->data, capacity * sizeof *data);
    if (data == NULL)
        return ZRT_ERR_MEMORY;
    ids->data = data;
    ids->capacity = capacity;
    return ZRT_OK;
}

zrt_status zrt__ids_append(zrt__ids *ids, int32_t id)
{
    if (ids->n == ids->capacity)
        ZRT_TRY(zrt__ids_reserve(ids, 1));
    ids->data[ids->n++] = id;
    return ZRT_OK;
}

void zrt__ids_release(zrt__ids *ids)
{
    free(ids->data);
    *ids = (zrt__ids){0};
}

size_t zrt__utf8_encode(uint32_t code, char *text_out)
{
    unsigned char *p = (unsigned char *)text_out;

    if (code < 0x80) {
        p[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        p[0] = (unsigned char)(0xc0 | code >> 6);
        p[1] = (unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        p[0] = (unsigned char)(0xe0 | code >> 12);
        p[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        p[2] = (unsigned char)(0x80 | (code & 0x3f));
        return 3;
    }
    p[0] = (unsigned char)(0xf0 | code >> 18);
    p[1] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
    p[2] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    p[3] = (unsigned char)(0x80 | (code & 0x3f));
    return 4;
}

/* Bytes of the character at p when its first `have` bytes are a valid beginning, and whether it is complete. */
static size_t valid_part(const unsigned char *p, size_t have, bool *complete)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t need;

    *complete = false;
    if (p[0] < 0x80) {
        *complete = true;
        return 1;
    }
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        need = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        need = 3;
        low = p[0] == 0xe0 ? 0xa0 : 0x80;
        high = p[0] == 0xed ? 0x9f : 0xbf;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        need = 4;
        low = p[0] == 0xf0 ? 0x90 : 0x80;
        high = p[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if (i == have || p[i] < low || p[i] > high)
            return i;
        low = 0x80;
        high = 0xbf;
    }
    *complete = true;
    return need;
}

size_t zrt__ascii_prefix(const char *text, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, 8);
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    while (i < n && (unsigned char)text[i] < 0x80)
        i++;
    return i;
}

size_t zrt__utf8_valid_prefix(const char *text, size_t n)
{
    size_t at = 0;

    for (;;) {
        bool complete;
        size_t part;
        at += zrt__ascii_prefix(text + at, n - at);
        if (at == n)
            return n;
        part = valid_part((const unsigned char *)text + at, n - at, &complete);
        if (!complete)
            return at;
        at += part;
    }
}

size_t zrt__utf8_invalid_part(const char *text, size_t n)
{
    bool complete;
    size_t part = valid_part((const unsigned char *)text, n, &complete);

    return part > 0 ? part : 1;
}

uint64_t zrt__hash(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint64_t hash = n * UINT64_C(0x9e3779b97f4a7c15) ^ UINT64_C(0x2545f4914f6cdd1d), word;

    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    if (n > 0) {
        word = 0;
        for (size_t i = 0; i < n; i++)
            word |= (uint64_t)p[i] << (8 * i);
        hash = (hash ^ word) * UINT64_C(0xc4ceb9fe1a85ec53);
        hash ^= hash >> 29;
    }
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}
