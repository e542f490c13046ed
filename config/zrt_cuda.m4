# ZRT_CUDA
# --with-cuda[=DIR], --with-cudnn[=DIR], --with-nccl[=DIR] and --with-cuda-arch=LIST. Each is looked for and left out where
# it is not found, an error where it was asked for. Only headers, nvcc and the static CUDA runtime are needed to build:
# cuBLASLt, cuDNN and NCCL are loaded at run time, so that one binary runs where they or a GPU are missing.
# Sets NVCC, ZRT_NVCC_FLAGS, ZRT_CUDA_CFLAGS, ZRT_CUDA_LIBS, and the conditionals CUDA, CUDNN and NCCL.
AC_DEFUN([ZRT_CUDA], [
AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda=DIR], [the CUDA toolkit (default: where nvcc is, if it is)])], [],
            [with_cuda=auto])
AC_ARG_WITH([cudnn], [AS_HELP_STRING([--with-cudnn=DIR], [cuDNN 9, for attention (default: if it is found)])], [],
            [with_cudnn=auto])
AC_ARG_WITH([nccl], [AS_HELP_STRING([--with-nccl=DIR], [NCCL, between GPUs (default: if it is found)])], [],
            [with_nccl=auto])
AC_ARG_WITH([cuda-arch],
  [AS_HELP_STRING([--with-cuda-arch=LIST], [compute capabilities to build for, as 80,90 (the default); the last also as
                   PTX, which newer GPUs translate])],
  [], [with_cuda_arch=80,90])
AC_ARG_VAR([NVCC], [the CUDA compiler])
AC_ARG_VAR([NVCCFLAGS], [flags for the CUDA compiler (default: -O3 -lineinfo)])
: ${NVCCFLAGS="-O3 -lineinfo"}

zrt_cuda=no zrt_cudnn=no zrt_nccl=no zrt_version_cuda=no zrt_version_cudnn=no zrt_version_nccl=no
ZRT_CUDA_CFLAGS= ZRT_CUDA_LIBS= ZRT_NVCC_FLAGS=
AS_IF([test "x$with_cuda" != xno], [_ZRT_CUDA_TOOLKIT])
AS_IF([test $zrt_cuda = yes], [
  _ZRT_CUDA_LIBRARY([cudnn], [cudnn.h], [CUDNN], [cuDNN], [9], [0])
  _ZRT_CUDA_LIBRARY([nccl], [nccl.h], [NCCL], [NCCL], [2], [18])
], [
  AS_CASE([$with_cudnn], [auto|no], [], [AC_MSG_ERROR([--with-cudnn needs CUDA])])
  AS_CASE([$with_nccl], [auto|no], [], [AC_MSG_ERROR([--with-nccl needs CUDA])])
])
AC_SUBST([ZRT_CUDA_CFLAGS])
AC_SUBST([ZRT_CUDA_LIBS])
AC_SUBST([ZRT_NVCC_FLAGS])
AM_CONDITIONAL([CUDA], [test $zrt_cuda = yes])
AM_CONDITIONAL([CUDNN], [test $zrt_cudnn = yes])
AM_CONDITIONAL([NCCL], [test $zrt_nccl = yes])
])

# The toolkit: $with_cuda is a folder, yes or auto.
AC_DEFUN([_ZRT_CUDA_TOOLKIT], [
AS_CASE([$with_cuda], [yes|auto], [zrt_cuda_path="$PATH$PATH_SEPARATOR${CUDA_HOME:-/usr/local/cuda}/bin$PATH_SEPARATOR/usr/local/cuda/bin"],
        [zrt_cuda_path=$with_cuda/bin])
AC_PATH_PROG([NVCC], [nvcc], [], [$zrt_cuda_path])
AS_IF([test -n "$NVCC"], [
  # The folder that nvcc itself takes headers and libraries from, whatever links lead to it.
  zrt_cuda_top=`"$NVCC" --dryrun --compile -x cu /dev/null 2>&1 | $SED -n 's/^#\\$ TOP=//p'`
  AS_CASE([$with_cuda], [yes|auto], [], [zrt_cuda_top=$with_cuda])
  AS_IF([test -z "$zrt_cuda_top"], [zrt_cuda_top=`dirname "$NVCC"`/..])
  zrt_cuda_top=`cd "$zrt_cuda_top" 2>/dev/null && pwd -P`
  zrt_cuda_include= zrt_cuda_lib=
  for zrt_dir in "$zrt_cuda_top/include" "$zrt_cuda_top"/targets/*/include /usr/include; do
    AS_IF([test -z "$zrt_cuda_include" && test -f "$zrt_dir/cuda_runtime_api.h"], [zrt_cuda_include=$zrt_dir])
  done
  for zrt_dir in "$zrt_cuda_top/lib64" "$zrt_cuda_top/lib" "$zrt_cuda_top"/targets/*/lib /usr/lib/*-linux-gnu; do
    AS_IF([test -z "$zrt_cuda_lib" && test -f "$zrt_dir/libcudart_static.a"], [zrt_cuda_lib=$zrt_dir])
  done
  zrt_version_cuda=`"$NVCC" --version | $SED -n 's/.*release \(@<:@0-9.@:>@*\).*/\1/p'`
  ZRT_CUDA_CFLAGS="-isystem $zrt_cuda_include"
  zrt_saved_CPPFLAGS=$CPPFLAGS
  CPPFLAGS="$CPPFLAGS $ZRT_CUDA_CFLAGS"
  AC_CHECK_HEADERS([cuda_runtime_api.h cublasLt.h], [zrt_cuda=yes], [zrt_cuda=no; break])
  CPPFLAGS=$zrt_saved_CPPFLAGS
  AS_IF([test -z "$zrt_cuda_lib"], [zrt_cuda=no])
])
AS_IF([test $zrt_cuda = yes], [
  # libstdc++: of the headers that CUB brings
  ZRT_CUDA_LIBS="-L$zrt_cuda_lib -lcudart_static -lstdc++ -lrt -lpthread -ldl"
  zrt_arches=`AS_ECHO(["$with_cuda_arch"]) | tr ', ' '\n\n' | $SED -e '/^$/d' -e 's/^sm_//' | sort -n | tr '\n' ' '`
  zrt_arch_last=
  for zrt_arch in $zrt_arches; do
    AS_CASE([$zrt_arch], [@<:@0-9@:>@@<:@0-9@:>@|@<:@0-9@:>@@<:@0-9@:>@a|@<:@0-9@:>@@<:@0-9@:>@f|1@<:@0-9@:>@@<:@0-9@:>@|1@<:@0-9@:>@@<:@0-9@:>@@<:@af@:>@], [],
            [AC_MSG_ERROR([--with-cuda-arch=$with_cuda_arch: $zrt_arch is no compute capability (80, 90, 90a, 100, ...)])])
    ZRT_NVCC_FLAGS="$ZRT_NVCC_FLAGS -gencode arch=compute_$zrt_arch,code=sm_$zrt_arch"
    zrt_arch_last=$zrt_arch
  done
  AS_IF([test -z "$zrt_arch_last"], [AC_MSG_ERROR([--with-cuda-arch names no compute capability])])
  ZRT_NVCC_FLAGS="$ZRT_NVCC_FLAGS -gencode arch=compute_$zrt_arch_last,code=compute_$zrt_arch_last"
  AC_MSG_CHECKING([whether $NVCC builds for $zrt_arches])
  AS_ECHO(["__global__ void kernel(float *x) { x@<:@threadIdx.x@:>@ = 1.0f; }"]) > conftest.cu
  AS_IF([$NVCC $ZRT_NVCC_FLAGS -std=c++17 -Xcompiler -fPIC -c -o conftest.o conftest.cu >&AS_MESSAGE_LOG_FD 2>&1],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AS_CASE([$with_cuda], [auto], [AC_MSG_WARN([nvcc does not work (see config.log): building without CUDA])],
                 [AC_MSG_FAILURE([nvcc does not build for "$zrt_arches"])])
         zrt_cuda=no])
  rm -f conftest.cu conftest.o
])
AS_IF([test $zrt_cuda = yes], [
  AC_DEFINE([ZRT_HAVE_CUDA], [1], [Whether the CUDA device is built])
  AC_DEFINE_UNQUOTED([ZRT_CUDA_ARCHES], ["$zrt_arches"], [Compute capabilities that the kernels are built for])
  AC_DEFINE_UNQUOTED([ZRT_CUDA_LIBRARY_DIR], ["$zrt_cuda_lib"], [Where libraries of CUDA are looked for last])
], [
  AS_CASE([$with_cuda], [auto], [ZRT_CUDA_CFLAGS=; ZRT_NVCC_FLAGS=; ZRT_CUDA_LIBS=; zrt_version_cuda=no],
          [AC_MSG_ERROR([--with-cuda=$with_cuda: no nvcc, cuda_runtime_api.h, cublasLt.h or libcudart_static.a there])])
])
])

# _ZRT_CUDA_LIBRARY(NAME, HEADER, MACRO OF THE VERSION, TEXT, LEAST MAJOR, LEAST MINOR): only the header is needed here
AC_DEFUN([_ZRT_CUDA_LIBRARY], [
AS_IF([test "x$with_$1" != xno], [
  AS_CASE([$with_$1], [yes|auto], [zrt_flags=], [zrt_flags="-isystem $with_$1/include"])
  AC_MSG_CHECKING([for $4])
  zrt_saved_CPPFLAGS=$CPPFLAGS
  CPPFLAGS="$CPPFLAGS $zrt_flags $ZRT_CUDA_CFLAGS"
  AC_COMPILE_IFELSE([AC_LANG_SOURCE([
#include <$2>
#if $3_MAJOR * 1000 + $3_MINOR < $5 * 1000 + $6
#error too old
#endif
])],
    [zrt_$1=yes
     zrt_version_$1=`AS_ECHO(["#include <$2>
ZRT_VERSION $3_MAJOR $3_MINOR"]) | $CC -E -P $CPPFLAGS - 2>/dev/null | $SED -n 's/^ZRT_VERSION \(@<:@0-9@:>@*\) \(@<:@0-9@:>@*\).*/\1.\2/p'`
     ZRT_CUDA_CFLAGS="$zrt_flags $ZRT_CUDA_CFLAGS"
     AC_MSG_RESULT([$zrt_version_$1])
     AC_DEFINE([ZRT_HAVE_]m4_toupper([$1]), [1], [Whether $4 is used])],
    [AC_MSG_RESULT([no])
     AS_CASE([$with_$1], [auto], [], [AC_MSG_FAILURE([--with-$1=$with_$1: no $2 of $4 $5.$6 or newer there])])])
  CPPFLAGS=$zrt_saved_CPPFLAGS
])
])
