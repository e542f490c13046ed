# ZRT_DEPENDENCIES
# Open MPI, serial HDF5, jansson, hwloc, PCRE2, utf8proc and zlib, each by pkg-config; liburing where it is there.
# Sets ZRT_DEP_CFLAGS and ZRT_DEP_LIBS, and MPIEXEC for the tests.
AC_DEFUN([ZRT_DEPENDENCIES], [
PKG_PROG_PKG_CONFIG([0.29])
PKG_INSTALLDIR
ZRT_DEP_CFLAGS=
ZRT_DEP_LIBS=
# Open MPI and HDF5 by their own names: mpi.pc and hdf5.pc are alternatives that may mean another build.
_ZRT_DEPENDENCY([MPI], [mpi], [ompi-c >= 4.1], [libopenmpi-dev])
_ZRT_DEPENDENCY([HDF5], [hdf5], [hdf5-serial >= 1.10], [libhdf5-dev])
_ZRT_DEPENDENCY([JANSSON], [jansson], [jansson >= 2.10], [libjansson-dev])
_ZRT_DEPENDENCY([HWLOC], [hwloc], [hwloc >= 2.0], [libhwloc-dev])
_ZRT_DEPENDENCY([PCRE2], [pcre2], [libpcre2-8 >= 10.30], [libpcre2-dev])
_ZRT_DEPENDENCY([UTF8PROC], [utf8proc], [libutf8proc >= 2.4], [libutf8proc-dev])
_ZRT_DEPENDENCY([ZLIB], [zlib], [zlib >= 1.2.5], [zlib1g-dev])

AC_ARG_WITH([liburing], [AS_HELP_STRING([--without-liburing], [states in files by threads instead of io_uring])],
            [], [with_liburing=check])
zrt_version_liburing=none
AS_IF([test "$with_liburing" != no],
      [PKG_CHECK_MODULES([LIBURING], [liburing >= 2.2],
           [zrt_version_liburing=`$PKG_CONFIG --modversion liburing`
            ZRT_DEP_CFLAGS="$ZRT_DEP_CFLAGS "`AS_ECHO(["$LIBURING_CFLAGS"]) | $SED -e 's/-I */-isystem /g'`
            ZRT_DEP_LIBS="$ZRT_DEP_LIBS $LIBURING_LIBS"
            AC_DEFINE([HAVE_LIBURING], [1], [Define to 1 where liburing is used.])],
           [AS_IF([test "$with_liburing" = yes],
                  [AC_MSG_ERROR([pkg-config finds no liburing >= 2.2 (Debian: liburing-dev)])])])])

zrt_saved_CPPFLAGS=$CPPFLAGS
CPPFLAGS="$CPPFLAGS $ZRT_DEP_CFLAGS"
AC_CHECK_HEADERS([mpi.h hdf5.h jansson.h hwloc.h utf8proc.h zlib.h], [],
                 [AC_MSG_ERROR([a header of a dependency is missing: see config.log])])
CPPFLAGS=$zrt_saved_CPPFLAGS

zrt_saved_LIBS=$LIBS
LIBS=
AC_SEARCH_LIBS([dlopen], [dl], [], [AC_MSG_ERROR([dlopen is needed])])
AC_SEARCH_LIBS([pthread_create], [pthread], [], [AC_MSG_ERROR([POSIX threads are needed])])
AC_SEARCH_LIBS([shm_open], [rt], [], [AC_MSG_ERROR([shm_open is needed])])
ZRT_DEP_LIBS="$ZRT_DEP_LIBS $LIBS -lpthread -lm"
LIBS=$zrt_saved_LIBS

AC_SUBST([ZRT_DEP_CFLAGS])
AC_SUBST([ZRT_DEP_LIBS])
AC_ARG_VAR([MPIEXEC], [the program that starts MPI ranks])
AC_PATH_PROGS([MPIEXEC], [mpirun mpiexec])
AS_IF([test -z "$MPIEXEC"], [AC_MSG_ERROR([mpirun is needed (Debian: openmpi-bin)])])
])

# _ZRT_DEPENDENCY(VARIABLE, NAME, MODULE AND VERSION, DEBIAN PACKAGE)
# Its include folders count as the system's: zerort's warnings are not for foreign headers.
AC_DEFUN([_ZRT_DEPENDENCY], [
PKG_CHECK_MODULES([$1], [$3], [],
                  [AC_MSG_ERROR([pkg-config finds no $3 (Debian: $4), or set $1_CFLAGS and $1_LIBS])])
AS_VAR_SET([zrt_version_$2], [`$PKG_CONFIG --modversion m4_bregexp([$3], [^\([^ ]+\).*], [\1]) 2>/dev/null`])
ZRT_DEP_CFLAGS="$ZRT_DEP_CFLAGS "`AS_ECHO(["$$1_CFLAGS"]) | $SED -e 's/-I */-isystem /g'`
m4_if([$1], [OPENBLAS], [], [ZRT_DEP_LIBS="$ZRT_DEP_LIBS $$1_LIBS"])
])
