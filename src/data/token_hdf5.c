#include "config.h"

#include <hdf5.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hdf5_lock.h"
#include "base/log.h"
#include "data/token_format.h"

struct zrt__hdf5_tokens {
    hid_t file, dataset, space;
};

/* HDF5 prints its errors by itself unless told not to: a program's own setting comes back on leaving. */
typedef struct quiet {
    H5E_auto2_t print;
    void *user;
} quiet;

static quiet enter(void)
{
    quiet saved = {0};

    zrt__hdf5_lock();
    H5Eget_auto2(H5E_DEFAULT, &saved.print, &saved.user);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return saved;
}

static void leave(quiet saved)
{
    H5Eset_auto2(H5E_DEFAULT, saved.print, saved.user);
    zrt__hdf5_unlock();
}

/* The innermost of HDF5's recorded errors, which names the cause. */
static herr_t keep_description(unsigned n, const H5E_error2_t *error, void *user)
{
    (void)n;
    if (error->desc != NULL)
        snprintf(user, 256, "%s", error->desc);
    return 0;
}

static zrt_status fail_hdf5(zrt_status status, const char *name, const char *what)
{
    char cause[256] = "unknown cause";

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_description, cause);
    return zrt__fail(status, "%s: %s: %s", name, what, cause);
}

/* What H5Ovisit looks for: datasets of integers with one or two dimensions. */
typedef struct search {
    char *first, *named; /* the first by name, and the first that is called as tokens are */
    int n_found;
    bool out_of_memory;
} search;

static int dimensions_if_tokens(hid_t dataset)
{
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    int n_dims = -1;

    if (type >= 0 && space >= 0 && H5Tget_class(type) == H5T_INTEGER)
        n_dims = H5Sget_simple_extent_ndims(space);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return n_dims;
}

static herr_t visit(hid_t object, const char *name, const H5O_info_t *info, void *user)
{
    search *found = user;
    const char *leaf = strrchr(name, '/');
    hid_t dataset;
    int n_dims;

    if (info->type != H5O_TYPE_DATASET)
        return 0;
    dataset = H5Dopen2(object, name, H5P_DEFAULT);
    if (dataset < 0)
        return 0;
    n_dims = dimensions_if_tokens(dataset);
    H5Dclose(dataset);
    if (n_dims != 1 && n_dims != 2)
        return 0;
    found->n_found++;
    leaf = leaf != NULL ? leaf + 1 : name;
    if (found->first == NULL)
        found->out_of_memory |= (found->first = zrt__strdup(name)) == NULL;
    if (found->named == NULL && (strcmp(leaf, "tokens") == 0 || strcmp(leaf, "input_ids") == 0))
        found->out_of_memory |= (found->named = zrt__strdup(name)) == NULL;
    return found->out_of_memory ? -1 : 0;
}

/* The dataset to read where none was named; gives a string. */
static zrt_status choose_dataset(hid_t file, const char *path, char **object_out)
{
    search found = {0};
    herr_t visited = H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, visit, &found, H5O_INFO_BASIC);
    zrt_status status = ZRT_OK;

    if (found.out_of_memory)
        status = ZRT_ERR_MEMORY;
    else if (visited < 0)
        status = fail_hdf5(ZRT_ERR_INPUT, path, "its content cannot be listed, so it is damaged");
    else if (found.n_found == 0)
        status = zrt__fail(ZRT_ERR_INPUT,
                           "%s: has no dataset of integers with one or two dimensions; write the tokens as one", path);
    if (status != ZRT_OK) {
        free(found.first);
        free(found.named);
        return status;
    }
    if (found.named == NULL) {
        found.named = found.first;
        found.first = NULL;
    }
    if (found.n_found > 1)
        zrt__log(ZRT_LOG_WARNING, "%s: %d datasets could be tokens; '%s' is read, name another as '%s:/NAME'", path,
                 found.n_found, found.named, path);
    free(found.first);
    *object_out = found.named;
    return ZRT_OK;
}

/* A chunk that does not fit the cache is read and unpacked again for every row that touches it. */
static hid_t access_list(hid_t file, const char *object)
{
    hid_t list = H5Pcreate(H5P_DATASET_ACCESS), dataset = H5Dopen2(file, object, H5P_DEFAULT), creation = -1, type = -1;
    hsize_t chunk[2];
    int n_dims;

    if (list >= 0 && dataset >= 0 && (creation = H5Dget_create_plist(dataset)) >= 0 &&
        H5Pget_layout(creation) == H5D_CHUNKED && (type = H5Dget_type(dataset)) >= 0 &&
        (n_dims = H5Pget_chunk(creation, 2, chunk)) >= 1 && n_dims <= 2) {
        double bytes = 8.0 * (double)chunk[0] * (n_dims == 2 ? (double)chunk[1] : 1.0) * (double)H5Tget_size(type);
        double least = 1048576.0, most = 67108864.0;
        H5Pset_chunk_cache(list, 1009, (size_t)(bytes < least ? least : bytes > most ? most : bytes), 1.0);
    }
    if (type >= 0)
        H5Tclose(type);
    if (creation >= 0)
        H5Pclose(creation);
    if (dataset >= 0)
        H5Dclose(dataset);
    return list;
}

static zrt_status fill(zrt__hdf5_tokens *hdf5, zrt__token_file *file)
{
    hsize_t dims[2] = {0, 0};
    int n_dims = dimensions_if_tokens(hdf5->dataset);

    if (n_dims < 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: tokens must be integers; write the dataset again as integers", file->name);
    if (n_dims != 1 && n_dims != 2)
        return zrt__fail(ZRT_ERR_INPUT, "%s: has %d dimensions; tokens come as a stream of one or as rows of two",
                         file->name, n_dims);
    hdf5->space = H5Dget_space(hdf5->dataset);
    if (hdf5->space < 0 || H5Sget_simple_extent_dims(hdf5->space, dims, NULL) < 0)
        return fail_hdf5(ZRT_ERR_INPUT, file->name, "its shape cannot be read");
    file->n_dims = n_dims;
    file->n_rows = n_dims == 2 ? (int64_t)dims[0] : 0;
    file->width = n_dims == 2 ? (int64_t)dims[1] : 0;
    file->n_tokens = n_dims == 2 ? (int64_t)(dims[0] * dims[1]) : (int64_t)dims[0];
    if (file->n_tokens == 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: holds no tokens; leave it out", file->name);
    return ZRT_OK;
}

static zrt_status open_dataset(const char *object, zrt__hdf5_tokens *hdf5, zrt__token_file *file)
{
    char *chosen = NULL, *name;
    zrt_status status = ZRT_OK;
    hid_t access;

    if (H5Fis_hdf5(file->path) <= 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: is no HDF5 file or a damaged one; write or copy it again", file->path);
    hdf5->file = H5Fopen(file->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (hdf5->file < 0)
        return fail_hdf5(ZRT_ERR_INPUT, file->path, "is a damaged HDF5 file, or another program writes to it");
    if (object == NULL) {
        ZRT_TRY(choose_dataset(hdf5->file, file->path, &chosen));
        object = chosen;
    }
    name = zrt__format("%s:%s%s", file->path, object[0] == '/' ? "" : "/", object);
    if (name == NULL) {
        free(chosen);
        return ZRT_ERR_MEMORY;
    }
    free(file->name);
    file->name = name;
    access = access_list(hdf5->file, object);
    hdf5->dataset = access < 0 ? -1 : H5Dopen2(hdf5->file, object, access);
    if (access >= 0)
        H5Pclose(access);
    if (hdf5->dataset < 0)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: the file has no such dataset; `h5ls -r %s` lists what it has", name,
                           file->path);
    free(chosen);
    return status != ZRT_OK ? status : fill(hdf5, file);
}

zrt_status zrt__token_format_hdf5(const char *object, zrt__token_file *file)
{
    zrt__hdf5_tokens *hdf5 = zrt__malloc(sizeof *hdf5);
    quiet saved;
    zrt_status status;

    if (hdf5 == NULL)
        return ZRT_ERR_MEMORY;
    hdf5->file = hdf5->dataset = hdf5->space = -1;
    file->hdf5 = hdf5; /* closed with the file, whatever happens below */
    saved = enter();
    status = open_dataset(object, hdf5, file);
    leave(saved);
    return status;
}

void zrt__token_hdf5_close(zrt__hdf5_tokens **hdf5)
{
    quiet saved;

    if (*hdf5 == NULL)
        return;
    saved = enter();
    if ((*hdf5)->space >= 0)
        H5Sclose((*hdf5)->space);
    if ((*hdf5)->dataset >= 0)
        H5Dclose((*hdf5)->dataset);
    if ((*hdf5)->file >= 0)
        H5Fclose((*hdf5)->file);
    leave(saved);
    free(*hdf5);
    *hdf5 = NULL;
}

zrt_status zrt__token_hdf5_read(const zrt__token_file *file, int64_t first, int64_t n, int64_t *tokens)
{
    zrt__hdf5_tokens *hdf5 = file->hdf5;
    hsize_t start[2] = {(hsize_t)first, 0}, count[2] = {(hsize_t)n, 1}, length = (hsize_t)n;
    hid_t memory;
    quiet saved = enter();
    zrt_status status = ZRT_OK;

    if (file->n_dims == 2) {
        start[0] = (hsize_t)(first / file->width);
        start[1] = (hsize_t)(first % file->width);
        count[0] = 1;
        count[1] = (hsize_t)n;
    }
    memory = H5Screate_simple(1, &length, NULL);
    if (memory < 0 || H5Sselect_hyperslab(hdf5->space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(hdf5->dataset, H5T_NATIVE_INT64, memory, hdf5->space, H5P_DEFAULT, tokens) < 0)
        status = fail_hdf5(ZRT_ERR_IO, file->name, "cannot be read");
    if (memory >= 0)
        H5Sclose(memory);
    leave(saved);
    return status;
}
