/* A store that is far away, for the real program: LD_PRELOAD it. Each pread of a file whose path holds SLOW_PATH takes
 * SLOW_MS longer. */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_for(int fd) {
  const char *part = getenv("SLOW_PATH");
  if (part == NULL) return;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return;
  path[size] = '\0';
  if (strstr(path, part) == NULL) return;
  long ms = atol(getenv("SLOW_MS"));
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset) {
  wait_for(fd);
  return syscall(SYS_pread64, fd, buffer, size, offset);
}

ssize_t pread64(int fd, void *buffer, size_t size, off_t offset) {
  wait_for(fd);
  return syscall(SYS_pread64, fd, buffer, size, offset);
}
