/* metrics.jsonl, the progress line, DeepSpeed's lines and csv files. */
#include "config.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

#include <zerort/monitor.h>

#include "monitor/monitor.h"
#include "scratch_folder.h"
#include "tap.h"

static const zrt_metrics_row sample = {.step = 10,
                                       .epoch = 0.5,
                                       .loss = 3.25,
                                       .eval_loss = NAN,
                                       .grad_norm = 0.1,
                                       .learning_rate = 1e-5,
                                       .loss_scale = 65536,
                                       .skipped = 1,
                                       .tokens = 40960,
                                       .tokens_per_second = 12345.6,
                                       .step_seconds = 0.25,
                                       .memory_bytes = 55574528,
                                       .samples = 160};

static const char sample_line[] = "{\"step\": 10, \"epoch\": 0.5, \"loss\": 3.25, \"grad_norm\": 0.1, "
                                  "\"learning_rate\": 1e-05, \"loss_scale\": 65536.0, "
                                  "\"skipped\": 1, \"tokens\": 40960, \"tokens_per_second\": 12345.6, "
                                  "\"step_seconds\": 0.25, \"memory_bytes\": 55574528}\n";

static zrt_monitor *monitor_of(zrt_monitor_options options)
{
    zrt_monitor *monitor = NULL;

    if (zrt_monitor_create(NULL, &options, &monitor) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return monitor;
}

static bool file_is(const char *path, const char *expected)
{
    size_t n = 0;
    char *text = scratch_read(path, &n);
    bool same = text != NULL && n == strlen(expected) && strcmp(text, expected) == 0;

    if (!same)
        tap_diag("%s: %s", path, text != NULL ? text : "is missing");
    free(text);
    return same;
}

static void test_numbers(void)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.0, "0.0"},
                 {-0.0, "-0.0"},
                 {1.0, "1.0"},
                 {0.1, "0.1"},
                 {1e-5, "1e-05"},
                 {0.0001, "0.0001"},
                 {1e15, "1000000000000000.0"},
                 {1e16, "1e+16"},
                 {123456.75, "123456.75"},
                 {-2.5e-7, "-2.5e-07"},
                 {1.0 / 3, "0.3333333333333333"},
                 {1e100, "1e+100"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {INFINITY, "inf"},
                 {NAN, "nan"},
                 {0.30000000000000004, "0.30000000000000004"},
                 {9007199254740993.0, "9007199254740992.0"}};
    bool good = true;
    unsigned state = 1;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[ZRT__NUMBER_BYTES];

        zrt__number_text(cases[i].value, text);
        if (strcmp(text, cases[i].text) != 0) {
            tap_diag("%s instead of %s", text, cases[i].text);
            good = false;
        }
    }
    tap_ok(good, "numbers are as Python writes them");
    good = true;
    for (int i = 0; i < 20000; i++) {
        char text[ZRT__NUMBER_BYTES];
        double value;

        state = state * 1664525u + 1013904223u;
        value = ldexp((double)state * (1.0 + 1e-9 * i), (int)(state >> 10) % 200 - 100);
        zrt__number_text(value, text);
        good = good && strtod(text, NULL) == value;
    }
    tap_ok(good, "and read back as the same");
}

static void test_metrics(void)
{
    const char *path = scratch_path("metrics.jsonl");
    zrt_metrics_row row = sample;
    char expected[4096];
    zrt_monitor *monitor = monitor_of((zrt_monitor_options){.metrics_path = path});

    tap_ok(zrt_monitor_log(monitor, &row) == ZRT_OK && file_is(path, sample_line),
           "a row is there as soon as it is logged");
    row.step = 20;
    row.eval_loss = 2.5;
    row.loss = INFINITY;
    row.grad_norm = NAN;
    zrt_monitor_log(monitor, &row);
    snprintf(expected, sizeof expected, "%s%s", sample_line,
             "{\"step\": 20, \"epoch\": 0.5, \"loss\": null, \"eval_loss\": 2.5, "
             "\"eval_perplexity\": 12.182493960703473, \"grad_norm\": null, "
             "\"learning_rate\": 1e-05, "
             "\"loss_scale\": 65536.0, \"skipped\": 1, \"tokens\": 40960, \"tokens_per_second\": 12345.6, "
             "\"step_seconds\": 0.25, "
             "\"memory_bytes\": 55574528}\n");
    tap_ok(file_is(path, expected), "the evaluation where there is one, null for what is not finite");
    zrt_monitor_destroy(&monitor);
    tap_ok(monitor == NULL, "destroy nulls the pointer");
    zrt_monitor_destroy(&monitor);
    zrt_monitor_destroy(NULL);

    row = (zrt_metrics_row){.step = INT64_MIN, .skipped = INT64_MIN, .tokens = INT64_MIN, .memory_bytes = INT64_MIN};
    row.epoch = row.loss = row.eval_loss = row.grad_norm = row.learning_rate = -1.2345678901234567e-300;
    row.loss_scale = row.tokens_per_second = row.step_seconds = -1.2345678901234567e-300;
    row.mfu = 1.2345678901234567e-300;
    tap_ok(zrt__metrics_line(&row, expected) < ZRT__METRICS_LINE_BYTES && strchr(expected, '\n') != NULL,
           "the longest line fits");
}

static void test_whole_lines(void)
{
    const char *path = scratch_write("torn.jsonl", "{\"step\": 1}\n{\"ste", 17);
    char expected[1024];
    struct rlimit unlimited, limit;
    zrt_status status;
    zrt_monitor *monitor = monitor_of((zrt_monitor_options){.metrics_path = path});

    zrt_monitor_log(monitor, &sample);
    snprintf(expected, sizeof expected, "{\"step\": 1}\n%s", sample_line);
    tap_ok(file_is(path, expected), "an unfinished line of a run before is cut off");

    /* As on a full disk: the limit is in the middle of the next line. */
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &unlimited);
    limit = unlimited;
    limit.rlim_cur = strlen(expected) + 30;
    setrlimit(RLIMIT_FSIZE, &limit);
    status = zrt_monitor_log(monitor, &sample);
    setrlimit(RLIMIT_FSIZE, &unlimited); /* standard output may be a file too */
    tap_ok(status == ZRT_ERR_IO && strstr(zrt_error_message(), "torn.jsonl: cannot be written") != NULL,
           "a line that cannot be written whole is an error");
    tap_ok(file_is(path, expected), "and leaves nothing of itself");
    zrt_monitor_destroy(&monitor);

    tap_ok(zrt_monitor_create(NULL, &(zrt_monitor_options){.metrics_path = scratch_path("no/metrics.jsonl")},
                              &monitor) == ZRT_ERR_IO &&
               monitor == NULL,
           "refused: a file in a folder that is not there");
    tap_ok(zrt_monitor_create(NULL, &(zrt_monitor_options){.csv_folder = scratch_path("torn.jsonl/csv")}, &monitor) ==
                   ZRT_ERR_IO &&
               strstr(zrt_error_message(), "the folder cannot be made") != NULL,
           "refused: a folder below a file");
}

static void test_progress(void)
{
    const char *path = scratch_path("progress.txt");
    char text[ZRT__PROGRESS_BYTES];
    zrt_metrics_row row = sample;
    FILE *stream = fopen(path, "w");
    zrt_monitor *monitor = monitor_of((zrt_monitor_options){.stream = stream, .progress = true, .n_steps = 200});
    size_t n;
    char *all, line[ZRT__METRICS_LINE_BYTES];

    zrt__progress_text(&row, 200, 61.4, false, text);
    tap_ok(
        strcmp(text,
               "step  10 of 200  loss 3.2500  lr 1.00e-05  grad norm 0.1  skipped 1  12346 tokens/s  memory 53.0 MiB  "
               "time left 1:01") == 0,
        "%s", text);
    row.eval_loss = 2.0;
    row.skipped = 0;
    row.memory_bytes = INT64_C(300) << 30;
    zrt__progress_text(&row, 0, 100000, false, text);
    tap_ok(strcmp(text,
                  "step 10  loss 3.2500  eval loss 2.0000  lr 1.00e-05  grad norm 0.1  12346 tokens/s  memory 300 GiB  "
                  "time left 1 d 03:46:40") == 0,
           "%s", text);
    zrt__progress_text(&row, 200, 3599, true, text);
    tap_ok(strlen(text) < 80 && strstr(text, "59:59 left") != NULL, "narrow: %s", text);
    row.mfu = 0.4125;
    zrt__progress_text(&row, 200, 3599, false, text);
    tap_ok(strstr(text, "tokens/s  MFU 41.2%  memory") != NULL || strstr(text, "tokens/s  MFU 41.3%  memory") != NULL,
           "%s", text);
    zrt__metrics_line(&row, line);
    tap_ok(strstr(line, ", \"mfu\": 0.4125}") != NULL, "the share of the peak, where it is known");
    row.loss = row.grad_norm = NAN;
    zrt__progress_text(&row, 200, -1, false, text);
    tap_ok(strstr(text, "left") == NULL && strstr(text, "loss nan") != NULL, "%s", text);

    zrt_monitor_log(monitor, &sample);
    zrt_monitor_log(monitor, &sample);
    zrt_monitor_destroy(&monitor);
    fclose(stream);
    all = scratch_read(path, &n);
    tap_ok(all != NULL && strncmp(all, "step  10 of 200  loss 3.25", 26) == 0 && strchr(all, '\r') == NULL &&
               strchr(all, '\n') != strrchr(all, '\n') && strstr(all, "time left 0:48\n") != NULL,
           "plain lines where the stream is no terminal");
    free(all);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        n++;
    return n;
}

/* What the terminal got, up to and with `last` for the `times`th time: it hands it out in pieces of any length. */
static void read_terminal(int master, char *text, size_t size, const char *last, int times)
{
    size_t n = 0;
    struct pollfd ready = {.fd = master, .events = POLLIN};
    text[0] = '\0';
    while (n + 1 < size && count(text, last) < times && poll(&ready, 1, 5000) > 0) {
        ssize_t got = read(master, text + n, size - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        text[n] = '\0';
    }
}

/* A pseudo-terminal has no width, which counts as 80. */
static void test_terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave = -1;
    char text[4096];
    FILE *stream = NULL;
    zrt_monitor *monitor;
    zrt_metrics_row row = sample;

    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 ||
        (slave = open(ptsname(master), O_RDWR | O_NOCTTY)) < 0 || (stream = fdopen(slave, "w")) == NULL) {
        tap_skip(2, "no pseudo-terminal here");
        return;
    }
    setenv("TERM", "xterm", 1);
    monitor = monitor_of((zrt_monitor_options){.stream = stream, .progress = true, .n_steps = 200});
    zrt_monitor_log(monitor, &row);
    zrt_monitor_log(monitor, &row);
    read_terminal(master, text, sizeof text, "\033[K", 2);
    tap_ok(text[0] == '\r' && strchr(text, '\n') == NULL && strstr(text, "\033[K\r") != NULL && strlen(text) < 2 * 88,
           "on a terminal the line stands in place");
    zrt_monitor_print_step(monitor, 10, 1, 1, (double[]){0.001}, 0, NULL);
    read_terminal(master, text, sizeof text, "step=10", 1);
    tap_ok(strncmp(text, "\r\n[Rank 0] step=10", 18) == 0, "and ends before other output");
    zrt_monitor_destroy(&monitor);
    fclose(stream);
    close(master);
}

static void test_deepspeed_lines(void)
{
    const char *path = scratch_path("lines.txt");
    FILE *stream = fopen(path, "w");
    zrt_monitor *monitor = monitor_of((zrt_monitor_options){.stream = stream, .csv_folder = scratch_path("csv/times")});

    zrt_monitor_log(monitor, &sample);
    zrt_monitor_print_step(monitor, 10, 1, 2, (double[]){0.001, 1e-5}, 2, (double[]){0.9, 0.999, 0.9, 0.95});
    zrt_monitor_print_step(monitor, 20, 0, 1, (double[]){0.5}, 1, (double[]){0.9});
    zrt_monitor_add_time(monitor, ZRT_TIMER_FORWARD, 0.0015);
    zrt_monitor_add_time(monitor, ZRT_TIMER_BACKWARD, 0.25);
    zrt_monitor_print_micro_times(monitor);
    zrt_monitor_add_time(monitor, ZRT_TIMER_FORWARD, 0.0005);
    zrt_monitor_add_time(monitor, ZRT_TIMER_STEP, 1);
    zrt_monitor_print_micro_times(monitor);
    zrt_monitor_print_times(monitor, 160);
    zrt_monitor_print_times(monitor, 176);
    zrt_monitor_destroy(&monitor);
    fclose(stream);
    tap_ok(
        file_is(path, "[Rank 0] step=10, skipped=1, lr=[0.001, 1e-05], mom=[(0.9, 0.999), (0.9, 0.95)]\n"
                      "[Rank 0] step=20, skipped=0, lr=[0.5], mom=[0.9]\n"
                      "[Rank 0] time (ms) | fwd_microstep: 1.50 | bwd_microstep: 250.00 | step_microstep: 0.00\n"
                      "[Rank 0] time (ms) | fwd_microstep: 0.50 | bwd_microstep: 0.00 | step_microstep: 1000.00\n"
                      "[Rank 0] time (ms) | fwd: 2.00 | bwd: 250.00 | step: 1000.00\n"
                      "[Rank 0] time (ms) | fwd: 0.00 | bwd: 0.00 | step: 0.00\n"),
        "steps_per_print and wall_clock_breakdown as DeepSpeed prints them, and no progress line where none is wanted");
    tap_ok(file_is(scratch_path("csv/times/Train_Samples_elapsed_time_ms_backward.csv"),
                   "step,elapsed_time_ms_backward\r\n160,250.0\r\n176,0.0\r\n"),
           "and in csv_monitor's files");
}

static void test_csv(void)
{
    const char *folder = scratch_path("out/job");
    zrt_metrics_row row = sample;

    for (int run = 0; run < 2; run++) {
        zrt_monitor *monitor = monitor_of((zrt_monitor_options){.csv_folder = folder});

        row.samples = 160 * (run + 1);
        row.eval_loss = run == 0 ? (double)NAN : 2.0;
        tap_ok(zrt_monitor_log(monitor, &row) == ZRT_OK, "a row in run %d", run);
        zrt_monitor_destroy(&monitor);
    }
    tap_ok(file_is(scratch_path("out/job/Train_Samples_train_loss.csv"), "step,train_loss\r\n160,3.25\r\n320,3.25\r\n"),
           "csv_monitor: one file a metric, one header for both runs");
    tap_ok(file_is(scratch_path("out/job/Train_Samples_lr.csv"), "step,lr\r\n160,1e-05\r\n320,1e-05\r\n"),
           "the learning rate");
    tap_ok(file_is(scratch_path("out/job/Train_Samples_loss_scale.csv"),
                   "step,loss_scale\r\n160,65536.0\r\n320,65536.0\r\n"),
           "the loss scale");
    tap_ok(file_is(scratch_path("out/job/Eval_Samples_eval_loss.csv"), "step,eval_loss\r\n320,2.0\r\n"),
           "the evaluation's only where there was one");
}

static void test_comms(void)
{
    const char *path = scratch_path("comms.txt");
    FILE *stream = fopen(path, "w");
    zrt_monitor *monitor = monitor_of((zrt_monitor_options){.stream = stream});
    double tput, busbw;

    zrt__comm_rates(ZRT_COMM_ALL_GATHER, 1000000000, 4, 1.0, &tput, &busbw);
    tap_ok(fabs(tput - 32) < 1e-12 && fabs(busbw - 24) < 1e-12, "rates of an all-gather");
    zrt__comm_rates(ZRT_COMM_ALL_REDUCE, 1000000000, 4, 1.0, &tput, &busbw);
    tap_ok(fabs(tput - 16) < 1e-12 && fabs(busbw - 12) < 1e-12, "rates of an all-reduce");
    zrt__comm_rates(ZRT_COMM_BROADCAST, 1000000000, 4, 0.0, &tput, &busbw);
    tap_ok(tput == 0 && busbw == 0, "no rate of what took no time");
    zrt_monitor_add_comm(monitor, ZRT_COMM_ALL_REDUCE, 1572864, 2, 0.002, true);
    zrt_monitor_add_comm(monitor, ZRT_COMM_ALL_GATHER, 2048, 2, 0.001, false);
    zrt_monitor_add_comm(monitor, ZRT_COMM_ALL_GATHER, 100, 2, 0.001, false);
    zrt_monitor_add_comm(monitor, ZRT_COMM_ALL_GATHER, 2048, 2, 0.003, false);
    zrt_monitor_print_comms(monitor);
    zrt_monitor_destroy(&monitor);
    fclose(stream);
    tap_ok(
        file_is(path,
                "[Rank 0] comm op: all_reduce | time (ms): 2.00 | msg size: 1.5 MB | algbw (Gbps): 12.58 | busbw "
                "(Gbps): 6.29\n"
                "Comm. Op            Message Size        Count               Total Latency(ms)   Avg Latency(ms)     "
                "tput_avg (Gbps)     busbw_avg (Gbps)    \n"
                "all_gather_into_tensor\n"
                "                    100.0 B             1                   1.00                1.00                "
                "0.00                0.00                \n"
                "                    2.0 KB              2                   4.00                2.00                "
                "0.02                0.01                \n"
                "all_reduce\n"
                "                    1.5 MB              1                   2.00                2.00                "
                "12.58               6.29                \n"),
        "comms_logger as DeepSpeed prints it");
}

int main(void)
{
    if (!scratch_make())
        return 99;
    test_numbers();
    test_metrics();
    test_whole_lines();
    test_progress();
    test_terminal();
    test_deepspeed_lines();
    test_csv();
    test_comms();
    scratch_remove();
    return tap_done();
}
