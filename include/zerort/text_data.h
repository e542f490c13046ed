/* Text to data: JSONL files as datasets of samples, and text files as files of tokens. */
#ifndef ZERORT_TEXT_DATA_H
#define ZERORT_TEXT_DATA_H

#include <zerort/data.h>
#include <zerort/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A line of a JSONL file (plain or gzip) is one sample:
 *   {TEXT_COLUMN: text}                            every token counts
 *   {PROMPT_COLUMN: text, COMPLETION_COLUMN: text} one text; the labels of the prompt's tokens are ZRT_LABEL_IGNORED
 *   {"messages": [{"role": .., "content": ..}, ..]} by the chat template; only what the assistant says counts
 *   {"text1": text, "text2": text, "label": n}     classification of a text (text2 may be missing) or a pair
 * Columns that are not named are looked for in the first line: messages; text1 and label; prompt and completion; text.
 * A sequence ends with the end token. */
typedef struct zrt_jsonl_options {
    const char *text_column, *prompt_column, *completion_column; /* NULL: looked for */
    /* "llama2", "llama3" or "chatml"; NULL: what the chat_template of FOLDER/tokenizer_config.json is, another one being
     * refused by name. Only needed for messages. */
    const char *chat_template;
    const char *folder;
    int32_t end_token_id; /* put after a text and a completion that do not end with it; -1: none */
    /* Tokens a row. 0: those of the longest sample of all files, up to a multiple of 64; one that is longer than `longest`, the
     * model's positions (0: any), is then an error. Otherwise what is longer is truncated on the right. */
    int64_t length, longest;
    int64_t vocab_size;       /* the tokenizer must not have more (0: unchecked) */
    int64_t n_classes;        /* labels of classification are below it (0: unchecked) */
    double held_out_fraction; /* samples at the end of each file */
    zrt_split split;
    bool packing;        /* sequences end to end in a row, none divided, with position_ids and segment_ids */
    bool skip_bad_lines; /* counted instead of ending */
    int n_threads; /* 0: one for each processor that this process may use; of ranks together, each its share of the host's */
    /* NULL: this rank reads alone. Otherwise its ranks encode together, each a part, and all get all samples. Lent. */
    const zrt_context *context;
} zrt_jsonl_options;

/* What became of the lines, of all files and before the split. */
typedef struct zrt_jsonl_counts {
    int64_t n_read;      /* lines with something in them */
    int64_t n_bad;       /* skipped for skip_bad_lines */
    int64_t n_empty;     /* skipped because no label is left to learn from */
    int64_t n_truncated; /* of those kept */
    int64_t n_tokens;    /* of those kept */
} zrt_jsonl_counts;

/* Reads and encodes all lines now, so that what is wrong with them is known before anything starts; tokens stay in memory. Rows
 * have input_ids and labels [length], padded; with packing position_ids and segment_ids [length] too; of classification
 * input_ids, attention_mask, token_type_ids [length] and labels []. The tokenizer is only used now. counts_out may be NULL. Local, or with
 * options->context collective, with the same error on all ranks. Errors: ZRT_ERR_INPUT (file and line named), ZRT_ERR_NOT_SUPPORTED (a chat template), ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_dataset_open_jsonl(const char *const *paths, int n_paths, const zrt_tokenizer *tokenizer,
                                             const zrt_jsonl_options *options, zrt_jsonl_counts *counts_out,
                                             zrt_dataset **dataset_out);
/* Both parts at once, encoded once: what is trained on, and what held_out_fraction holds out. `split` is not read. */
ZRT_EXPORT zrt_status zrt_dataset_open_jsonl_split(const char *const *paths, int n_paths,
                                                   const zrt_tokenizer *tokenizer, const zrt_jsonl_options *options,
                                                   zrt_jsonl_counts *counts_out, zrt_dataset **train_out,
                                                   zrt_dataset **held_out_out);
/* Tokens a row. Local. */
ZRT_EXPORT int64_t zrt_dataset_length(const zrt_dataset *dataset);
/* True when rows are single labels' texts: classification. Local. */
ZRT_EXPORT bool zrt_dataset_is_classification(const zrt_dataset *dataset);

/* Whether a path is read as JSONL: .jsonl, .json, .jsonl.gz, .json.gz. Local. */
ZRT_EXPORT bool zrt_path_is_jsonl(const char *path);

/* What a document is in a text file; in a JSONL file it is a line. */
typedef enum zrt_document { ZRT_DOCUMENT_FILE, ZRT_DOCUMENT_PARAGRAPH, ZRT_DOCUMENT_LINE } zrt_document;
typedef struct zrt_tokenize_options {
    const char *text_column; /* of JSONL; NULL: "text" */
    zrt_document document;
    int32_t end_token_id; /* put after each document; -1: none */
    bool special;         /* the template's special tokens in each document */
    bool skip_bad_lines;
    int n_threads; /* as above */
    /* Told from time to time; bytes of the files as they lie on the disk. May be NULL. */
    void (*progress)(void *argument, int64_t bytes, int64_t total_bytes, int64_t n_tokens);
    void *progress_argument;
} zrt_tokenize_options;
typedef struct zrt_tokenize_counts {
    int64_t n_documents, n_bad, n_tokens, n_bytes; /* n_bytes: of text */
} zrt_tokenize_counts;

/* Text and JSONL files (plain or gzip) to one file of tokens as zrt_dataset_open reads them (llm.c's .bin: uint16 where all ids fit,
 * otherwise uint32). The file is there whole or not at all. Local. Errors: as above. */
ZRT_EXPORT zrt_status zrt_tokenize_files(const char *const *paths, int n_paths, const zrt_tokenizer *tokenizer,
                                         const zrt_tokenize_options *options, const char *out_path,
                                         zrt_tokenize_counts *counts_out);

#ifdef __cplusplus
}
#endif
#endif
