#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "monitor/monitor.h"

static void duration_text(double seconds, char text[32])
{
    int64_t s = (int64_t)(seconds + 0.5);

    if (s >= 86400)
        snprintf(text, 32, "%" PRId64 " d %02d:%02d:%02d", s / 86400, (int)(s / 3600 % 24), (int)(s / 60 % 60),
                 (int)(s % 60));
    else if (s >= 3600)
        snprintf(text, 32, "%d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(text, 32, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static void bytes_text(int64_t bytes, char text[32])
{
    double value = (double)bytes;
    int unit = 0;

    while (value >= 1024.0 && unit < 4) {
        value /= 1024.0;
        unit++;
    }
    snprintf(text, 32, unit == 0 || value >= 100.0 ? "%.0f %s" : "%.1f %s", value,
             (const char *const[]){"B", "KiB", "MiB", "GiB", "TiB"}[unit]);
}

/* One column more for each step's digit would make the line jump. */
static int digits_of(int64_t n)
{
    int digits = 1;

    for (; n >= 10; n /= 10)
        digits++;
    return digits;
}

void zrt__progress_text(const zrt_metrics_row *row, int64_t n_steps, double seconds_left, bool compact,
                        char text[ZRT__PROGRESS_BYTES])
{
    char steps[64], memory[32], left[48] = "", evaluation[48] = "", skipped[48] = "", mfu[32] = "";

    if (n_steps > 0)
        snprintf(steps, sizeof steps, compact ? "%*" PRId64 "/%" PRId64 : "step %*" PRId64 " of %" PRId64,
                 digits_of(n_steps), row->step, n_steps);
    else
        snprintf(steps, sizeof steps, "step %" PRId64, row->step);
    bytes_text(row->memory_bytes, memory);
    if (!isnan(row->eval_loss) && row->classifies)
        snprintf(evaluation, sizeof evaluation, compact ? " acc %.3f" : "  accuracy %.4f", row->eval_accuracy);
    else if (!isnan(row->eval_loss))
        snprintf(evaluation, sizeof evaluation, compact ? " eval %.3f" : "  eval loss %.4f", row->eval_loss);
    if (row->skipped > 0)
        snprintf(skipped, sizeof skipped, "%sskipped %" PRId64, compact ? " " : "  ", row->skipped);
    if (seconds_left >= 0 && seconds_left < 1e12) {
        char duration[32];

        duration_text(seconds_left, duration);
        snprintf(left, sizeof left, compact ? " %s left" : "  time left %s", duration);
    }
    if (row->mfu > 0)
        snprintf(mfu, sizeof mfu, compact ? " mfu %.0f%%" : "  MFU %.1f%%", 100 * row->mfu);
    if (compact)
        snprintf(text, ZRT__PROGRESS_BYTES, "%s loss %.3f%s lr %.2g norm %.3g%s %.0f tok/s%s %s%s", steps, row->loss,
                 evaluation, row->learning_rate, row->grad_norm, skipped, row->tokens_per_second, mfu, memory, left);
    else
        snprintf(text, ZRT__PROGRESS_BYTES, "%s  loss %.4f%s  lr %.2e  grad norm %.3g%s  %.0f tokens/s%s  memory %s%s",
                 steps, row->loss, evaluation, row->learning_rate, row->grad_norm, skipped, row->tokens_per_second, mfu,
                 memory, left);
}
