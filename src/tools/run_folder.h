/* The folder that a run leaves: resolved.json, plan.txt, metrics.jsonl. Only rank 0 makes and writes it. */
#ifndef ZRT_TOOLS_RUN_FOLDER_H
#define ZRT_TOOLS_RUN_FOLDER_H

#include <stdbool.h>
#include <stdio.h>

#include <zerort/status.h>

/* Whether a run can go there, without touching the disk: a folder that already holds a run is ZRT_ERR_USAGE, one that cannot
 * be made or written ZRT_ERR_IO. `given` NULL: a new folder under zerort-runs. takes_run: one that holds a run will do. */
zrt_status run_folder_check(const char *given, bool takes_run);

/* Makes it, with its parents. Gives the path, released with free(). */
zrt_status run_folder_create(const char *given, bool takes_run, char **path_out);

/* Gives FOLDER/NAME, released with free(). */
zrt_status run_folder_path(const char *folder, const char *name, char **path_out);

/* Writes a whole file under another name first, so that it is there whole or not at all. */
zrt_status run_folder_write(const char *folder, const char *name, const char *text);

/* Opens a file to write; rename it by run_folder_commit. */
zrt_status run_folder_begin(const char *folder, const char *name, FILE **file_out);
zrt_status run_folder_commit(const char *folder, const char *name, FILE *file);

#endif
