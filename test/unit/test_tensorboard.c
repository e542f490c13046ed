/* TensorBoard's event files, byte by byte. The records were written by tensorboard.compat.proto and
 * tensorboard.summary.writer.record_writer of TensorBoard 2. */
#include "config.h"

#include <glob.h>

#include <zerort/monitor.h>

#include "monitor/monitor.h"
#include "scratch_folder.h"
#include "tap.h"

static const unsigned char good_version[] = {0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa3, 0x7f,
                                             0x4b, 0x22, 0x09, 0x00, 0x00, 0x20, 0x40, 0xfc, 0x54, 0xd9,
                                             0x41, 0x1a, 0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45,
                                             0x76, 0x65, 0x6e, 0x74, 0x3a, 0x32, 0x2b, 0x35, 0x31, 0x10};
static const unsigned char good_loss[] = {0x2f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6d, 0x5d, 0x1d, 0x50, 0x09,
                                          0x00, 0x00, 0x20, 0x40, 0xfc, 0x54, 0xd9, 0x41, 0x10, 0xa0, 0x01, 0x2a, 0x21,
                                          0x0a, 0x1f, 0x0a, 0x18, 0x54, 0x72, 0x61, 0x69, 0x6e, 0x2f, 0x53, 0x61, 0x6d,
                                          0x70, 0x6c, 0x65, 0x73, 0x2f, 0x74, 0x72, 0x61, 0x69, 0x6e, 0x5f, 0x6c, 0x6f,
                                          0x73, 0x73, 0x15, 0x00, 0x00, 0x50, 0x40, 0x0c, 0x16, 0x25, 0x9e};
static const unsigned char good_negative[] = {
    0x21, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x7b, 0xec, 0xf6, 0x09, 0x00, 0x00, 0x20, 0x40,
    0xfc, 0x54, 0xd9, 0x41, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x2a, 0x0b,
    0x0a, 0x09, 0x0a, 0x02, 0x6c, 0x72, 0x15, 0xac, 0xc5, 0x27, 0x37, 0x3f, 0xf7, 0xdd, 0x46};

static void test_records(void)
{
    static const zrt__point point = {"Train/Samples/train_loss", 3.25, 160}, negative = {"lr", 1e-5, -1};
    unsigned char record[512];
    char long_tag[1024];
    size_t n = zrt__tensorboard_record(1700000000.5, NULL, record, sizeof record);

    tap_ok(n == sizeof good_version && memcmp(record, good_version, n) == 0, "the record that begins a file");
    n = zrt__tensorboard_record(1700000000.5, &point, record, sizeof record);
    tap_ok(n == sizeof good_loss && memcmp(record, good_loss, n) == 0, "a point");
    n = zrt__tensorboard_record(1700000000.5, &negative, record, sizeof record);
    tap_ok(n == sizeof good_negative && memcmp(record, good_negative, n) == 0, "a point at step -1");
    tap_ok(zrt__tensorboard_record(0, &point, record, sizeof good_loss - 1) == 0, "a record that does not fit is none");
    memset(long_tag, 'x', sizeof long_tag - 1);
    long_tag[sizeof long_tag - 1] = '\0';
    tap_ok(zrt__tensorboard_record(0, &(zrt__point){long_tag, 1, 1}, record, sizeof record) == 0,
           "nor one of an endless name");
}

static void test_file(void)
{
    zrt_monitor_options options = {.tensorboard_folder = scratch_path("tb/job")};
    zrt_metrics_row row = {.step = 1, .samples = 160, .loss = 3.25, .eval_loss = 2.0};
    zrt_monitor *monitor = NULL;
    glob_t found = {0};
    size_t n = 0;
    char *data;

    tap_ok(zrt_monitor_create(NULL, &options, &monitor) == ZRT_OK && zrt_monitor_log(monitor, &row) == ZRT_OK, "a row");
    zrt_monitor_destroy(&monitor);
    glob(scratch_path("tb/job/events.out.tfevents.*"), 0, NULL, &found);
    data = found.gl_pathc == 1 ? scratch_read(found.gl_pathv[0], &n) : NULL;
    tap_ok(data != NULL && n > sizeof good_version + 6 * 60 && memcmp(data + 12 + 9, good_version + 12 + 9, 15) == 0,
           "one event file, which begins with its version");
    tap_ok(data != NULL &&
               memcmp(data + sizeof good_version + 12 + 9, good_loss + 12 + 9, sizeof good_loss - 12 - 9 - 4) == 0,
           "and goes on with the loss");
    free(data);
    globfree(&found);
}

int main(void)
{
    if (!scratch_make())
        return 99;
    test_records();
    test_file();
    scratch_remove();
    return tap_done();
}
