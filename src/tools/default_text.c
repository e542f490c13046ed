#include "config.h"

#include "tools/default_text.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/tool_report.h"

/* The project's sources suffice where they are: the same text on every machine. Without them the system's make up for it. */
#define WANTED_BYTES (1 << 20)
#define LEAST_BYTES (256 << 10)
/* Tables of numbers and generated registers teach nothing about text. */
#define LARGEST_FILE (256 << 10)

static const char *const project_patterns[] = {"include/zerort/*.h", "src/*/*.[ch]",  "src/*/*/*.[ch]",
                                               "test/*.[ch]",        "test/*/*.[ch]", NULL};
static const char *const system_patterns[] = {"/usr/include/*.h",
                                              "/usr/include/*/*.h",
                                              "/usr/include/*/*/*.h",
                                              "/usr/lib/python3*/*.py",
                                              "/usr/lib/python3*/*/*.py",
                                              "/usr/share/perl/*/*.pm",
                                              "/usr/share/perl/*/*/*.pm",
                                              "/usr/lib/*/perl-base/*.pm",
                                              "/usr/lib/*/perl-base/*/*.pm",
                                              NULL};

static zrt_status add_file(default_text *text, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0 || info.st_size > LARGEST_FILE ||
        access(path, R_OK) != 0)
        return ZRT_OK;
    if (text->n_paths == text->capacity) {
        size_t capacity = text->capacity ? 2 * text->capacity : 256;
        char **paths = realloc(text->paths, capacity * sizeof *paths);
        if (!paths)
            return tool_fail(ZRT_ERR_MEMORY, "out of memory for the list of text files");
        text->paths = paths;
        text->capacity = capacity;
    }
    text->paths[text->n_paths] = strdup(path);
    if (!text->paths[text->n_paths])
        return tool_fail(ZRT_ERR_MEMORY, "out of memory for the list of text files");
    text->n_paths++;
    text->bytes += info.st_size;
    return ZRT_OK;
}

static zrt_status add_pattern(default_text *text, const char *folder, const char *pattern)
{
    char *whole;
    if (asprintf(&whole, "%s%s%s", folder, *folder ? "/" : "", pattern) < 0)
        return tool_fail(ZRT_ERR_MEMORY, "out of memory for the list of text files");
    /* Byte order, whatever the locale: the same on every rank. */
    glob_t found;
    zrt_status status = ZRT_OK;
    size_t before = text->n_paths;
    if (glob(whole, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && status == ZRT_OK && (*folder || text->bytes < WANTED_BYTES); i++)
            status = add_file(text, found.gl_pathv[i]);
        globfree(&found);
    }
    size_t used = strlen(text->places);
    if (text->n_paths > before)
        snprintf(text->places + used, sizeof text->places - used, "%s%s", used ? ", " : "", whole);
    free(whole);
    return status;
}

/* A folder that holds the project's sources. */
static bool is_project(const char *folder)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/include/zerort/engine.h", folder);
    return length > 0 && (size_t)length < sizeof path && access(path, R_OK) == 0;
}

/* Where the program was built, or above where it lies when the tree was moved. */
static bool find_project(char folder[PATH_MAX])
{
    snprintf(folder, PATH_MAX, "%s", ZRT_SOURCE_DIR);
    if (is_project(folder))
        return true;
    ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    if (length <= 0)
        return false;
    folder[length] = '\0';
    for (char *slash = strrchr(folder, '/'); slash && slash != folder; slash = strrchr(folder, '/')) {
        *slash = '\0';
        if (is_project(folder))
            return true;
    }
    return false;
}

zrt_status default_text_collect(default_text *text_out)
{
    char folder[PATH_MAX];
    *text_out = (default_text){0};
    zrt_status status = ZRT_OK;
    if (find_project(folder))
        for (size_t i = 0; project_patterns[i] && status == ZRT_OK; i++)
            status = add_pattern(text_out, folder, project_patterns[i]);
    for (size_t i = 0; system_patterns[i] && status == ZRT_OK && text_out->bytes < WANTED_BYTES; i++)
        status = add_pattern(text_out, "", system_patterns[i]);
    if (status == ZRT_OK && text_out->bytes < LEAST_BYTES)
        status = tool_fail(ZRT_ERR_INPUT, "found no text to train on by default; name files with --train-file");
    if (status != ZRT_OK)
        default_text_release(text_out);
    return status;
}

void default_text_release(default_text *text)
{
    for (size_t i = 0; i < text->n_paths; i++)
        free(text->paths[i]);
    free(text->paths);
    *text = (default_text){0};
}
