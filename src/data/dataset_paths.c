#include "config.h"

#include "data/dataset_paths.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/token_file.h"

typedef struct path_list {
    zrt__data_path *files;
    size_t n, capacity;
} path_list;

static zrt_status append(path_list *list, const char *path, const char *object, bool from_wildcard)
{
    zrt__data_path file = {.from_wildcard = from_wildcard};

    ZRT_TRY(zrt__grow(&list->files, &list->capacity, list->n, sizeof *list->files));
    file.path = zrt__strdup(path);
    if (file.path == NULL)
        return ZRT_ERR_MEMORY;
    if (object != NULL && (file.object = zrt__strdup(object)) == NULL) {
        free(file.path);
        return ZRT_ERR_MEMORY;
    }
    list->files[list->n++] = file;
    return ZRT_OK;
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* One path as it was given, without the ":/dataset". A file that has such a name is meant as it is. */
static zrt_status expand_one(path_list *list, const char *path, const char *object)
{
    struct stat info;
    glob_t found = {0};
    int result;
    zrt_status status = ZRT_OK;

    if (strpbrk(path, "*?[") == NULL || lstat(path, &info) == 0)
        return append(list, path, object, false);
    result = glob(path, GLOB_NOSORT, NULL, &found);
    if (result == GLOB_NOSPACE)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: out of host memory for the files that match", path);
    if (result == GLOB_ABORTED)
        status = zrt__fail(ZRT_ERR_IO, "%s: a folder cannot be read", path);
    else if (result == GLOB_NOMATCH)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: no file matches; check the path and the wildcards", path);
    else
        qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, compare_words);
    for (size_t i = 0, n_kept = list->n; status == ZRT_OK && i < found.gl_pathc; i++) {
        if (stat(found.gl_pathv[i], &info) != 0 || !S_ISDIR(info.st_mode))
            status = append(list, found.gl_pathv[i], object, true);
        if (status == ZRT_OK && i + 1 == found.gl_pathc && list->n == n_kept)
            status = zrt__fail(ZRT_ERR_INPUT, "%s: only folders match; name the files in them, for example '%s/*.txt'",
                               path, path);
    }
    globfree(&found);
    return status;
}

/* "file.h5:/tokens": the colon after a name that HDF5 files have. NULL: there is none. */
static const char *find_object(const char *path)
{
    const char *colon = strrchr(path, ':');

    return colon != NULL && zrt__token_file_is_hdf5(path, (size_t)(colon - path)) ? colon : NULL;
}

zrt_status zrt__data_paths_expand(const char *const *paths, int n_paths, zrt__data_path **files_out, size_t *n_out)
{
    path_list list = {0};
    zrt_status status = ZRT_OK;

    for (int i = 0; i < n_paths && status == ZRT_OK; i++) {
        const char *colon = find_object(paths[i]);
        char *path;

        if (colon != NULL && colon[1] == '\0') {
            status = zrt__fail(ZRT_ERR_INPUT, "%s: the name of a dataset must follow the colon", paths[i]);
            break;
        }
        path = zrt__strdup(paths[i]);
        if (path == NULL) {
            status = ZRT_ERR_MEMORY;
            break;
        }
        if (colon != NULL)
            path[colon - paths[i]] = '\0';
        status = expand_one(&list, path, colon != NULL ? colon + 1 : NULL);
        free(path);
    }
    if (status != ZRT_OK) {
        zrt__data_paths_destroy(&list.files, list.n);
        return status;
    }
    *files_out = list.files;
    *n_out = list.n;
    return ZRT_OK;
}

void zrt__data_paths_destroy(zrt__data_path **files, size_t n)
{
    for (size_t i = 0; *files != NULL && i < n; i++) {
        free((*files)[i].path);
        free((*files)[i].object);
    }
    free(*files);
    *files = NULL;
}
