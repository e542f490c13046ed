#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/monitor.h"

void zrt__number_text(double value, char text[ZRT__NUMBER_BYTES])
{
    char scientific[40], digits[24];
    int n_digits = 0, exponent, precision = 0;
    char *out = text;

    if (!isfinite(value)) {
        snprintf(text, ZRT__NUMBER_BYTES, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    do
        snprintf(scientific, sizeof scientific, "%.*e", precision, value);
    while (++precision < 17 && strtod(scientific, NULL) != value);
    /* Only the digits are taken: the sign between them is the locale's. */
    for (const char *at = scientific; *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9')
            digits[n_digits++] = *at;
    }
    exponent = atoi(strchr(scientific, 'e') + 1);
    while (n_digits > 1 && digits[n_digits - 1] == '0')
        n_digits--;
    if (signbit(value))
        *out++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *out++ = digits[0];
        if (n_digits > 1)
            *out++ = '.';
        for (int i = 1; i < n_digits; i++)
            *out++ = digits[i];
        snprintf(out, ZRT__NUMBER_BYTES - (size_t)(out - text), "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        *out++ = '0';
        *out++ = '.';
        for (int i = -1; i > exponent; i--)
            *out++ = '0';
    }
    for (int i = 0; i < n_digits || i <= exponent; i++) {
        *out++ = i < n_digits ? digits[i] : '0';
        if (i == exponent)
            *out++ = '.';
    }
    if (out[-1] == '.')
        *out++ = '0';
    *out = '\0';
}
