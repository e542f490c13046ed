/* Growing arrays, UTF-8 and hashing of strings. */
#ifndef ZRT_DATA_TOKENIZER_TEXT_H
#define ZRT_DATA_TOKENIZER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

typedef struct zrt__bytes {
    char *data;
    size_t n, capacity;
    size_t most; /* 0: as many as there is memory for */
} zrt__bytes;

/* What the steps of a tokenizer.json may make of n bytes: some double a text, and nothing keeps a file from having fifty of them. */
static inline size_t zrt__most_bytes(size_t n)
{
    return 65536 + 64 * n;
}

/* Room for `more` bytes after the last. ZRT_ERR_INPUT beyond the most there may be. */
zrt_status zrt__bytes_reserve(zrt__bytes *bytes, size_t more);
zrt_status zrt__bytes_append(zrt__bytes *bytes, const void *data, size_t n);
zrt_status zrt__bytes_append_code(zrt__bytes *bytes, uint32_t code);
void zrt__bytes_release(zrt__bytes *bytes);

typedef struct zrt__ids {
    int32_t *data;
    size_t n, capacity;
} zrt__ids;

zrt_status zrt__ids_reserve(zrt__ids *ids, size_t more);
zrt_status zrt__ids_append(zrt__ids *ids, int32_t id);
void zrt__ids_release(zrt__ids *ids);

/* The code point at `text`, which is valid UTF-8, and its bytes. */
static inline uint32_t zrt__utf8_decode(const char *text, size_t *bytes_out)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) {
        *bytes_out = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *bytes_out = 2;
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    }
    if (p[0] < 0xf0) {
        *bytes_out = 3;
        return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    }
    *bytes_out = 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 | (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
}

/* Writes 1 to 4 bytes. */
size_t zrt__utf8_encode(uint32_t code, char *text_out);

/* Bytes of the longest valid prefix: n where all is valid. */
size_t zrt__utf8_valid_prefix(const char *text, size_t n);

/* Bytes at `text` (not valid UTF-8 at its start) that one U+FFFD stands for: the longest part that could begin a character,
 * or one. */
size_t zrt__utf8_invalid_part(const char *text, size_t n);

/* Bytes of the leading ASCII characters. */
size_t zrt__ascii_prefix(const char *text, size_t n);

/* Where the character before `end` starts; end > 0. */
static inline size_t zrt__utf8_previous(const char *text, size_t end)
{
    do
        end--;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80);
    return end;
}

uint64_t zrt__hash(const void *data, size_t n);

#endif
