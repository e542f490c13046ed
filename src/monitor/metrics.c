#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "monitor/monitor.h"

/* The longest line: 11 keys of at most 17 characters with numbers of at most 24 each. */
static size_t add_integer(char *line, size_t at, const char *key, int64_t value)
{
    return at + (size_t)snprintf(line + at, ZRT__METRICS_LINE_BYTES - at, "%s\"%s\": %" PRId64, at == 1 ? "" : ", ",
                                 key, value);
}

static size_t add_real(char *line, size_t at, const char *key, double value)
{
    char text[ZRT__NUMBER_BYTES];

    zrt__number_text(value, text);
    return at + (size_t)snprintf(line + at, ZRT__METRICS_LINE_BYTES - at, "%s\"%s\": %s", at == 1 ? "" : ", ", key,
                                 isfinite(value) ? text : "null");
}

size_t zrt__metrics_line(const zrt_metrics_row *row, char line[ZRT__METRICS_LINE_BYTES])
{
    size_t at = 1;

    line[0] = '{';
    at = add_integer(line, at, "step", row->step);
    at = add_real(line, at, "epoch", row->epoch);
    at = add_real(line, at, "loss", row->loss);
    if (!isnan(row->eval_loss)) {
        at = add_real(line, at, "eval_loss", row->eval_loss);
        if (row->classifies) {
            at = add_real(line, at, "eval_accuracy", row->eval_accuracy);
            at = add_real(line, at, "eval_f1", row->eval_f1);
        } else {
            at = add_real(line, at, "eval_perplexity", exp(row->eval_loss));
        }
    }
    at = add_real(line, at, "grad_norm", row->grad_norm);
    at = add_real(line, at, "learning_rate", row->learning_rate);
    at = add_real(line, at, "loss_scale", row->loss_scale);
    at = add_integer(line, at, "skipped", row->skipped);
    at = add_integer(line, at, "tokens", row->tokens);
    at = add_real(line, at, "tokens_per_second", row->tokens_per_second);
    at = add_real(line, at, "step_seconds", row->step_seconds);
    at = add_integer(line, at, "memory_bytes", row->memory_bytes);
    if (row->mfu > 0)
        at = add_real(line, at, "mfu", row->mfu);
    memcpy(line + at, "}\n", 3);
    return at + 2;
}
