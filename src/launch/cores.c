#include "config.h"

#include "launch/cores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hwloc.h>

#include "base/alloc.h"

enum { ANCESTORS = 8, NAME_BYTES = 16 };

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

/* The parent of a process and the process's name; 0 at the end. */
static int parent_of(int pid, char name[NAME_BYTES])
{
    char path[64], line[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = '\0';
    char *open = strchr(line, '('), *close = strrchr(line, ')'); /* a name may hold either */
    if (open == NULL || close == NULL || close <= open || sscanf(close + 1, " %*c %d", &parent) != 1)
        return 0;
    snprintf(name, NAME_BYTES, "%.*s", (int)(close - open - 1), open + 1);
    return parent;
}

/* The affinity of the daemon that started this rank; wrappers (a shell, a debugger) may stand between. */
static bool daemon_affinity(cpu_set_t *set)
{
    static const char *const daemons[] = {"orted", "mpirun", "orterun", "mpiexec", "prted", "prterun"};
    char name[NAME_BYTES];
    int pid = parent_of((int)getpid(), name);
    for (int i = 0; i < ANCESTORS && pid > 1; i++) {
        int parent = parent_of(pid, name);
        if (parent == 0)
            return false;
        for (size_t k = 0; k < sizeof daemons / sizeof *daemons; k++)
            if (strncmp(name, daemons[k], strlen(daemons[k])) == 0)
                return sched_getaffinity(pid, sizeof *set, set) == 0;
        pid = parent;
    }
    return false;
}

bool zrt__cores_allowed(const cpu_set_t *before, cpu_set_t *allowed_out)
{
    static const char *const requests[] = {
        "ZERORT_KEEP_BINDING",          "OMPI_MCA_hwloc_base_binding_policy", "OMPI_MCA_hwloc_base_cpu_set",
        "OMPI_MCA_hwloc_base_cpu_list", "OMPI_MCA_rmaps_base_cpus_per_rank",  "OMPI_MCA_rmaps_rank_file_path",
        "OMPI_MCA_orte_rankfile"};
    cpu_set_t set;
    *allowed_out = *before;
    if (!is_set("OMPI_MCA_orte_bound_at_launch"))
        return false;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        if (is_set(requests[i]))
            return false;
    if (!daemon_affinity(&set))
        memset(&set, 0xff, sizeof set); /* the map of the machine holds what the control group allows */
    *allowed_out = set;
    return true;
}

/* The processors in `allowed` in the order of the machine, or the first one of each core. */
static int list(hwloc_topology_t topology, const cpu_set_t *allowed, bool cores_only, int *processors)
{
    int n = 0;
    hwloc_obj_t last_core = NULL;
    for (hwloc_obj_t pu = NULL; (pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu)) != NULL;) {
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
        bool usable = pu->os_index < CPU_SETSIZE && CPU_ISSET(pu->os_index, allowed);
        if (!usable || n == CPU_SETSIZE || (cores_only && core != NULL && core == last_core))
            continue;
        last_core = core;
        processors[n++] = (int)pu->os_index;
    }
    return n;
}

/* Cores and processors are all that is asked of the machine: reading less is faster. */
static bool load(hwloc_topology_t *topology)
{
    if (hwloc_topology_init(topology) != 0)
        return false;
    hwloc_topology_set_all_types_filter(*topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(*topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(*topology) == 0)
        return true;
    hwloc_topology_destroy(*topology);
    return false;
}

zrt_status zrt__cores_share(const cpu_set_t *allowed, int index, int n, int **cores_out, int *n_cores_out,
                            int *n_threads_out)
{
    int found = 0, *cores = zrt__malloc(CPU_SETSIZE * sizeof *cores);
    hwloc_topology_t topology;
    if (cores == NULL)
        return ZRT_ERR_MEMORY;
    if (load(&topology)) {
        found = list(topology, allowed, true, cores);
        if (found < n)
            found = list(topology, allowed, false, cores);
        hwloc_topology_destroy(topology);
    }
    /* without a map, the processors by number */
    bool mapped = found > 0;
    for (int i = 0; !mapped && i < (int)sysconf(_SC_NPROCESSORS_CONF) && i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, allowed))
            cores[found++] = i;
    if (found == 0)
        cores[found++] = 0;
    int from = found >= n ? (int)((long)index * found / n) : 0;
    int to = found >= n ? (int)((long)(index + 1) * found / n) : found;
    memmove(cores, cores + from, (size_t)(to - from) * sizeof *cores);
    *cores_out = cores;
    *n_cores_out = to - from;
    *n_threads_out = found >= n ? to - from : 1;
    return ZRT_OK;
}
