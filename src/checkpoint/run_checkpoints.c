#include "config.h"

#include "checkpoint/run_checkpoints.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"

#define TRASH ".trash-checkpoint-"
#define LOCK ".lock"

char *zrt__checkpoint_path(const char *folder, const char *prefix, int64_t step)
{
    return zrt__format("%s/%s%" PRId64, folder, prefix, step);
}

bool zrt__is_checkpoint(const char *folder)
{
    struct stat info;
    char *path = zrt__format("%s/" ZRT__MANIFEST_NAME, folder);
    bool found = path != NULL && lstat(path, &info) == 0;
    free(path);
    return found;
}

/* The step of a name that this library would give; -1: it is none. */
static int64_t step_of(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    const char *digits = name + length;
    if (strncmp(name, prefix, length) != 0)
        return -1;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 18 || digits[n] != '\0' || (digits[0] == '0' && n > 1))
        return -1;
    return strtoll(digits, NULL, 10);
}

static int descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static int64_t read_latest(const char *folder)
{
    char *path = zrt__format("%s/" ZRT__LATEST_NAME, folder), *text = NULL;
    size_t bytes = 0;
    int64_t step = -1;
    if (path != NULL && zrt__disk_read_whole(path, 256, &text, &bytes) == ZRT_OK) {
        text[strcspn(text, "\n")] = '\0';
        step = step_of(text, ZRT__CHECKPOINT_PREFIX);
    }
    free(text);
    free(path);
    return step;
}

zrt_status zrt__checkpoint_list(const char *folder, int64_t **steps_out, size_t *n_out)
{
    int64_t *steps = NULL;
    size_t n = 0, capacity = 0;
    *steps_out = NULL;
    *n_out = 0;
    DIR *listing = opendir(folder);
    if (listing == NULL)
        return errno == ENOENT
                   ? ZRT_OK
                   : zrt__fail(errno == ENOTDIR ? ZRT_ERR_INPUT : ZRT_ERR_IO, "%s: %s", folder, strerror(errno));
    zrt_status status = ZRT_OK;
    for (struct dirent *entry; status == ZRT_OK && (entry = readdir(listing)) != NULL;) {
        int64_t step = step_of(entry->d_name, ZRT__CHECKPOINT_PREFIX);
        if (step < 0)
            continue;
        status = zrt__grow(&steps, &capacity, n, sizeof *steps);
        if (status == ZRT_OK)
            steps[n++] = step;
    }
    closedir(listing);
    if (status != ZRT_OK) {
        free(steps);
        return status;
    }
    if (n > 1)
        qsort(steps, n, sizeof *steps, descending);
    int64_t latest = n > 0 ? read_latest(folder) : -1;
    for (size_t i = 1; i < n; i++)
        if (steps[i] == latest) {
            memmove(steps + 1, steps, i * sizeof *steps);
            steps[0] = latest;
        }
    *steps_out = steps;
    *n_out = n;
    return ZRT_OK;
}

/* ---- commit ---- */

/* Puts `from` in the place of `to`, which may be there. */
static zrt_status move_in(const char *folder, const char *from, const char *to, int64_t step)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return ZRT_OK;
    if (errno == EEXIST) {
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) {
            zrt__disk_remove_folder(from); /* what was there */
            return ZRT_OK;
        }
    }
    if (errno != EINVAL && errno != ENOSYS)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    /* A file system without these moves. */
    char *trash = zrt__checkpoint_path(folder, TRASH, step);
    if (trash == NULL)
        return ZRT_ERR_MEMORY;
    zrt__disk_remove_folder(trash);
    zrt_status status = ZRT_OK;
    if (rename(to, trash) != 0 && errno != ENOENT)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot rename: %s", to, strerror(errno));
    if (status == ZRT_OK)
        status = zrt__disk_rename(from, to);
    if (status == ZRT_OK)
        zrt__disk_remove_folder(trash);
    free(trash);
    return status;
}

zrt_status zrt__checkpoint_commit(const char *folder, int64_t step)
{
    char *from = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_TEMPORARY, step);
    char *to = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, step);
    char text[64];
    int length = snprintf(text, sizeof text, ZRT__CHECKPOINT_PREFIX "%" PRId64 "\n", step);
    zrt_status status = from != NULL && to != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = zrt__disk_sync_folder(from);
    if (status == ZRT_OK)
        status = move_in(folder, from, to, step);
    if (status == ZRT_OK)
        status = zrt__disk_sync_folder(folder);
    if (status == ZRT_OK)
        status = zrt__disk_replace(folder, ZRT__LATEST_NAME, text, (size_t)length);
    free(from);
    free(to);
    return status;
}

/* ---- what goes ---- */

typedef struct candidate {
    int64_t step;
    double score; /* the smaller the better */
    uint64_t kind;
    bool kept;
} candidate;

static int by_score(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return (x->step > y->step) - (x->step < y->step); /* what was as good before stays */
}

static void discard(const char *folder, int64_t step)
{
    char *path = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, step);
    char *trash = zrt__checkpoint_path(folder, TRASH, step);
    if (path != NULL && trash != NULL) {
        zrt__disk_remove_folder(trash);
        /* First out of the way, so that what is half removed is no checkpoint. */
        if (rename(path, trash) != 0)
            zrt__log(ZRT_LOG_WARNING, "%s: cannot be removed: %s", path, strerror(errno));
        else
            zrt__disk_remove_folder(trash);
    }
    free(path);
    free(trash);
}

/* Those whose manifest can be read, that of `saved` first and the others from the newest on. */
static size_t find_candidates(const char *folder, int64_t saved, const int64_t *steps, size_t n, candidate *found)
{
    size_t n_found = 1;
    found[0] = (candidate){.step = saved, .score = (double)NAN};
    for (size_t i = 0; i < n; i++) {
        zrt__manifest manifest;
        char *path = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, steps[i]);
        if (path != NULL && zrt__manifest_read(path, &manifest) == ZRT_OK) {
            candidate *c = steps[i] == saved ? &found[0] : &found[n_found++];
            c->step = steps[i];
            c->score = zrt__manifest_score(&manifest, &c->kind);
            zrt__manifest_free(&manifest);
        }
        free(path);
    }
    return n_found;
}

void zrt__checkpoint_prune(const char *folder, int64_t saved, int64_t last, int64_t best)
{
    int64_t *steps = NULL;
    size_t n = 0;
    if (last <= 0 || zrt__checkpoint_list(folder, &steps, &n) != ZRT_OK)
        return;
    candidate *found = zrt__calloc(n + 1, sizeof *found);
    if (found != NULL) {
        size_t n_found = find_candidates(folder, saved, steps, n, found), n_scored = 0;
        uint64_t kind = found[0].kind;
        for (size_t i = 0; i < n_found; i++)
            found[i].kept = (int64_t)i < last;
        /* Those with the metric of the one that was saved to the front, the best first. */
        for (size_t i = 0; i < n_found; i++)
            if (isfinite(found[i].score) && found[i].kind == kind) {
                candidate scored = found[i];
                found[i] = found[n_scored];
                found[n_scored++] = scored;
            }
        if (n_scored > 1)
            qsort(found, n_scored, sizeof *found, by_score);
        for (size_t i = 0; i < n_scored && (int64_t)i < best; i++)
            found[i].kept = true;
        for (size_t i = 0; i < n_found; i++)
            if (!found[i].kept)
                discard(folder, found[i].step);
        free(found);
    }
    free(steps);
}

/* ---- one process a folder ---- */

static void remove_leftovers(const char *folder)
{
    DIR *listing = opendir(folder);
    if (listing == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        bool is_folder = step_of(entry->d_name, ZRT__CHECKPOINT_TEMPORARY) >= 0 || step_of(entry->d_name, TRASH) >= 0;
        if (!is_folder && strcmp(entry->d_name, "." ZRT__LATEST_NAME ".tmp") != 0)
            continue;
        char *path = zrt__format("%s/%s", folder, entry->d_name);
        if (path != NULL && is_folder)
            zrt__disk_remove_folder(path);
        else if (path != NULL)
            unlink(path);
        free(path);
    }
    closedir(listing);
}

zrt_status zrt__run_folder_claim(const char *folder, int *lock_out)
{
    *lock_out = -1;
    char *path = zrt__format("%s/" LOCK, folder), *parent = zrt__format("%s/..", folder);
    zrt_status status = path != NULL && parent != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (status == ZRT_OK && mkdir(folder, 0777) != 0 && errno != EEXIST)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot make the folder: %s", folder, strerror(errno));
    if (status == ZRT_OK) {
        *lock_out = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (*lock_out < 0)
            status =
                zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s; choose another run folder", path, strerror(errno));
    }
    /* The kernel drops the lock with the process that holds it, however that ends. */
    if (status == ZRT_OK && flock(*lock_out, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            status = zrt__fail(ZRT_ERR_USAGE,
                               "run folder %s is being written by another run; choose another, or wait "
                               "until that run has ended",
                               folder);
        else if (errno != ENOLCK && errno != ENOSYS && errno != EOPNOTSUPP)
            status = zrt__fail(ZRT_ERR_IO, "%s: cannot lock: %s", path, strerror(errno));
        else
            zrt__log(ZRT_LOG_WARNING, "%s: this file system has no locks: nothing keeps a second run away", folder);
    }
    if (status == ZRT_OK) {
        remove_leftovers(folder);
        zrt__disk_sync_folder(parent);
    } else
        zrt__run_folder_release(lock_out);
    free(path);
    free(parent);
    return status;
}

void zrt__run_folder_release(int *lock)
{
    if (*lock >= 0)
        close(*lock);
    *lock = -1;
}
