#!/bin/sh
# nvcc behind libtool: what libtool says to the host compiler reaches it. nvcc.sh NVCC ARGUMENT ...
nvcc=$1
shift
n=$#
while [ "$n" -gt 0 ]; do
    argument=$1
    shift
    case $argument in
    -Wall | -Wextra | -Wno-* | -fPIC | -fpic | -fPIE | -fno-* | -fvisibility=*) set -- "$@" -Xcompiler "$argument" ;;
    *) set -- "$@" "$argument" ;;
    esac
    n=$((n - 1))
done
exec "$nvcc" "$@"
