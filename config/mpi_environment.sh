# What Open MPI asks for where ranks share few cores or belong to root. To be sourced; what is set already stays.
# Root is refused by default, although a container has no one else.
: "${OMPI_ALLOW_RUN_AS_ROOT=1}" "${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1}"
# More ranks than cores are welcome, and one that waits gives its core away.
: "${OMPI_MCA_rmaps_base_oversubscribe=1}" "${OMPI_MCA_mpi_yield_when_idle=1}"
# Ranks have threads and place them themselves.
: "${OMPI_MCA_hwloc_base_binding_policy=none}"
# A host that is cut off is noticed after some 10 seconds; by default mpirun waits for hours.
: "${OMPI_MCA_oob_tcp_keepalive_time=5}" "${OMPI_MCA_oob_tcp_keepalive_intvl=2}" "${OMPI_MCA_oob_tcp_keepalive_probes=3}"
export OMPI_MCA_oob_tcp_keepalive_time OMPI_MCA_oob_tcp_keepalive_intvl OMPI_MCA_oob_tcp_keepalive_probes
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
export OMPI_MCA_mpi_yield_when_idle OMPI_MCA_hwloc_base_binding_policy
