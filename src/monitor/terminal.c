#include "config.h"

#include "monitor/terminal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ANCESTORS = 16 };

/* The parent of a process and its name; 0: there is none to be seen. */
static long parent_of(long process, char *name, size_t n)
{
    char path[64], line[512] = "";
    long parent = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", process);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    /* pid (name) state ppid ..; the name may hold anything */
    char *begin = NULL, *end = NULL;
    if (fgets(line, sizeof line, file) != NULL) {
        begin = strchr(line, '(');
        end = strrchr(line, ')');
    }
    fclose(file);
    if (begin == NULL || end == NULL || end < begin || sscanf(end + 1, " %*c %ld", &parent) != 1)
        return 0;
    snprintf(name, n, "%.*s", (int)(end - begin - 1), begin + 1);
    return parent;
}

static bool launcher_writes_to_terminal(int fd)
{
    static const char *const names[] = {"mpirun", "orterun", "mpiexec", "prterun"};
    char name[64], path[64];
    long process = (long)getppid();
    for (int i = 0; i < MOST_ANCESTORS && process > 1; i++) {
        long parent = parent_of(process, name, sizeof name);
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            if (strcmp(name, names[k]) != 0)
                continue;
            snprintf(path, sizeof path, "/proc/%ld/fd/%d", process, fd);
            int its = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
            bool terminal = its >= 0 && isatty(its);
            if (its >= 0)
                close(its);
            return terminal;
        }
        process = parent;
    }
    return false; /* mpirun is on another host: nobody knows */
}

bool zrt__is_terminal(FILE *stream)
{
    const char *term = getenv("TERM");
    int fd = fileno(stream);
    if (!isatty(fd) || (term != NULL && strcmp(term, "dumb") == 0))
        return false;
    return getenv("OMPI_COMM_WORLD_RANK") == NULL || launcher_writes_to_terminal(fd);
}
