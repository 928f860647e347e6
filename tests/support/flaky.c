/* Faults in the operating system's answers, for the real program: LD_PRELOAD it. Opening a file whose path holds
 * FLAKY_PATH fails with errno FLAKY_ERRNO, for the FLAKY_TIMES next times after the first FLAKY_AFTER (0: none);
 * each failure appends a byte to the file FLAKY_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long seen;

static int fails(const char *path) {
  const char *part = getenv("FLAKY_PATH");
  if (part == NULL || strstr(path, part) == NULL) return 0;
  long number = ++seen - atol(getenv("FLAKY_AFTER"));
  if (number <= 0 || number > atol(getenv("FLAKY_TIMES"))) return 0;
  int log = syscall(SYS_openat, AT_FDCWD, getenv("FLAKY_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log < 0 || write(log, "x", 1) != 1) abort();
  close(log);
  errno = atoi(getenv("FLAKY_ERRNO"));
  return 1;
}

static int open_at(int directory, const char *path, int flags, mode_t mode) {
  return fails(path) ? -1 : (int)syscall(SYS_openat, directory, path, flags, mode);
}

#define MODE_OF(flags)                           \
  mode_t mode = 0;                               \
  if ((flags) & (O_CREAT | O_TMPFILE)) {         \
    va_list rest;                                \
    va_start(rest, flags);                       \
    mode = va_arg(rest, mode_t);                 \
    va_end(rest);                                \
  }

int open(const char *path, int flags, ...) {
  MODE_OF(flags)
  return open_at(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  MODE_OF(flags)
  return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
int openat(int directory, const char *path, int flags, ...) {
  MODE_OF(flags)
  return open_at(directory, path, flags, mode);
}
int openat64(int directory, const char *path, int flags, ...) {
  MODE_OF(flags)
  return open_at(directory, path, flags | O_LARGEFILE, mode);
}
