/* safetensors: the format that Hugging Face folders hold weights in. A file is 8 bytes (little-endian length of the header), the header
 * (JSON: name -> dtype, shape, data_offsets) and the data. Reading is through a memory map: only the pages that
 * are asked for are read. A file that is shortened while it is mapped kills the reader (SIGBUS), as any map. */
#ifndef ZRT_CHECKPOINT_SAFETENSORS_H
#define ZRT_CHECKPOINT_SAFETENSORS_H

#include <stdbool.h>

#include <zerort/tensor.h>

typedef struct zrt__safetensors zrt__safetensors;

typedef struct zrt__safetensors_entry {
    const char *name;
    const char *dtype_name; /* as the file spells it: "F32", "BOOL", .. */
    bool readable;          /* zrt_dtype has it */
    zrt_dtype dtype;        /* where readable */
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
    int64_t n_elements;
    size_t bytes;
    const void *data; /* inside the map, not aligned for its type in every file */
    const char *file; /* path of the file it is in */
} zrt__safetensors_entry;

/* Opens a .safetensors file, or a folder with model.safetensors or model.safetensors.index.json and its shards. The whole header is
 * checked: nothing in it can make a later read leave the file. Local.
 * Errors: ZRT_ERR_INPUT (naming file and tensor), ZRT_ERR_IO, ZRT_ERR_MEMORY. */
zrt_status zrt__safetensors_open(const char *path, zrt__safetensors **file_out);
void zrt__safetensors_close(zrt__safetensors **file);

/* Tensors in the order of their names. Lends. */
size_t zrt__safetensors_count(const zrt__safetensors *file);
const zrt__safetensors_entry *zrt__safetensors_get(const zrt__safetensors *file, size_t index);
/* By exact name; NULL where there is none, which is no error. Lends. */
const zrt__safetensors_entry *zrt__safetensors_find(const zrt__safetensors *file, const char *name);

/* A model's parameter: by its name, or by the other spelling that folders use ("transformer." and "model." present
 * or absent). Must be floating and have these dims. Marks the tensor as used. Lends. Errors: ZRT_ERR_INPUT. */
zrt_status zrt__safetensors_find_parameter(zrt__safetensors *file, const char *name, int n_dims, const int64_t *dims,
                                           const zrt__safetensors_entry **entry_out);
/* Whether there is no such tensor under any of the spellings. */
bool zrt__safetensors_lacks(const zrt__safetensors *file, const char *name);
/* The first tensor from *index on that no find_parameter returned and that is not one of the buffers that old folders hold
 * (attention masks, rotary frequencies, a tied lm_head.weight); sets *index beyond it. NULL after the last. To warn of. */
const zrt__safetensors_entry *zrt__safetensors_next_unused(const zrt__safetensors *file, size_t *index);

/* Elements [first, first + n) of a floating tensor as fp32. find_parameter's spellings hold for the name. Errors: ZRT_ERR_INPUT. */
zrt_status zrt__safetensors_read(const zrt__safetensors *file, const char *name, int64_t first, int64_t n, float *out);
/* The same of an entry. */
zrt_status zrt__safetensors_read_entry(const zrt__safetensors_entry *entry, int64_t first, int64_t n, float *out);
/* The same without conversion, of any readable dtype: out has room for n elements of it. */
zrt_status zrt__safetensors_read_raw(const zrt__safetensors_entry *entry, int64_t first, int64_t n, void *out);

/* ---- writing ---- */

typedef struct zrt__safetensors_writer zrt__safetensors_writer;

typedef struct zrt__safetensors_tensor {
    const char *name;
    zrt_dtype dtype;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS];
} zrt__safetensors_tensor;

/* Starts FOLDER/model.safetensors, or, where the data is larger than max_file_bytes (0: no limit), shards
 * model-00001-of-0000N.safetensors and model.safetensors.index.json. Headers are written at once; the data follows by
 * append in the order of `tensors`, and lies as the safetensors library would lay it. Names and specs are copied. Everything goes to temporary names until commit. Local. */
zrt_status zrt__safetensors_writer_create(const char *folder, size_t n_tensors, const zrt__safetensors_tensor *tensors,
                                          size_t max_file_bytes, zrt__safetensors_writer **writer_out);
/* The same into one file FOLDER/NAME, which says nothing of the folder's model. */
zrt_status zrt__safetensors_writer_create_file(const char *folder, const char *name, size_t n_tensors,
                                               const zrt__safetensors_tensor *tensors,
                                               zrt__safetensors_writer **writer_out);
/* The next n elements, of `dtype`, converted to the dtype of the tensor they belong to. They may be part of a tensor but
 * not cross into the next one. Integers are not converted. */
zrt_status zrt__safetensors_writer_append(zrt__safetensors_writer *writer, const void *data, zrt_dtype dtype,
                                          int64_t n);
/* Flushes, renames into place, removes files of an earlier save that would now contradict this one, and destroys the writer. All data must have
 * been appended. On failure nothing that was there before is lost but, where both saves are sharded, the index: then the
 * folder does not open rather than open half new. The writer is destroyed either way. */
zrt_status zrt__safetensors_writer_commit(zrt__safetensors_writer **writer);
/* Gives up: removes the temporary files. NULL is accepted. */
void zrt__safetensors_writer_destroy(zrt__safetensors_writer **writer);

#endif
