/* Files of the tier: what is written is read, for each way of transferring and every alignment; failures are told, once for all. */
#include "config.h"

#include "offload/tier.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/random.h"
#include "scratch_folder.h"
#include "tap.h"

enum { BYTES = 3 << 20 };

static zrt__tier_options options_with(int64_t block, int depth, int threads)
{
    return (zrt__tier_options){
        .folder = scratch_folder,
        .key = "nvme_path",
        .what = "test",
        .bytes = BYTES,
        .n_channels = 2,
        .aio = {.block_bytes = block, .queue_depth = depth, .n_threads = threads, .overlap_events = true}};
}

static void fill(unsigned char *data, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++)
        data[i] = (unsigned char)zrt__hash_mix(seed, (uint64_t)i);
}

static int n_entries(void)
{
    int n = 0;
    DIR *listing = opendir(scratch_folder);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;)
        n += entry->d_name[0] != '.';
    if (listing != NULL)
        closedir(listing);
    return n;
}

/* Random aligned transfers and ones of any alignment, beside a copy in memory. */
static bool agrees(const zrt__tier_options *options, unsigned char *copy, unsigned char *buffer)
{
    zrt__tier *tier = NULL;
    if (zrt__tier_open(options, &tier) != ZRT_OK)
        return false;
    bool good = n_entries() == 0; /* it has no name */
    memset(copy, 0, BYTES);
    for (uint64_t i = 0; i < 60 && good; i++) {
        uint64_t h = zrt__hash_mix(9, i);
        bool write = h % 2 == 0, aligned = h / 2 % 2 == 0;
        int64_t offset = (int64_t)(h / 4 % BYTES), bytes = (int64_t)(h / 64 % (BYTES / 2)) + 1;
        int shift = aligned ? 0 : (int)(h % 7) * 4;
        if (aligned) {
            offset = offset / ZRT__TIER_ALIGNMENT * ZRT__TIER_ALIGNMENT;
            bytes = (bytes + ZRT__TIER_ALIGNMENT - 1) / ZRT__TIER_ALIGNMENT * ZRT__TIER_ALIGNMENT;
        }
        bytes = offset + bytes > BYTES ? BYTES - offset : bytes;
        zrt__transfer transfer = {tier, (int)(h % 2), write, offset, bytes, buffer};
        if (write)
            fill(buffer + shift, bytes, i);
        else
            memset(buffer, 0xaa, (size_t)bytes + 64);
        zrt_status status = aligned ? zrt__transfer_run(NULL, &transfer)
                            : write ? zrt__tier_write(tier, offset, buffer + shift, bytes)
                                    : zrt__tier_read(tier, offset, buffer + shift, bytes);
        if (write)
            memcpy(copy + offset, buffer + shift, (size_t)bytes);
        good = status == ZRT_OK && memcmp(copy + offset, buffer + shift, (size_t)bytes) == 0;
        if (!good)
            tap_diag("%s %d bytes at %d: status %d %s", write ? "write" : "read", (int)bytes, (int)offset, status,
                     zrt_error_message());
    }
    good = good && zrt__tier_read(tier, 0, buffer, BYTES) == ZRT_OK && memcmp(buffer, copy, BYTES) == 0;
    if (!zrt__tier_is_direct(tier))
        tap_diag("%s takes no O_DIRECT", scratch_folder);
    zrt__tier_close(&tier);
    return good;
}

static void test_transfers(unsigned char *copy, unsigned char *buffer)
{
    static const int64_t blocks[] = {4096, 100000, 1 << 20, 1 << 26};
    static const int depths[] = {1, 8, 64};
    for (size_t b = 0; b < 4; b++)
        for (size_t d = 0; d < 3; d++) {
            bool good = true;
            for (int way = 0; way < 8; way++) {
                zrt__tier_options options = options_with(blocks[b], depths[d], way & 4 ? 3 : 1);
                options.aio.single_submit = way & 1;
                options.aio.overlap_events = !(way & 2);
                options.write_zeros = way & 1;
                good = good && agrees(&options, copy, buffer);
                options.no_uring = true;
                good = good && (way > 1 || agrees(&options, copy, buffer));
            }
            tap_ok(good, "blocks of %d bytes, %d at once: what was written is read", (int)blocks[b], depths[d]);
        }
}

static bool refused(const char *folder, const char *words)
{
    zrt__tier *tier = NULL;
    zrt__tier_options options = options_with(1 << 20, 8, 1);
    options.folder = folder;
    zrt_status status = zrt__tier_open(&options, &tier);
    bool good = status == ZRT_ERR_IO && strstr(zrt_error_message(), words) != NULL &&
                strstr(zrt_error_message(), "nvme_path") != NULL && tier == NULL;
    if (!good)
        tap_diag("status %d: %s", status, zrt_error_message());
    zrt__tier_close(&tier);
    return good;
}

static void test_refusals(void)
{
    tap_ok(refused(scratch_path("nowhere"), "no such folder"), "a folder that is not there");
    tap_ok(refused(scratch_write("file", "x", 1), "not a folder"), "a file instead of a folder");
    remove(scratch_path("file"));
    if (geteuid() == 0) {
        tap_skip(1, "root may write anywhere");
    } else {
        chmod(scratch_folder, 0500);
        tap_ok(refused(scratch_folder, "right to write"), "a folder that may not be written");
        chmod(scratch_folder, 0700);
    }
    zrt__tier *tier = NULL;
    zrt__tier_options options = options_with(1 << 20, 8, 1);
    options.bytes = (int64_t)1 << 43;
    zrt_status status = zrt__tier_open(&options, &tier);
    tap_ok(status == ZRT_ERR_IO && strstr(zrt_error_message(), "no room") != NULL, "more than the disk has: %s",
           status == ZRT_OK ? "" : zrt_error_message());
    zrt__tier_close(&tier);
}

/* The n-th request fails, whichever it is. */
static void test_failures(unsigned char *buffer)
{
    bool told = true, stays = true;
    for (int way = 0; way < 4; way++)
        for (int at = 1; at <= 24; at += 5) {
            char text[16];
            snprintf(text, sizeof text, "%d", at);
            setenv("ZERORT_FAIL_TRANSFER", text, 1);
            zrt__tier *tier = NULL;
            zrt__tier_options options = options_with(1 << 18, 4, way & 2 ? 2 : 1);
            options.no_uring = way & 1;
            told = told && zrt__tier_open(&options, &tier) == ZRT_OK;
            zrt__transfer transfer = {tier, 0, true, 0, BYTES, buffer};
            zrt_status first = zrt__transfer_run(NULL, &transfer);
            transfer.write = false;
            zrt_status second = zrt__transfer_run(NULL, &transfer);
            zrt_status worst = first != ZRT_OK ? first : second;
            told = told && worst == ZRT_ERR_IO && (first != ZRT_OK) == (at <= 12) &&
                   strstr(zrt_error_message(), strerror(EIO)) != NULL;
            stays = stays && zrt__tier_status(tier) == ZRT_ERR_IO && zrt__transfer_run(NULL, &transfer) == ZRT_ERR_IO &&
                    zrt__tier_read(tier, 8, buffer, 8) == ZRT_ERR_IO &&
                    zrt__tier_write(tier, 8, buffer, 8) == ZRT_ERR_IO;
            zrt__tier_close(&tier);
        }
    unsetenv("ZERORT_FAIL_TRANSFER");
    tap_ok(told, "a request that fails is told");
    tap_ok(stays, "and nothing is transferred after it");
}

int main(void)
{
    unsigned char *copy = malloc(BYTES), *base = malloc(BYTES + 3 * ZRT__TIER_ALIGNMENT);
    if (!scratch_make() || copy == NULL || base == NULL)
        return 99;
    unsigned char *buffer = base + (ZRT__TIER_ALIGNMENT - (uintptr_t)base % ZRT__TIER_ALIGNMENT) % ZRT__TIER_ALIGNMENT;
    test_transfers(copy, buffer);
    test_refusals();
    test_failures(buffer);
    scratch_remove();
    free(copy);
    free(base);
    return tap_done();
}
