/* libFuzzer harness of the configuration: any text either resolves or is refused with a message, and what resolves resolves to itself. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/config.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *printed = NULL, *again = NULL;
    zrt_config *config = NULL, *second = NULL;
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (zrt_config_create(&config) == ZRT_OK && zrt_config_create(&second) == ZRT_OK) {
        zrt_status status = zrt_config_read_string(config, text);
        if (status == ZRT_OK)
            status = zrt_config_print(config, 2, 64, &printed);
        if (status != ZRT_OK && *zrt_error_message() == '\0')
            abort();
        if (status == ZRT_OK && (zrt_config_read_string(second, printed) != ZRT_OK ||
                                 zrt_config_print(second, 2, 64, &again) != ZRT_OK || strcmp(printed, again) != 0))
            abort();
    }
    zrt_config_destroy(&config);
    zrt_config_destroy(&second);
    free(printed);
    free(again);
    free(text);
    return 0;
}
