#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tap.h"

typedef struct heard {
    zrt_log_level level;
    char text[2048];
    int n;
} heard;

static void listen(zrt_log_level level, const char *message, void *user)
{
    heard *h = user;

    h->level = level;
    h->n++;
    snprintf(h->text, sizeof h->text, "%s", message);
}

int main(void)
{
    heard h = {0};

    zrt__log(ZRT_LOG_ERROR, "nobody hears this");
    zrt_log_set_sink(listen, &h);
    zrt__log(ZRT_LOG_WARNING, "%d of %s", 4, "five");
    tap_ok(h.n == 1 && h.level == ZRT_LOG_WARNING && strcmp(h.text, "4 of five") == 0,
           "the sink gets level and message");
    zrt__log(ZRT_LOG_INFO, "%01500d", 0);
    tap_ok(h.n == 2 && strlen(h.text) == 1500, "long messages arrive whole");
    zrt_log_set_sink(NULL, NULL);
    zrt__log(ZRT_LOG_INFO, "nor this");
    tap_ok(h.n == 2, "without a sink nothing is said");
    return tap_done();
}
