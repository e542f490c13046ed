/* The model of a tokenizer.json: words to tokens, by merges of pairs (BPE) or by the longest pieces (WordPiece). */
#ifndef ZRT_DATA_TOKENIZER_MODEL_H
#define ZRT_DATA_TOKENIZER_MODEL_H

#include "data/tokenizer/json_fields.h"
#include "data/tokenizer/vocabulary.h"

typedef struct zrt__merge {
    uint64_t pair; /* left << 32 | right */
    int32_t rank;  /* -1: free */
    int32_t id;
} zrt__merge;

typedef struct zrt__model {
    bool is_wordpiece;
    zrt__vocabulary vocabulary;
    int32_t unknown; /* -1: none */
    /* BPE */
    bool is_byte_level, fuses_unknown, has_fallback, ignores_merges;
    int32_t bytes[256];    /* byte level: the token of each byte; -1: none */
    int32_t fallback[256]; /* <0x00> to <0xFF>; -1: none */
    zrt__merge *merges;
    size_t n_merge_slots; /* a power of two */
    /* A word falls apart where no merge crosses: a bit for each hashed pair of characters that one does cross. */
    bool falls_apart;
    uint64_t crossed[1 << 10];
    /* WordPiece */
    char *prefix; /* of pieces that do not begin a word */
    size_t n_prefix, longest_token;
    int64_t most_characters;
} zrt__model;

zrt_status zrt__model_read(const zrt__json_object *object, bool is_byte_level, zrt__model *model);
void zrt__model_release(zrt__model *model);

/* The 256 characters that stand for bytes, and back: -1 for another character. */
uint32_t zrt__byte_character(unsigned char byte);
int zrt__character_byte(uint32_t code);

/* Bits of `crossed`. */
static inline uint32_t zrt__crossing(uint32_t left, uint32_t right)
{
    return (left * 0x9e3779b1u ^ right * 0x85ebca6bu) >> 16;
}

/* What one thread needs to apply a model. */
typedef struct zrt__word_scratch {
    struct zrt__cached_word *cache; /* grows with the words that it is asked to keep */
    size_t n_cache_slots, n_cached;
    zrt__ids ids; /* of the word at hand */
    int32_t *ranks;
    size_t ranks_capacity;
    struct zrt__heap_symbol *symbols;
    size_t symbols_capacity;
    struct zrt__heap_entry *heap;
    size_t heap_capacity;
    zrt__bytes text;
} zrt__word_scratch;

zrt_status zrt__word_scratch_create(zrt__word_scratch *scratch);
void zrt__word_scratch_release(zrt__word_scratch *scratch);

/* Appends the tokens of text[0, n), n > 0. */
zrt_status zrt__model_apply(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n,
                            zrt__ids *out);

/* Private to the model: tokens of a word that is not cached, to scratch->ids; merging of what is there. */
zrt_status zrt__model_bpe(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n,
                          bool is_whole);
zrt_status zrt__model_wordpiece(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n);
zrt_status zrt__model_merge(const zrt__model *model, zrt__word_scratch *scratch);

#endif
