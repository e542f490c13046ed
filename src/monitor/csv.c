#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "monitor/monitor.h"

typedef struct csv_file {
    char *tag;
    zrt__append_file file;
} csv_file;

struct zrt__csv {
    char *folder;
    csv_file *files;
    size_t n, capacity;
};

zrt_status zrt__csv_create(const char *folder, zrt__csv **csv_out)
{
    zrt__csv *csv = zrt__calloc(1, sizeof *csv);
    zrt_status status = ZRT_ERR_MEMORY;

    *csv_out = NULL;
    if (csv != NULL && (csv->folder = zrt__strdup(folder)) != NULL)
        status = zrt__make_folders(folder);
    if (status != ZRT_OK) {
        zrt__csv_destroy(&csv);
        return status;
    }
    *csv_out = csv;
    return ZRT_OK;
}

void zrt__csv_destroy(zrt__csv **csv)
{
    if (*csv == NULL)
        return;
    for (size_t i = 0; i < (*csv)->n; i++) {
        free((*csv)->files[i].tag);
        zrt__append_file_close(&(*csv)->files[i].file);
    }
    free((*csv)->files);
    free((*csv)->folder);
    free(*csv);
    *csv = NULL;
}

/* DeepSpeed's names: "Train/Samples/train_loss" goes to Train_Samples_train_loss.csv under the header "step,train_loss". */
static zrt_status open_file(zrt__csv *csv, const char *tag, csv_file *file)
{
    const char *slash = strrchr(tag, '/');
    char *path = NULL, *header = NULL;
    zrt_status status = ZRT_ERR_MEMORY;

    file->file.fd = -1;
    file->file.path = NULL;
    file->tag = zrt__strdup(tag);
    path = zrt__format("%s/%s.csv", csv->folder, tag);
    header = zrt__format("step,%s\r\n", slash != NULL ? slash + 1 : tag);
    if (file->tag != NULL && path != NULL && header != NULL) {
        for (char *at = path + strlen(csv->folder) + 1; *at != '\0'; at++) {
            if (*at == '/' || *at == ' ')
                *at = '_';
        }
        status = zrt__append_file_open(path, true, &file->file);
    }
    /* A run that goes on keeps to the one header. */
    if (status == ZRT_OK && zrt__append_file_size(&file->file) == 0)
        status = zrt__append_file_write(&file->file, header, strlen(header));
    free(path);
    free(header);
    if (status != ZRT_OK) {
        zrt__append_file_close(&file->file);
        free(file->tag);
    }
    return status;
}

static zrt_status find_file(zrt__csv *csv, const char *tag, csv_file **file_out)
{
    for (size_t i = 0; i < csv->n; i++) {
        if (strcmp(csv->files[i].tag, tag) == 0) {
            *file_out = &csv->files[i];
            return ZRT_OK;
        }
    }
    ZRT_TRY(zrt__grow(&csv->files, &csv->capacity, csv->n, sizeof *csv->files));
    ZRT_TRY(open_file(csv, tag, &csv->files[csv->n]));
    *file_out = &csv->files[csv->n++];
    return ZRT_OK;
}

zrt_status zrt__csv_write(zrt__csv *csv, const zrt__point *points, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char number[ZRT__NUMBER_BYTES], line[ZRT__NUMBER_BYTES + 32];
        csv_file *file;
        int length;

        ZRT_TRY(find_file(csv, points[i].tag, &file));
        zrt__number_text(points[i].value, number);
        length = snprintf(line, sizeof line, "%" PRId64 ",%s\r\n", points[i].step, number);
        ZRT_TRY(zrt__append_file_write(&file->file, line, (size_t)length));
    }
    return ZRT_OK;
}
