#include "ops/drill/host_fault.h"

#include <algorithm>
#include <string>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

bool has_any(std::string_view text, std::initializer_list<std::string_view> phrases) {
  return std::ranges::any_of(
      phrases, [&](std::string_view phrase) { return text.find(phrase) != std::string_view::npos; });
}

// What PostgreSQL and the C library say (strerror in the C locale, which a drill's server has), and SQLSTATE
// class 53, insufficient resources.
bool names_this_host(std::string_view text) {
  return has_any(
      text, {"No space left on device", "Disk quota exceeded", "Cannot allocate memory", "out of memory",
             "Too many open files", "Permission denied", "Operation not permitted", "Read-only file system",
             "could not access file \"", "could not load library", "could not create shared memory segment",
             "could not map anonymous shared memory", "could not create semaphores",
             "could not create any Unix-domain sockets", "is incompatible with operating system", "(53"});
}

// The kernel's, which is out of memory, or somebody's.
bool was_killed(std::string_view log) {
  return has_any(log, {"was terminated by signal 9"});
}

bool crashed(std::string_view log) {
  return has_any(log, {"PANIC:", "was terminated by signal"});
}

}  // namespace

bool says_something_of_the_backup(const Error& error, DrillStage stage, std::string_view log) {
  if (names_this_host(error.to_string()) || was_killed(log)) return false;
  // A client that loads hears only that the server has gone.
  if (stage == DrillStage::loading &&
      has_any(log, {"No space left on device", "Disk quota exceeded", "Cannot allocate memory"}))
    return false;
  switch (error.kind) {
    case ErrorKind::damaged:
    case ErrorKind::backup_damaged:
    case ErrorKind::foreign:
    case ErrorKind::unreachable:
    case ErrorKind::check_failed:
    case ErrorKind::server:
      return true;
    case ErrorKind::not_found:    // an object, or a program
    case ErrorKind::unsupported:  // a version byte that was hit, or what this host cannot do
      return stage != DrillStage::checks;
    case ErrorKind::failed:  // pg_restore and psql, as all programs, say why in words alone
      if (stage == DrillStage::loading) return true;
      [[fallthrough]];
    case ErrorKind::unavailable:  // the copy's server or the repository
      return stage != DrillStage::recovery && crashed(log);
    default:
      return false;
  }
}

}  // namespace lifeboat::ops
