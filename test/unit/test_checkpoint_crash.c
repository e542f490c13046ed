/* Power fails: of what was not synced, any part may be on the disk, in any order. The writes of a save are recorded, and states that
 * a crash could leave are made of them: what is acknowledged must load, and nothing invalid may be visible. With a kind of fsync
 * left out, bad states must appear, or this test would see nothing.
 * ZRT_TEST_STATES: how many states (600); the seed is printed. */
#include "config.h"

#include "checkpoint_io.h"

#include <ftw.h>

#include "base/random.h"
#include "scratch_folder.h"
#include "tap.h"

enum { MAX_NODES = 64 };

/* A file or folder of the simulated disk. */
typedef struct node {
    char name[96]; /* in its folder; "": not there */
    int parent;    /* node of its folder; the watched folder is node 0 */
    bool is_folder;
    char *data;
    size_t bytes;
} node;

static struct {
    node nodes[MAX_NODES];
    int n;
} disk;

static uint64_t random_state = 1;

static uint64_t draw(uint64_t below)
{
    random_state = zrt__hash_mix(random_state, 77);
    return random_state % below;
}

/* ---- which of the calls are on the disk ---- */

/* The folder that a path's entry is in. */
static void folder_of(const char *path, char out[160])
{
    const char *slash = strrchr(path, '/');
    snprintf(out, 160, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The kinds of fsync there are, by what they sync. */
static const char *sync_kind(const io_call *call)
{
    const char *name = last_part(call->path);
    if (call->path[0] == '\0')
        return "run folder";
    if (strncmp(name, "rank", 4) == 0)
        return "shard";
    if (strncmp(name, ".tmp-", 5) == 0)
        return "checkpoint folder";
    return name;
}

/* Whether call i is on the disk for certain when the first n calls have been made. */
static bool is_synced(size_t i, size_t n, const char *left_out)
{
    const io_call *call = &io.calls[i];
    char want[160];
    if (call->kind == IO_WRITE || call->kind == IO_RESERVE)
        snprintf(want, sizeof want, "%s", call->path);
    else
        folder_of(call->path, want);
    for (size_t k = i + 1; k < n; k++)
        if (io.calls[k].kind == IO_SYNC && strcmp(io.calls[k].path, want) == 0 &&
            (left_out == NULL || strcmp(sync_kind(&io.calls[k]), left_out) != 0))
            return true;
    return false;
}

/* ---- the simulated disk ---- */

static int find(const char *path)
{
    int at = 0;
    char part[160];
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        path += n + (path[n] == '/');
        int next = -1;
        for (int i = 1; i < disk.n; i++)
            if (disk.nodes[i].parent == at && strcmp(disk.nodes[i].name, part) == 0)
                next = i;
        if (next < 0)
            return -1;
        at = next;
    }
    return at;
}

static void add(const char *path, bool is_folder)
{
    char folder[160];
    folder_of(path, folder);
    int parent = find(folder);
    if (parent < 0 || disk.n == MAX_NODES || find(path) >= 0)
        return;
    node *made = &disk.nodes[disk.n++];
    *made = (node){.parent = parent, .is_folder = is_folder};
    snprintf(made->name, sizeof made->name, "%.95s", last_part(path));
}

static void write_node(int at, const io_call *call, size_t bytes)
{
    node *file = &disk.nodes[at];
    size_t end = (size_t)call->offset + bytes;
    if (end > file->bytes) {
        file->data = realloc(file->data, end);
        memset(file->data + file->bytes, 0, end - file->bytes);
        file->bytes = end;
    }
    if (call->data != NULL && bytes > 0)
        memcpy(file->data + call->offset, call->data, bytes);
}

static void apply(const io_call *call, bool whole)
{
    int at = find(call->path), to = find(call->to);
    switch (call->kind) {
    case IO_MKDIR:
    case IO_CREATE:
        add(call->path, call->kind == IO_MKDIR);
        break;
    case IO_RESERVE:
    case IO_WRITE:
        if (at > 0)
            write_node(at, call, whole ? call->bytes : draw(call->bytes + 1));
        break;
    case IO_RENAME:
        if (at > 0) {
            if (to > 0)
                disk.nodes[to].name[0] = '\0';
            snprintf(disk.nodes[at].name, sizeof disk.nodes[at].name, "%.95s", last_part(call->to));
        }
        break;
    case IO_EXCHANGE:
        if (at > 0 && to > 0) {
            snprintf(disk.nodes[at].name, sizeof disk.nodes[at].name, "%.95s", last_part(call->to));
            snprintf(disk.nodes[to].name, sizeof disk.nodes[to].name, "%.95s", last_part(call->path));
        }
        break;
    case IO_UNLINK:
    case IO_RMDIR:
        if (at > 0)
            disk.nodes[at].name[0] = '\0';
        break;
    case IO_SYNC:
        break;
    }
}

/* Data belongs to files under the names that they had when it was written, so it goes first, then what happens to names. A file whose
 * creation is not on the disk takes its data with it. */
static void replay(size_t n, const char *left_out)
{
    for (int i = 0; i < disk.n; i++)
        free(disk.nodes[i].data);
    memset(&disk, 0, sizeof disk);
    disk.n = 1;
    bool *kept = calloc(n + 1, sizeof *kept);
    for (size_t i = 0; i < n; i++)
        kept[i] = is_synced(i, n, left_out) || draw(2) == 0;
    for (size_t i = 0; i < n; i++) {
        const io_call *call = &io.calls[i];
        if (kept[i])
            apply(call, call->kind != IO_WRITE || is_synced(i, n, left_out) || draw(3) > 0);
    }
    free(kept);
}

/* Writes the simulated disk into a real folder. */
static void materialise(const char *folder, int at)
{
    for (int i = 1; i < disk.n; i++) {
        const node *made = &disk.nodes[i];
        if (made->parent != at || made->name[0] == '\0')
            continue;
        char *path = zrt__format("%s/%s", folder, made->name);
        if (made->is_folder) {
            mkdir(path, 0777);
            materialise(path, i);
        } else {
            FILE *file = fopen(path, "wb");
            if (file == NULL || (made->bytes > 0 && fwrite(made->data, 1, made->bytes, file) != made->bytes) ||
                fclose(file) != 0)
                exit(99);
        }
        free(path);
    }
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

/* ---- one state ---- */

/* Calls after which each save was acknowledged. */
enum { N_SAVES = 4 };
static size_t acknowledged_at[N_SAVES];

static const char *judge(const char *folder, size_t n)
{
    int64_t wanted = -1, *steps = NULL, newest = io_newest_whole(folder);
    size_t n_steps = 0, bytes = 0;
    for (int i = 0; i < N_SAVES; i++)
        if (acknowledged_at[i] <= n)
            wanted = i;
    if (newest < wanted)
        return "an acknowledged checkpoint is lost";
    const char *why = NULL;
    if (zrt__checkpoint_list(folder, &steps, &n_steps) != ZRT_OK)
        return "the folder cannot be listed";
    for (size_t i = 0; i < n_steps && why == NULL; i++)
        if (!io_is_whole(folder, steps[i]))
            why = "a checkpoint is visible that is not whole";
    free(steps);
    char *path = zrt__format("%s/latest", folder), *text = scratch_read(path, &bytes);
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld\n", (long long)wanted);
    if (why == NULL && wanted >= 0 && text == NULL)
        why = "latest is lost";
    if (why == NULL && text != NULL && (strncmp(text, "checkpoint-", 11) != 0 || text[bytes - 1] != '\n'))
        why = "latest is torn";
    if (why == NULL && wanted >= 0 && acknowledged_at[wanted] == n && strcmp(text, name) != 0)
        why = "latest names an older checkpoint";
    free(text);
    free(path);
    return why;
}

static int try_states(int n_states, const char *left_out)
{
    char *folder = zrt__format("%s/state", scratch_folder);
    int n_bad = 0;
    for (int i = 0; i < n_states; i++) {
        /* Half of them right after an acknowledgement, where most is at stake. */
        size_t n = draw(2) == 0 ? draw(io.n_calls + 1) : acknowledged_at[draw(N_SAVES)];
        mkdir(folder, 0777);
        replay(n, left_out);
        materialise(folder, 0);
        const char *why = judge(folder, n);
        n_bad += why != NULL;
        if (why != NULL && left_out == NULL)
            tap_diag("state %d, after %zu of %zu calls: %s", i, n, io.n_calls, why);
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    free(folder);
    return n_bad;
}

int main(void)
{
    static const char *const kinds[] = {"shard",      "index.h5",   "manifest.json", "checkpoint folder",
                                        "run folder", ".latest.tmp"};
    const char *asked = getenv("ZRT_TEST_STATES"), *seed = getenv("ZRT_TEST_SEED");
    int n_states = asked != NULL ? atoi(asked) : 600;
    random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)getpid();
    tap_diag("ZRT_TEST_SEED=%llu", (unsigned long long)random_state);
    io_prefer_memory();
    if (!scratch_make())
        return 99;
    char *run = zrt__format("%s/run", scratch_folder);
    mkdir(run, 0777);
    io_watch(run);
    io.records = true;
    bool good = true;
    for (int i = 0; i < N_SAVES && good; i++) {
        good = io_save(run, i, 2) == ZRT_OK;
        acknowledged_at[i] = io.n_calls;
    }
    io_watch("");
    io.records = false;
    tap_ok(good && io.n_calls > 60, "%d saves of %zu calls are recorded", N_SAVES, io.n_calls);
    int n_bad = try_states(n_states, NULL);
    tap_ok(n_bad == 0, "%d crash states, %d bad", n_states, n_bad);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        int n = n_states / 6 > 60 ? n_states / 6 : 60, n_caught = try_states(n, kinds[k]);
        tap_ok(n_caught > 0, "without the fsync of %s, %d of %d states are bad", kinds[k], n_caught, n);
    }
    free(run);
    scratch_remove();
    return tap_done();
}
