# What Open MPI asks for where ranks share few cores or belong to root. To be sourced; what is set already stays.
# Root is refused by default, although a container has no one else.
: "${OMPI_ALLOW_RUN_AS_ROOT=1}" "${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1}"
# More ranks than cores are welcome, and one that waits gives its core away.
: "${OMPI_MCA_rmaps_base_oversubscribe=1}" "${OMPI_MCA_mpi_yield_when_idle=1}"
# Ranks have threads and place them themselves.
: "${OMPI_MCA_hwloc_base_binding_policy=none}"
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
export OMPI_MCA_mpi_yield_when_idle OMPI_MCA_hwloc_base_binding_policy
