#include "config.h"

#include "launch/cores.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <hwloc.h>

#include "base/alloc.h"
#include "base/error.h"

static bool keeps_binding(void)
{
    const char *slurm = getenv("SLURM_CPU_BIND_TYPE");
    if (getenv("ZERORT_KEEP_BINDING") != NULL)
        return true;
    if (slurm != NULL && *slurm != '\0' && strcmp(slurm, "none") != 0)
        return true;
    return getenv("OMPI_COMM_WORLD_SIZE") == NULL;
}

/* First logical processor of each core in `set`. */
static zrt_status list_cores(hwloc_topology_t topology, hwloc_const_cpuset_t set, int **cores_out, int *n_out)
{
    int depth = hwloc_get_type_or_below_depth(topology, HWLOC_OBJ_CORE), n = 0;
    int total = (int)hwloc_get_nbobjs_by_depth(topology, depth);
    int *cores = zrt__malloc((size_t)(total > 0 ? total : 1) * sizeof *cores);
    if (cores == NULL)
        return ZRT_ERR_MEMORY;
    for (int i = 0; i < total; i++) {
        hwloc_obj_t core = hwloc_get_obj_by_depth(topology, depth, (unsigned)i);
        for (int p = hwloc_bitmap_first(core->cpuset); p >= 0; p = hwloc_bitmap_next(core->cpuset, p))
            if (hwloc_bitmap_isset(set, (unsigned)p)) {
                cores[n++] = p;
                break;
            }
    }
    if (n == 0)
        cores[n++] = 0;
    *cores_out = cores;
    *n_out = n;
    return ZRT_OK;
}

static zrt_status share(hwloc_topology_t topology, int local_rank, int local_size, int **cores_out, int *n_cores_out,
                        int *n_threads_out)
{
    hwloc_cpuset_t set = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology));
    bool bound = false;
    if (set == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "no memory for the map of cores");
    if (keeps_binding()) {
        hwloc_cpuset_t mine = hwloc_bitmap_alloc();
        if (mine != NULL && hwloc_get_cpubind(topology, mine, HWLOC_CPUBIND_PROCESS) == 0 &&
            !hwloc_bitmap_iszero(mine)) {
            bound = !hwloc_bitmap_isequal(mine, set);
            hwloc_bitmap_and(set, set, mine);
        }
        hwloc_bitmap_free(mine);
    }
    int n = 0, *cores = NULL;
    zrt_status status = list_cores(topology, set, &cores, &n);
    hwloc_bitmap_free(set);
    if (status != ZRT_OK)
        return status;
    int first = 0, count = n;
    if (!bound && n >= local_size) {
        first = (int)((long)n * local_rank / local_size);
        count = (int)((long)n * (local_rank + 1) / local_size) - first;
    }
    memmove(cores, cores + first, (size_t)count * sizeof *cores);
    *cores_out = cores;
    *n_cores_out = count;
    *n_threads_out = bound || n >= local_size ? count : 1;
    return ZRT_OK;
}

zrt_status zrt__cores_share(int local_rank, int local_size, int **cores_out, int *n_cores_out, int *n_threads_out)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0)
        return zrt__fail(ZRT_ERR_DEVICE, "hwloc could not start");
    /* Only cores matter, and reading less is faster. */
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    zrt_status status = hwloc_topology_load(topology) == 0
                            ? share(topology, local_rank, local_size, cores_out, n_cores_out, n_threads_out)
                            : zrt__fail(ZRT_ERR_DEVICE, "hwloc could not read the map of this host's cores");
    hwloc_topology_destroy(topology);
    return status;
}
