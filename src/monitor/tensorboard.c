#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "monitor/monitor.h"

/* An event file is a sequence of TFRecords: the length (uint64), a masked CRC32C of it, the message, a masked CRC32C of that.
 * The message is tensorflow's Event (core/util/event.proto): 1 wall_time double, 2 step int64, 3 file_version string,
 * 5 summary { 1 value { 1 tag string, 2 simple_value float } }. */
enum { FRAME_BYTES = 16, MAX_EVENT_BYTES = 512, WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct message {
    unsigned char data[MAX_EVENT_BYTES];
    size_t n;
    bool is_full;
} message;

static void put(message *out, const void *data, size_t n)
{
    if (n > sizeof out->data - out->n) {
        out->is_full = true;
        return;
    }
    memcpy(out->data + out->n, data, n);
    out->n += n;
}

static void put_varint(message *out, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(out, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static void put_key(message *out, unsigned field, unsigned wire)
{
    put_varint(out, field << 3 | wire);
}

static void put_bytes(message *out, unsigned field, const void *data, size_t n)
{
    put_key(out, field, WIRE_BYTES);
    put_varint(out, n);
    put(out, data, n);
}

static uint32_t masked_crc(const void *data, size_t n)
{
    uint32_t crc = zrt__crc32c(0, data, n);

    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

size_t zrt__tensorboard_record(double wall_time, const zrt__point *point, unsigned char *record, size_t capacity)
{
    static const char version[] = "brain.Event:2";
    message event = {.n = 0}, value = {.n = 0}, summary = {.n = 0};
    uint64_t length;
    uint32_t crc;

    put_key(&event, 1, WIRE_64);
    put(&event, &wall_time, sizeof wall_time);
    if (point == NULL) {
        put_bytes(&event, 3, version, sizeof version - 1);
    } else {
        float simple = (float)point->value;

        put_key(&event, 2, WIRE_VARINT);
        put_varint(&event, (uint64_t)point->step);
        put_bytes(&value, 1, point->tag, strlen(point->tag));
        put_key(&value, 2, WIRE_32);
        put(&value, &simple, sizeof simple);
        put_bytes(&summary, 1, value.data, value.n);
        put_bytes(&event, 5, summary.data, summary.n);
    }
    if (event.is_full || value.is_full || summary.is_full || event.n + FRAME_BYTES > capacity)
        return 0;
    length = event.n; /* little-endian, as the machine */
    memcpy(record, &length, 8);
    crc = masked_crc(&length, 8);
    memcpy(record + 8, &crc, 4);
    memcpy(record + 12, event.data, event.n);
    crc = masked_crc(event.data, event.n);
    memcpy(record + 12 + event.n, &crc, 4);
    return event.n + FRAME_BYTES;
}

struct zrt__tensorboard {
    zrt__append_file file;
};

zrt_status zrt__tensorboard_create(const char *folder, zrt__tensorboard **tensorboard_out)
{
    unsigned char record[MAX_EVENT_BYTES + FRAME_BYTES];
    char host[256] = "";
    zrt__tensorboard *tensorboard;
    struct timeval now;
    char *path = NULL;
    size_t n;
    zrt_status status;

    *tensorboard_out = NULL;
    tensorboard = zrt__calloc(1, sizeof *tensorboard);
    if (tensorboard == NULL)
        return ZRT_ERR_MEMORY;
    tensorboard->file.fd = -1;
    status = zrt__make_folders(folder);
    gettimeofday(&now, NULL);
    gethostname(host, sizeof host - 1);
    /* TensorBoard finds files by "tfevents" and reads them in the order of their names. */
    if (status == ZRT_OK &&
        (path = zrt__format("%s/events.out.tfevents.%010lld.%s.%ld.%06ld", folder, (long long)now.tv_sec, host,
                            (long)getpid(), (long)now.tv_usec)) == NULL)
        status = ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = zrt__append_file_open(path, false, &tensorboard->file);
    if (status == ZRT_OK) {
        n = zrt__tensorboard_record((double)now.tv_sec + 1e-6 * (double)now.tv_usec, NULL, record, sizeof record);
        status = zrt__append_file_write(&tensorboard->file, record, n);
    }
    free(path);
    if (status != ZRT_OK) {
        zrt__tensorboard_destroy(&tensorboard);
        return status;
    }
    *tensorboard_out = tensorboard;
    return ZRT_OK;
}

zrt_status zrt__tensorboard_write(zrt__tensorboard *tensorboard, double wall_time, const zrt__point *points, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char record[MAX_EVENT_BYTES + FRAME_BYTES];
        size_t bytes = zrt__tensorboard_record(wall_time, &points[i], record, sizeof record);

        ZRT_TRY(zrt__append_file_write(&tensorboard->file, record, bytes));
    }
    return ZRT_OK;
}

void zrt__tensorboard_destroy(zrt__tensorboard **tensorboard)
{
    if (*tensorboard == NULL)
        return;
    zrt__append_file_close(&(*tensorboard)->file);
    free(*tensorboard);
    *tensorboard = NULL;
}
