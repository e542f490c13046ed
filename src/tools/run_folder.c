#include "config.h"

#include "tools/run_folder.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/tool_report.h"

#define PARENT "zerort-runs"
/* What only a run has: a folder with it is not written again. */
#define MARK "resolved.json"

static zrt_status unwritable(const char *folder, int error)
{
    return tool_fail(ZRT_ERR_IO, "output folder '%s': %s; choose another with --output-dir", folder, strerror(error));
}

static zrt_status holds_run(const char *folder)
{
    return tool_fail(
        ZRT_ERR_USAGE,
        "output folder '%s' already holds a run (%s); choose another with --output-dir, remove it, or go on from "
        "it with --resume-from-checkpoint auto",
        folder, MARK);
}

zrt_status run_folder_path(const char *folder, const char *name, char **path_out)
{
    if (asprintf(path_out, "%s/%s", folder, name) >= 0)
        return ZRT_OK;
    *path_out = NULL;
    return tool_fail(ZRT_ERR_MEMORY, "out of memory for the name of '%s'", name);
}

static zrt_status refuse_existing_run(const char *folder)
{
    char *mark;
    ZRT_TRY(run_folder_path(folder, MARK, &mark));
    zrt_status status = access(mark, F_OK) == 0 ? holds_run(folder) : ZRT_OK;
    free(mark);
    return status;
}

zrt_status run_folder_check(const char *given, bool takes_run)
{
    const char *folder = given ? given : PARENT;
    char path[PATH_MAX];
    if (!*folder || strlen(folder) >= sizeof path)
        return unwritable(folder, *folder ? ENAMETOOLONG : ENOENT);
    if (given && !takes_run)
        ZRT_TRY(refuse_existing_run(given));
    /* The nearest folder that is there decides. */
    snprintf(path, sizeof path, "%s", folder);
    for (;;) {
        struct stat info;
        if (stat(path, &info) == 0) {
            if (!S_ISDIR(info.st_mode))
                return unwritable(folder, ENOTDIR);
            return access(path, W_OK | X_OK) == 0 ? ZRT_OK : unwritable(folder, errno);
        }
        if (errno != ENOENT)
            return unwritable(folder, errno);
        char *slash = strrchr(path, '/');
        if (slash && slash != path)
            *slash = '\0';
        else
            snprintf(path, sizeof path, "%s", slash ? "/" : ".");
    }
}

/* mkdir -p of all but the last part. */
static int make_parents(const char *folder)
{
    char path[PATH_MAX];
    if (strlen(folder) >= sizeof path)
        return ENAMETOOLONG;
    snprintf(path, sizeof path, "%s", folder);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return errno;
        *slash = '/';
    }
    return 0;
}

zrt_status run_folder_create(const char *given, bool takes_run, char **path_out)
{
    *path_out = NULL;
    if (given) {
        int error = make_parents(given);
        if (error == 0 && mkdir(given, 0777) != 0 && errno != EEXIST)
            error = errno;
        if (error)
            return unwritable(given, error);
        if (!takes_run)
            ZRT_TRY(refuse_existing_run(given));
        *path_out = strdup(given);
        return *path_out ? ZRT_OK : tool_fail(ZRT_ERR_MEMORY, "out of memory for the name of the output folder");
    }

    char name[64], stamp[32];
    time_t now = time(NULL);
    struct tm local;
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
    if (mkdir(PARENT, 0777) != 0 && errno != EEXIST)
        return unwritable(PARENT, errno);
    /* mkdir decides between runs that start in the same second. */
    for (int again = 1; again < 1000; again++) {
        snprintf(name, sizeof name, again == 1 ? "%s/%s" : "%s/%s-%d", PARENT, stamp, again);
        if (mkdir(name, 0777) == 0) {
            *path_out = strdup(name);
            return *path_out ? ZRT_OK : tool_fail(ZRT_ERR_MEMORY, "out of memory for the name of the output folder");
        }
        if (errno != EEXIST)
            return unwritable(name, errno);
    }
    return unwritable(name, EEXIST);
}

zrt_status run_folder_begin(const char *folder, const char *name, FILE **file_out)
{
    char *path, part[NAME_MAX];
    snprintf(part, sizeof part, "%s.part", name);
    *file_out = NULL;
    ZRT_TRY(run_folder_path(folder, part, &path));
    *file_out = fopen(path, "wb");
    zrt_status status = *file_out ? ZRT_OK : tool_fail(ZRT_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    free(path);
    return status;
}

zrt_status run_folder_commit(const char *folder, const char *name, FILE *file)
{
    char *from = NULL, *to = NULL, part[NAME_MAX];
    snprintf(part, sizeof part, "%s.part", name);
    zrt_status status = run_folder_path(folder, part, &from);
    if (status == ZRT_OK)
        status = run_folder_path(folder, name, &to);
    bool written = !ferror(file);
    written = fclose(file) == 0 && written;
    if (status == ZRT_OK && (!written || rename(from, to) != 0)) {
        status = tool_fail(ZRT_ERR_IO, "%s: cannot write: %s", to, strerror(errno));
        unlink(from);
    }
    free(from);
    free(to);
    return status;
}

zrt_status run_folder_write(const char *folder, const char *name, const char *text)
{
    FILE *file;
    ZRT_TRY(run_folder_begin(folder, name, &file));
    fputs(text, file);
    return run_folder_commit(folder, name, file);
}
