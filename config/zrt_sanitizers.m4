# ZRT_SANITIZERS
# --enable-sanitizers=address,undefined or =thread: builds everything with them. Sets ZRT_SANITIZER_CFLAGS.
AC_DEFUN([ZRT_SANITIZERS], [
AC_ARG_ENABLE([sanitizers],
  [AS_HELP_STRING([--enable-sanitizers=LIST], [build with sanitizers: "address,undefined" (the default LIST) or "thread"])],
  [AS_CASE([$enableval], [yes], [zrt_sanitizers=address,undefined], [no], [zrt_sanitizers=],
           [zrt_sanitizers=$enableval])],
  [zrt_sanitizers=])
ZRT_SANITIZER_CFLAGS=
AS_IF([test -n "$zrt_sanitizers"], [
  ZRT_SANITIZER_CFLAGS="-fsanitize=$zrt_sanitizers -fno-sanitize-recover=all -fno-omit-frame-pointer"
  AC_MSG_CHECKING([whether $CC links with -fsanitize=$zrt_sanitizers])
  zrt_saved_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS $ZRT_SANITIZER_CFLAGS"
  AC_LINK_IFELSE([AC_LANG_SOURCE([[int main(void) { return 0; }]])], [AC_MSG_RESULT([yes])],
                 [AC_MSG_RESULT([no])
                  AC_MSG_ERROR([the compiler has no sanitizers "$zrt_sanitizers" (Debian: gcc's libasan, or libclang-rt-dev)])])
  CFLAGS=$zrt_saved_CFLAGS])
AC_SUBST([ZRT_SANITIZER_CFLAGS])
])
