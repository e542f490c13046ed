# ZRT_WARNINGS
# Sets ZRT_WARNING_CFLAGS to the warnings of the project that this compiler knows; --enable-werror makes them errors.
AC_DEFUN([ZRT_WARNINGS], [
ZRT_WARNING_CFLAGS=
for zrt_flag in -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wpointer-arith; do
  _ZRT_TRY_CFLAG([$zrt_flag], [ZRT_WARNING_CFLAGS="$ZRT_WARNING_CFLAGS $zrt_flag"])
done
AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [make warnings errors])], [], [enable_werror=no])
AS_IF([test "x$enable_werror" != xno], [ZRT_WARNING_CFLAGS="$ZRT_WARNING_CFLAGS -Werror"])
AC_SUBST([ZRT_WARNING_CFLAGS])
ZRT_NVCC_WARNINGS="-Wall -Wextra"
AS_IF([test "x$enable_werror" != xno], [ZRT_NVCC_WARNINGS="$ZRT_NVCC_WARNINGS --Werror=all-warnings"])
AC_SUBST([ZRT_NVCC_WARNINGS])
])

# _ZRT_TRY_CFLAG(FLAG, IF KNOWN); -Werror beside it, because clang only warns of flags that it does not know.
AC_DEFUN([_ZRT_TRY_CFLAG], [
AC_MSG_CHECKING([whether $CC knows $1])
zrt_saved_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS -Werror $1"
AC_COMPILE_IFELSE([AC_LANG_SOURCE([[int main(void) { return 0; }]])],
                  [AC_MSG_RESULT([yes]); CFLAGS=$zrt_saved_CFLAGS; $2],
                  [AC_MSG_RESULT([no]); CFLAGS=$zrt_saved_CFLAGS])
])
