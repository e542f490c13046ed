/* Text files, plain or gzip, read as blocks that end with a line. */
#ifndef ZRT_DATA_TEXT_BLOCKS_H
#define ZRT_DATA_TEXT_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "data/tokenizer/text.h"

/* Where a block may end. */
typedef enum zrt__block_end { ZRT__BLOCK_LINE, ZRT__BLOCK_PARAGRAPH, ZRT__BLOCK_FILE } zrt__block_end;

typedef struct zrt__text_reader zrt__text_reader;

typedef struct zrt__text_block {
    zrt__bytes text;
    int64_t first_line; /* from 1 */
} zrt__text_block;

/* Errors: ZRT_ERR_INPUT (missing, a folder), ZRT_ERR_IO. */
zrt_status zrt__text_reader_open(const char *path, zrt__block_end end, zrt__text_reader **reader_out);
void zrt__text_reader_close(zrt__text_reader **reader);

/* The next block, of some 100 kB or one line (paragraph, file) if that is longer; none: `has_out` false. */
zrt_status zrt__text_reader_next(zrt__text_reader *reader, zrt__text_block *block, bool *has_out);
/* Bytes of the file on the disk, and those read so far. */
int64_t zrt__text_reader_size(const zrt__text_reader *reader);
int64_t zrt__text_reader_position(zrt__text_reader *reader);

#endif
