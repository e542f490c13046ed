/* Manifests whose checksum is right and whose content is not: refused, with what is wrong named; no path is taken from one. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "checkpoint_io.h"
#include "scratch_folder.h"
#include "tap.h"

static char *text;
static size_t n_text; /* without the checksum at the end */

/* The manifest with the first `from` after the first `after` replaced, and a checksum that is right. */
static zrt_status parse_with(const char *after, const char *from, const char *to)
{
    char *changed = malloc(n_text + strlen(to) + ZRT__MANIFEST_TAIL_BYTES + 1);
    const char *start = strstr(text, after), *at = start != NULL ? strstr(start, from) : NULL;
    zrt__manifest manifest;
    if (changed == NULL || at == NULL)
        return ZRT_OK; /* which no caller wants */
    size_t head = (size_t)(at - text), tail = n_text - head - strlen(from);
    memcpy(changed, text, head);
    memcpy(changed + head, to, strlen(to));
    memcpy(changed + head + strlen(to), at + strlen(from), tail);
    size_t n = head + strlen(to) + tail;
    snprintf(changed + n, ZRT__MANIFEST_TAIL_BYTES + 1, ZRT__MANIFEST_TAIL, zrt__crc32c(0, changed, n));
    zrt_status status = zrt__manifest_parse("manifest.json", changed, n + ZRT__MANIFEST_TAIL_BYTES, &manifest);
    if (status == ZRT_OK)
        zrt__manifest_free(&manifest);
    free(changed);
    return status;
}

static void refuses(const char *after, const char *from, const char *to, zrt_status want, const char *word)
{
    zrt_status status = parse_with(after, from, to);
    tap_ok(status == want && strstr(zrt_error_message(), word) != NULL &&
               strstr(zrt_error_message(), "manifest.json") != NULL,
           "%s: %s", to, status == ZRT_OK ? "taken" : zrt_error_message());
}

/* `latest` is a step, never a path. */
static void latest(void)
{
    static const char *const texts[] = {"../checkpoint-1",
                                        "checkpoint-1/../checkpoint-1",
                                        "/etc",
                                        "checkpoint-01",
                                        "checkpoint-99999999999999999999",
                                        "checkpoint--1",
                                        ""};
    int n_good = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t *steps = NULL;
        size_t n = 0;
        scratch_write("latest", texts[i], strlen(texts[i]));
        n_good += zrt__checkpoint_list(scratch_folder, &steps, &n) == ZRT_OK && n == 2 && steps[0] == 2;
        free(steps);
    }
    tap_ok(n_good == 7, "what is no name of a checkpoint in latest is not followed: the newest is taken (%d of 7)",
           n_good);
    scratch_write("latest", "checkpoint-1\n", 13);
    int64_t *steps = NULL;
    size_t n = 0;
    tap_ok(zrt__checkpoint_list(scratch_folder, &steps, &n) == ZRT_OK && n == 2 && steps[0] == 1,
           "what is one comes first");
    free(steps);
}

int main(void)
{
    size_t bytes;
    if (!scratch_make())
        return 99;
    tap_ok(io_save(scratch_folder, 1, 0) == ZRT_OK && io_save(scratch_folder, 2, 0) == ZRT_OK, "two checkpoints");
    if (zrt__disk_read_whole(scratch_path("checkpoint-2/manifest.json"), 1 << 20, &text, &bytes) != ZRT_OK)
        return 99;
    n_text = bytes - ZRT__MANIFEST_TAIL_BYTES;
    text[n_text] = '\0';
    tap_ok(parse_with("\"step\"", "2", "3") == ZRT_OK, "a change that is none of these is read");
    refuses("\"parameters\"", "h.0.weight", "../../h.0.weight", ZRT_ERR_INPUT, "'../../h.0.weight'");
    refuses("\"parameters\"", "h.0.weight", "/etc/passwd", ZRT_ERR_INPUT, "'/etc/passwd'");
    refuses("\"parameters\"", "h.0.weight", "..", ZRT_ERR_INPUT, "'..'");
    refuses("\"parameters\"", "h.0.weight", "a\\u0007b", ZRT_ERR_INPUT, "named 'a");
    refuses("\"ranks\"", "rank00000.h5", "../rank00000.h5", ZRT_ERR_INPUT, "'../rank00000.h5'");
    refuses("\"ranks\"", "rank00000.h5", "/dev/zero", ZRT_ERR_INPUT, "'/dev/zero'");
    refuses("\"datasets\"", "exp_avg", "../exp_avg", ZRT_ERR_INPUT, "'../exp_avg'");
    refuses("\"datasets\"", "65536", "0", ZRT_ERR_INPUT, "offset");
    refuses("\"states\"", "exp_avg", "../exp_avg", ZRT_ERR_INPUT, "layout.states");
    refuses("\"version\"", "1", "9", ZRT_ERR_NOT_SUPPORTED, "newer zerort");
    refuses("\"world\"", "1", "100000", ZRT_ERR_INPUT, "layout");
    refuses("\"elements\"", "1600", "1125899906842625", ZRT_ERR_INPUT, "1125899906842625 elements");
    refuses("\"shape\"", "37", "4611686018427387904", ZRT_ERR_INPUT, "impossible dimension");
    refuses("\"parameters\"", "\"offset\": 0", "\"offset\": 1500", ZRT_ERR_INPUT, "outside its buffer");
    refuses("\"format\"", "zerort checkpoint", "checkpoint", ZRT_ERR_INPUT, "format");
    refuses("\"step\"", "2", "-1", ZRT_ERR_INPUT, "state");
    refuses("\"model\"", "\"hash\": \"", "\"hash\": \"0", ZRT_ERR_INPUT, "model");
    latest();
    free(text);
    scratch_remove();
    return tap_done();
}
