#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"
#include "tap.h"

enum { N = 200000 };

int main(void)
{
    unsigned char block[32], *data = malloc(N);
    size_t lengths[] = {0, 1, 7, 8, 9, 4096, 24575, 24576, 24577, 49159, N - 3}, n_different = 0, n_parted = 0;

    if (data == NULL)
        return 1;
    tap_ok(zrt__crc32c(0, "123456789", 9) == 0xE3069283u, "\"123456789\"");
    tap_ok(zrt__crc32c_portable(0, "123456789", 9) == 0xE3069283u, "\"123456789\" without the instruction");
    /* RFC 3720, B.4 */
    memset(block, 0, sizeof block);
    tap_ok(zrt__crc32c(0, block, 32) == 0x8A9136AAu, "32 zeros");
    memset(block, 0xFF, sizeof block);
    tap_ok(zrt__crc32c(0, block, 32) == 0x62A8AB43u, "32 ones");
    for (unsigned char i = 0; i < 32; i++)
        block[i] = i;
    tap_ok(zrt__crc32c(0, block, 32) == 0x46DD794Eu, "32 ascending");
    tap_ok(zrt__crc32c(5, "", 0) == 5, "nothing changes nothing");

    for (size_t i = 0; i < N; i++)
        data[i] = (unsigned char)zrt__hash_mix(1, i);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t offset = 0; offset < 3; offset++) {
            uint32_t whole = zrt__crc32c(0, data + offset, lengths[i]), parts;
            n_different += whole != zrt__crc32c_portable(0, data + offset, lengths[i]);
            parts = zrt__crc32c(0, data + offset, lengths[i] / 3);
            parts = zrt__crc32c(parts, data + offset + lengths[i] / 3, lengths[i] - lengths[i] / 3);
            n_parted += whole != parts;
        }
    }
    tap_ok(n_different == 0, "the instruction and the table agree at every length and alignment");
    tap_ok(n_parted == 0, "two parts give what the whole gives");
    free(data);
    return tap_done();
}
