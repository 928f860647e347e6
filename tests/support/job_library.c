/* Stands for a library that runs jobs, in shared_preload_libraries: each process that loads it leaves a line in JOB_LOG. Linked
 * with a library of PostgreSQL's own, which has what a server asks of one. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void) {
  char line[64];
  int size = snprintf(line, sizeof line, "%d\n", (int)getpid());
  int log = open(JOB_LOG, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (log < 0) return;
  if (write(log, line, (size_t)size) != size) _exit(99);
  close(log);
}
