#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tap.h"

static void test_grow(void)
{
    int *numbers = NULL;
    size_t capacity = 0;
    bool kept = true;

    for (size_t n = 0; n < 1000; n++) {
        if (zrt__grow(&numbers, &capacity, n, sizeof *numbers) != ZRT_OK || capacity <= n)
            break;
        numbers[n] = (int)n;
    }
    for (size_t n = 0; n < 1000; n++)
        kept = kept && numbers[n] == (int)n;
    tap_ok(kept && capacity == 1024, "an array grows by doubling and keeps its elements");
    tap_ok(zrt__grow(&numbers, &capacity, SIZE_MAX / 2, sizeof *numbers) == ZRT_ERR_MEMORY && numbers[999] == 999,
           "a size that overflows is refused and the array stays");
    free(numbers);
}

int main(void)
{
    char *text, *copy;
    void *data;
    unsigned char *zeros;

    /* The third call fails; read at the first one. */
    setenv("ZERORT_FAIL_ALLOC", "3", 1);
    data = zrt__malloc(0);
    tap_ok(data != NULL, "no bytes are an address too");
    free(data);
    zeros = zrt__calloc(7, 3);
    tap_ok(zeros != NULL && zeros[0] == 0 && memcmp(zeros, zeros + 1, 20) == 0, "calloc gives zeros");
    data = zrt__realloc(zeros, 1000);
    tap_ok(data == NULL, "the call that ZERORT_FAIL_ALLOC names fails");
    tap_ok(strstr(zrt_error_message(), "1000 bytes") != NULL, "and says how much: %s", zrt_error_message());
    data = zrt__realloc(zeros, 1000);
    tap_ok(data != NULL && memcmp(data, "\0\0\0", 3) == 0, "the next one does not; the old memory was kept");
    free(data);
    tap_ok(zrt__calloc(SIZE_MAX / 2, 16) == NULL, "a product that overflows is refused");
    copy = zrt__strdup("zero");
    text = zrt__format("%s-%0*d", copy != NULL ? copy : "", 200, 7);
    tap_ok(text != NULL && strlen(text) == 205 && strncmp(text, "zero-000", 8) == 0 && text[204] == '7',
           "a text is formatted at its own length");
    free(text);
    free(copy);
    test_grow();
    return tap_done();
}
