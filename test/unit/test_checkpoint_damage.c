/* Bits flipped and ends cut off, anywhere in any file: refused, with the file named.
 * ZRT_TEST_DAMAGES: how many of each (300); the seed is printed. */
#include "config.h"

#include "checkpoint_io.h"

#include "base/random.h"
#include "scratch_folder.h"
#include "tap.h"

static const char *const files[] = {"manifest.json", "index.h5", "rank00000.h5"};
enum { N_FILES = 3 };

static uint64_t random_state = 1;

static uint64_t draw(uint64_t below)
{
    random_state = zrt__hash_mix(random_state, 78);
    return random_state % below;
}

static bool is_refused(const char *folder, const char *file)
{
    zrt__restore *restore = NULL;
    zrt_status status = zrt__restore_open(folder, NULL, &restore);
    if (status == ZRT_OK)
        status = zrt__restore_verify_rest(restore);
    zrt__restore_close(&restore);
    return status != ZRT_OK && strstr(zrt_error_message(), file) != NULL;
}

int main(void)
{
    const char *asked = getenv("ZRT_TEST_DAMAGES"), *seed = getenv("ZRT_TEST_SEED");
    int n = asked != NULL ? atoi(asked) : 300;
    random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)getpid();
    tap_diag("ZRT_TEST_SEED=%llu", (unsigned long long)random_state);
    io_prefer_memory();
    if (!scratch_make())
        return 99;
    tap_ok(io_save(scratch_folder, 5, 0) == ZRT_OK && io_is_whole(scratch_folder, 5), "a checkpoint is whole (%s)",
           zrt_error_message());
    tap_ok(io_save(scratch_folder, 6, 0) == ZRT_OK, "a second one");
    char *folder = zrt__checkpoint_path(scratch_folder, ZRT__CHECKPOINT_PREFIX, 6);
    int n_flips = 0, n_cuts = 0, n_fallbacks = 0;
    for (int i = 0; i < n; i++) {
        const char *name = files[draw(N_FILES)];
        char *path = zrt__format("%s/%s", folder, name);
        struct stat info;
        unsigned char byte = 0, flipped;
        int fd = open(path, O_RDWR);
        if (fd < 0 || fstat(fd, &info) != 0)
            return 99;
        off_t at = (off_t)draw((uint64_t)info.st_size);
        unsigned char bit = (unsigned char)(1u << draw(8));
        if (pread(fd, &byte, 1, at) != 1)
            return 99;
        flipped = byte ^ bit;
        if (pwrite(fd, &flipped, 1, at) != 1)
            return 99;
        bool refused = is_refused(folder, name);
        n_flips += refused;
        if (!refused)
            tap_diag("%s: bit %u of byte %lld", name, bit, (long long)at);
        if (i % 16 == 0)
            n_fallbacks += io_newest_whole(scratch_folder) == 5;
        if (pwrite(fd, &byte, 1, at) != 1)
            return 99;
        /* The tail goes, and comes back. */
        size_t length = (size_t)(info.st_size - at);
        char *tail = malloc(length);
        if (tail == NULL || pread(fd, tail, length, at) != (ssize_t)length || ftruncate(fd, at) != 0)
            return 99;
        refused = is_refused(folder, name);
        n_cuts += refused;
        if (!refused)
            tap_diag("%s: cut off at %lld", name, (long long)at);
        if (pwrite(fd, tail, length, at) != (ssize_t)length)
            return 99;
        free(tail);
        close(fd);
        free(path);
    }
    tap_ok(n_flips == n, "%d of %d flipped bits are refused, the file named", n_flips, n);
    tap_ok(n_cuts == n, "%d of %d truncations are refused, the file named", n_cuts, n);
    tap_ok(n_fallbacks == (n + 15) / 16, "the older checkpoint is taken then");
    tap_ok(io_is_whole(scratch_folder, 6), "repaired, it is whole");
    for (int i = 0; i < N_FILES; i++) {
        char *path = zrt__format("%s/%s", folder, files[i]), *away = zrt__format("%s.away", path);
        rename(path, away);
        tap_ok(is_refused(folder, files[i]), "%s missing: %s", files[i], zrt_error_message());
        mkdir(path, 0777);
        tap_ok(is_refused(folder, files[i]), "a folder in its place: %s", zrt_error_message());
        rmdir(path);
        if (symlink(away, path) == 0)
            tap_ok(is_refused(folder, files[i]), "a link in its place: %s", zrt_error_message());
        unlink(path);
        rename(away, path);
        free(path);
        free(away);
    }
    free(folder);
    scratch_remove();
    return tap_done();
}
