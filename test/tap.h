/* Tests speak TAP, the Test Anything Protocol, on standard output. */
#ifndef ZRT_TEST_TAP_H
#define ZRT_TEST_TAP_H

#include <stdbool.h>

/* Announces n test points; without it tap_done prints the plan. */
void tap_plan(int n);
/* One test point; gives `passed` back. */
bool tap_ok(bool passed, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* n test points that cannot run here, and why. A call before any other test point with n == 0 skips the whole program. */
void tap_skip(int n, const char *why, ...) __attribute__((format(printf, 2, 3)));
/* A remark beside the test points. */
void tap_diag(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the plan if none was given and returns the exit status of main. */
int tap_done(void);

#endif
