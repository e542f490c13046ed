/* Every call that writes, failed in turn: no crash, no hang, nothing invalid taken for valid, nothing acknowledged lost. */
#include "config.h"

#include "checkpoint_io.h"

#include <dirent.h>
#include <sys/wait.h>

#include "scratch_folder.h"
#include "tap.h"

static const char *const names[] = {"none", "EIO", "ENOSPC", "short write", "kill"};

static int count_leftovers(const char *folder)
{
    int n = 0;
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;)
        n += strncmp(entry->d_name, ".tmp-", 5) == 0 || strncmp(entry->d_name, ".trash-", 7) == 0 ||
             strcmp(entry->d_name, ".latest.tmp") == 0;
    if (listing != NULL)
        closedir(listing);
    return n;
}

/* One save with the n-th call failing. False when the save had fewer calls. */
static bool try_fault(const char *folder, io_fault fault, bool sticky, int at, int64_t *acknowledged, int64_t *next,
                      int *n_bad)
{
    int64_t step = (*next)++;
    io_watch(folder);
    io.at = at;
    io.fault = fault;
    io.sticky = sticky;
    zrt_status status = io_save(folder, step, 2);
    bool reached = io.count >= at;
    io_watch("");
    /* A short write is finished by the next one; anything else fails the save or comes after it is committed. */
    if (status == ZRT_OK)
        *acknowledged = step;
    int64_t newest = io_newest_whole(folder);
    bool bad = newest < *acknowledged || (fault == FAULT_SHORT && status != ZRT_OK) ||
               (status != ZRT_OK && count_leftovers(folder) > 0) || (status != ZRT_OK && *zrt_error_message() == '\0');
    if (bad) {
        tap_diag("%s at call %d: status %d, newest %lld, acknowledged %lld: %s", names[fault], at, status,
                 (long long)newest, (long long)*acknowledged, zrt_error_message());
        (*n_bad)++;
    }
    return reached;
}

static void fail_in_turn(const char *folder, io_fault fault, bool sticky)
{
    int64_t acknowledged = 0, next = 1;
    int n = 0, n_bad = 0, lock = -1;
    if (zrt__run_folder_claim(folder, &lock) != ZRT_OK || io_save(folder, 0, 2) != ZRT_OK)
        n_bad++;
    while (try_fault(folder, fault, sticky, n + 1, &acknowledged, &next, &n_bad))
        n++;
    tap_ok(n > 15 && n_bad == 0, "%s%s at each of %d calls of a save", names[fault], sticky ? " from then on" : "", n);
    tap_ok(io_save(folder, next, 2) == ZRT_OK && io_newest_whole(folder) == next, "and the next save works");
    zrt__run_folder_release(&lock);
}

/* A process killed at each call; the next start finds the last acknowledged checkpoint, or a newer one, and cleans up. */
static void kill_in_turn(const char *folder)
{
    int64_t acknowledged = 0, next = 1;
    int n = 0, n_bad = 0, lock = -1;
    bool goes_on = io_save(folder, 0, 2) == ZRT_OK;
    while (goes_on) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            io_watch(folder);
            io.at = n + 1;
            io.fault = FAULT_KILL;
            _exit(io_save(folder, next, 2) == ZRT_OK ? 0 : 1);
        }
        int status = 0;
        waitpid(child, &status, 0);
        goes_on = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        n += goes_on;
        if (!goes_on && WEXITSTATUS(status) != 0)
            n_bad++;
        if (!goes_on)
            acknowledged = next;
        int64_t newest = io_newest_whole(folder);
        acknowledged = newest > acknowledged ? newest : acknowledged; /* seen once, it must stay */
        next++;
        n_bad += newest < acknowledged;
        n_bad += zrt__run_folder_claim(folder, &lock) != ZRT_OK || count_leftovers(folder) > 0;
        zrt__run_folder_release(&lock);
    }
    tap_ok(n > 15 && n_bad == 0, "killed at each of %d calls of a save: %d bad", n, n_bad);
}

int main(void)
{
    char run[sizeof scratch_folder + 16];
    if (!scratch_make())
        return 99;
    for (int fault = FAULT_EIO; fault <= FAULT_SHORT; fault++)
        for (int sticky = 0; sticky < 2; sticky++) {
            snprintf(run, sizeof run, "%s/%d-%d", scratch_folder, fault, sticky);
            fail_in_turn(run, (io_fault)fault, sticky == 1);
        }
    snprintf(run, sizeof run, "%s/killed", scratch_folder);
    mkdir(run, 0777);
    kill_in_turn(run);
    scratch_remove();
    return tap_done();
}
