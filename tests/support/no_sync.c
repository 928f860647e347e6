/* A program that says that it has synced and has not: LD_PRELOAD it. For tests that have to notice. */
#define _GNU_SOURCE
#include <sys/uio.h>
#include <unistd.h>

int fsync(int fd) { return (void)fd, 0; }
int fdatasync(int fd) { return (void)fd, 0; }
int syncfs(int fd) { return (void)fd, 0; }
ssize_t pwritev2(int fd, const struct iovec *vectors, int count, off_t offset, int flags) {
  return (void)flags, pwritev(fd, vectors, count, offset);
}
