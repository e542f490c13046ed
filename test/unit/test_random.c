#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tap.h"

enum { N = 1 << 20 };

static float all[N], part[N];

static bool draws(uint32_t counter0, uint32_t counter1, uint32_t counter2, uint32_t counter3, uint32_t key0,
                  uint32_t key1, uint32_t want0, uint32_t want1, uint32_t want2, uint32_t want3)
{
    zrt__philox x = zrt__philox4x32((zrt__philox){{counter0, counter1, counter2, counter3}}, key0, key1);

    return x.x[0] == want0 && x.x[1] == want1 && x.x[2] == want2 && x.x[3] == want3;
}

/* Random123's known answers. */
static void test_philox(void)
{
    tap_ok(draws(0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8), "Philox of zeros");
    tap_ok(draws(~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd), "Philox of ones");
    tap_ok(draws(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
                 0x5001e420, 0x24126ea1),
           "Philox of the digits of pi");
}

static void test_hash(void)
{
    int n_same = 0;

    for (uint64_t i = 0; i < 1000; i++)
        n_same += zrt__hash_mix(1, i) == zrt__hash_mix(2, i) || zrt__hash_mix(i, 5) == zrt__hash_mix(i, 6);
    tap_ok(n_same == 0 && zrt__hash_mix(1, 2) != zrt__hash_mix(2, 1), "a mix depends on both, in order");
    tap_ok(zrt__hash_bytes(0, "ab", 2) != zrt__hash_bytes(0, "ba", 2) &&
               zrt__hash_bytes(0, "ab", 2) != zrt__hash_bytes(1, "ab", 2) &&
               zrt__hash_bytes(7, "abc", 2) == zrt__hash_bytes(7, "abd", 2),
           "a hash depends on the bytes, their order and the seed");
    tap_ok(zrt__uniform_from_bits(0) == 0.0f && zrt__uniform_from_bits(~0u) < 1.0f, "uniform in [0, 1)");
}

typedef void fill_fn(uint64_t key, uint64_t first, size_t n, float *out);

static void test_split(fill_fn *fill, const char *name)
{
    static const size_t sizes[] = {1, 2, 3, 5, 255, 256, 257, 1000, 4097};
    size_t first = 0;

    fill(99, 0, 100000, all);
    for (int i = 0; first < 100000; i++) {
        size_t n = sizes[i % 9];
        n = n < 100000 - first ? n : 100000 - first;
        fill(99, first, n, part + first);
        first += n;
    }
    tap_ok(memcmp(all, part, 100000 * sizeof *all) == 0, "%s: elements do not depend on how they are asked for", name);
    fill(100, 0, 100, part);
    tap_ok(memcmp(all, part, 100 * sizeof *all) != 0, "%s: another key, other elements", name);
    fill(99, UINT64_C(1) << 40, 100, part);
    fill(99, (UINT64_C(1) << 40) + 64, 36, all);
    tap_ok(memcmp(all, part + 64, 36 * sizeof *all) == 0, "%s: far elements", name);
    fill(99, UINT64_C(1) << 34, 100, all);
    tap_ok(memcmp(all, part, 100 * sizeof *all) != 0, "%s: no element comes again", name);
}

static void test_normal(void)
{
    double moment[5] = {0}, pairs = 0;
    size_t beyond_two = 0, n_wrong = 0;

    zrt__random_normal(5, 0, N, all);
    for (size_t i = 0; i < N; i++) {
        double x = all[i], power = 1;
        for (int k = 1; k <= 4; k++)
            moment[k] += (power *= x) / N;
        pairs += i > 0 ? x * all[i - 1] / N : 0;
        beyond_two += fabs(x) > 2;
    }
    tap_ok(fabs(moment[1]) < 0.004 && fabs(moment[2] - 1) < 0.006 && fabs(moment[3]) < 0.012 &&
               fabs(moment[4] - 3) < 0.05,
           "normal moments 0 1 0 3: %.4f %.4f %.4f %.4f", moment[1], moment[2], moment[3], moment[4]);
    tap_ok(fabs(pairs) < 0.004, "neighbours are uncorrelated: %.4f", pairs);
    tap_ok(fabs(beyond_two / (double)N - 0.0455) < 0.001, "4.55%% lie beyond 2: %.4f", beyond_two / (double)N);
    zrt__random_normal_portable(5, 3, N - 3, part);
    tap_ok(memcmp(all + 3, part, (N - 3) * sizeof *all) == 0, "the portable loops draw the same bits");

    /* Box-Muller with libm's functions in double. */
    for (uint32_t block = 0; block < N / 4; block++) {
        zrt__philox x = zrt__philox4x32((zrt__philox){{block, 0, 0, 0}}, 5, 0);
        for (int pair = 0; pair < 2; pair++) {
            double u = (float)(int32_t)(x.x[2 * pair] >> 1) * 0x1p-31f + 0x1p-32f;
            double angle =
                ((double)((x.x[2 * pair + 1] << 2) >> 8) / 16777216.0 - 0.5 + (x.x[2 * pair + 1] >> 30)) * acos(0);
            double radius = sqrt(-2 * log(u));
            n_wrong += !(fabs(all[4 * block + 2 * (unsigned)pair] - radius * cos(angle)) < 2e-6);
            n_wrong += !(fabs(all[4 * block + 2 * (unsigned)pair + 1] - radius * sin(angle)) < 2e-6);
        }
    }
    tap_ok(n_wrong == 0, "each normal is what libm makes of its bits (%zu are not)", n_wrong);
}

static void test_uniform(void)
{
    double mean = 0, square = 0;
    float least = 1, most = -1;

    zrt__random_uniform(5, 0, N, all);
    for (size_t i = 0; i < N; i++) {
        mean += all[i] / (double)N;
        square += (double)all[i] * all[i] / N;
        least = all[i] < least ? all[i] : least;
        most = all[i] > most ? all[i] : most;
    }
    tap_ok(fabs(mean) < 0.003 && fabs(square - 1.0 / 3) < 0.002, "uniform moments: %.4f %.4f", mean, square);
    tap_ok(least >= -1 && least < -0.9999f && most < 1 && most > 0.9999f, "uniform in [-1, 1): %g to %g", (double)least,
           (double)most);
}

static void test_permute(void)
{
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 7, 64, 65, 1000, 4097, 100000};
    static unsigned char seen[100000];
    bool bijection = true;
    size_t n_fixed = 0, n_alike = 0;

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        memset(seen, 0, sizeof seen);
        for (uint64_t i = 0; i < sizes[s]; i++) {
            uint64_t image = zrt__permute(42, sizes[s], i);
            if (image >= sizes[s] || seen[image]++ != 0)
                bijection = false;
        }
    }
    tap_ok(bijection, "every size is permuted one to one");
    for (uint64_t i = 0; i < 100000; i++) {
        n_fixed += zrt__permute(42, 100000, i) == i;
        n_alike += zrt__permute(42, 100000, i) == zrt__permute(43, 100000, i);
    }
    tap_ok(n_fixed < 10 && n_alike < 10, "few stay in place (%zu) or agree between keys (%zu)", n_fixed, n_alike);
    tap_ok(zrt__permute(1, UINT64_C(1) << 62, 12345) < UINT64_C(1) << 62, "sizes up to 2^62");
}

int main(void)
{
    test_philox();
    test_hash();
    test_split(zrt__random_normal, "normal");
    test_split(zrt__random_uniform, "uniform");
    test_normal();
    test_uniform();
    test_permute();
    return tap_done();
}
