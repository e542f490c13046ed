/* libFuzzer: whatever the bytes of a safetensors file are, it is refused or every tensor in it can be read. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>

#include "checkpoint/safetensors_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zrt__safetensors_entry *entries = NULL;
    size_t n = 0, capacity = 0;
    zrt_status status = zrt__safetensors_parse("fuzz", data, size, &entries, &n, &capacity);
    for (size_t i = 0; i < n; i++) {
        float first, last;
        char raw[8];
        const zrt__safetensors_entry *entry = &entries[i];
        if (status == ZRT_OK && entry->n_elements > 0) {
            /* Both ends: in between nothing can be outside. */
            zrt__safetensors_read_entry(entry, 0, 1, &first);
            zrt__safetensors_read_entry(entry, entry->n_elements - 1, 1, &last);
            zrt__safetensors_read_raw(entry, entry->n_elements - 1, 1, raw);
            const uint8_t *end = (const uint8_t *)entry->data + entry->bytes;
            if ((const uint8_t *)entry->data < data || end > data + size)
                abort();
        }
        free((char *)(uintptr_t)entry->name);
    }
    free(entries);
    return 0;
}
