#include "config.h"

#include "tap.h"

#include <stdarg.h>
#include <stdio.h>

static struct {
    int planned, run, failed;
    bool has_plan;
} state;

void tap_plan(int n)
{
    state.planned = n;
    state.has_plan = true;
    printf("1..%d\n", n);
    fflush(stdout);
}

bool tap_ok(bool passed, const char *format, ...)
{
    va_list args;

    state.run++;
    state.failed += !passed;
    printf("%sok %d - ", passed ? "" : "not ", state.run);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    return passed;
}

void tap_skip(int n, const char *why, ...)
{
    char text[512];
    va_list args;

    va_start(args, why);
    vsnprintf(text, sizeof text, why, args);
    va_end(args);
    if (n == 0 && state.run == 0 && !state.has_plan) {
        state.has_plan = true;
        printf("1..0 # SKIP %s\n", text);
    }
    for (int i = 0; i < n; i++)
        printf("ok %d # SKIP %s\n", ++state.run, text);
    fflush(stdout);
}

void tap_diag(const char *format, ...)
{
    va_list args;

    fputs("# ", stdout);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

int tap_done(void)
{
    if (!state.has_plan)
        tap_plan(state.run);
    return state.failed != 0 || state.run != state.planned;
}
