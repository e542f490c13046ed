/* libFuzzer: whatever stands in a manifest whose checksum is right, it is refused, or what it says holds together and is written
 * again as it was read. */
#include "config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "checkpoint/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every element of every parameter lies in a dataset of a rank. */
static void check(const zrt__manifest *m)
{
    for (size_t i = 0; i < m->layout.n_parameters; i++) {
        const zrt__layout_parameter *p = &m->layout.parameters[i];
        const int64_t at[] = {0, p->n_elements / 2, p->n_elements - 1};
        for (int k = 0; k < 3; k++) {
            zrt__layout_piece piece = zrt__layout_find(&m->layout, p, at[k]);
            if (piece.rank < 0 || piece.rank >= m->layout.world || piece.n < 1 || piece.at < 0 ||
                piece.at + piece.n > zrt__layout_dataset_elements(&m->layout, 0))
                abort();
        }
    }
    for (int d = 0; d < m->geometry.n_datasets; d++)
        if (m->geometry.offsets[d] + m->geometry.bytes[d] > m->geometry.file_bytes)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zrt__manifest manifest, again;
    char *text = malloc(size + ZRT__MANIFEST_TAIL_BYTES + 1), *printed = NULL;
    size_t bytes = 0;
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    snprintf(text + size, ZRT__MANIFEST_TAIL_BYTES + 1, ZRT__MANIFEST_TAIL, zrt__crc32c(0, data, size));
    if (zrt__manifest_parse("fuzz", text, size + ZRT__MANIFEST_TAIL_BYTES, &manifest) == ZRT_OK) {
        check(&manifest);
        if (zrt__manifest_print(&manifest, &printed, &bytes) != ZRT_OK ||
            zrt__manifest_parse("fuzz again", printed, bytes, &again) != ZRT_OK)
            abort();
        zrt__manifest_free(&again);
        zrt__manifest_free(&manifest);
        free(printed);
    }
    free(text);
    return 0;
}
