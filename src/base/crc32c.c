#include "config.h"

#include "base/crc32c.h"

#include <string.h>

/* Reflected polynomial of Castagnoli. */
#define POLYNOMIAL 0x82F63B78u

/* Four bits at a time: processors without the instruction are rare, and a table this small needs no code that makes it. */
static uint32_t update_portable(uint32_t crc, const unsigned char *data, size_t n)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return crc;
}

uint32_t zrt__crc32c_portable(uint32_t crc, const void *data, size_t n)
{
    return ~update_portable(~crc, data, n);
}

/* a * b modulo the polynomial, both reflected. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
        if ((a & bit) != 0)
            product ^= b;
        b = (b >> 1) ^ ((b & 1) != 0 ? POLYNOMIAL : 0);
    }
    return product;
}

static uint32_t power_of_x(size_t exponent)
{
    uint32_t power = 0x80000000u, square = 0x40000000u;

    for (; exponent != 0; exponent >>= 1) {
        if ((exponent & 1) != 0)
            power = multiply(power, square);
        square = multiply(square, square);
    }
    return power;
}

uint32_t zrt__crc32c_combine(uint32_t first, uint32_t second, size_t n_second)
{
    return multiply(first, power_of_x(8 * n_second)) ^ second;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

/* The instruction takes three cycles and one can start every cycle, so three blocks run side by side. A block's CRC
 * moves over the block after it by a multiplication with x^(8 BLOCK) modulo the polynomial. */
enum { BLOCK = 8192 };

static inline uint64_t load64(const unsigned char *data)
{
    uint64_t word;

    memcpy(&word, data, sizeof word);
    return word;
}

__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t start, const unsigned char *data, size_t n)
{
    uint64_t crc = start;

    if (n >= 3 * BLOCK) {
        uint32_t over_one = power_of_x((size_t)8 * BLOCK), over_two = multiply(over_one, over_one);
        for (; n >= 3 * BLOCK; data += 3 * BLOCK, n -= 3 * BLOCK) {
            uint64_t second = 0, third = 0;
            for (size_t i = 0; i < BLOCK; i += 8) {
                crc = _mm_crc32_u64(crc, load64(data + i));
                second = _mm_crc32_u64(second, load64(data + BLOCK + i));
                third = _mm_crc32_u64(third, load64(data + 2 * BLOCK + i));
            }
            crc = multiply((uint32_t)crc, over_two) ^ multiply((uint32_t)second, over_one) ^ (uint32_t)third;
        }
    }
    for (; n >= 8; data += 8, n -= 8)
        crc = _mm_crc32_u64(crc, load64(data));
    for (; n > 0; data++, n--)
        crc = _mm_crc32_u8((uint32_t)crc, *data);
    return (uint32_t)crc;
}

uint32_t zrt__crc32c(uint32_t crc, const void *data, size_t n)
{
    if (__builtin_cpu_supports("sse4.2"))
        return ~update_sse42(~crc, data, n);
    return zrt__crc32c_portable(crc, data, n);
}

#else

uint32_t zrt__crc32c(uint32_t crc, const void *data, size_t n)
{
    return zrt__crc32c_portable(crc, data, n);
}

#endif
