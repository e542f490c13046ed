#include "config.h"

#include "checkpoint/base64.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *zrt__base64_encode(const void *data, size_t bytes)
{
    const unsigned char *in = data;
    char *text = zrt__malloc((bytes + 2) / 3 * 4 + 1), *out = text;
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < bytes; i += 3) {
        size_t n = bytes - i < 3 ? bytes - i : 3;
        uint32_t bits =
            (uint32_t)in[i] << 16 | (uint32_t)(n > 1 ? in[i + 1] : 0) << 8 | (uint32_t)(n > 2 ? in[i + 2] : 0);
        for (size_t k = 0; k < 4; k++)
            *out++ = k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    *out = '\0';
    return text;
}

void *zrt__base64_decode(const char *text, size_t length, size_t *bytes_out)
{
    *bytes_out = (size_t)-1;
    if (length % 4 != 0)
        return NULL;
    unsigned char *data = zrt__malloc(length / 4 * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; i < length && data != NULL; i += 4) {
        uint32_t bits = 0;
        size_t padding = 0;
        for (size_t k = 0; k < 4; k++) {
            const char *digit = text[i + k] != '\0' ? strchr(digits, text[i + k]) : NULL;
            bool pads = text[i + k] == '=' && i + 4 == length && k >= 2;
            if ((digit == NULL && !pads) || (digit != NULL && padding > 0)) {
                free(data);
                return NULL;
            }
            padding += pads;
            bits = bits << 6 | (pads ? 0 : (uint32_t)(digit - digits));
        }
        for (size_t k = 0; k < 3 - padding; k++)
            data[n++] = (unsigned char)(bits >> (16 - 8 * k));
    }
    *bytes_out = data != NULL ? n : 0;
    return data;
}
