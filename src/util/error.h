// Errors are values: one struct for everything that can go wrong on input, disk, network or server.
//
// `kind` is the small closed set that callers branch on; the process exit code, the JSON id and whether a
// retry makes sense derive from it through one table (error.cc), which docs/errors.md repeats and a test
// compares. Nothing in an Error may hold a secret: it is printed and logged as it stands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lifeboat {

enum class ErrorKind : uint8_t {
  failed,          // failed for a reason that has no kind of its own
  usage,           // the command line is wrong
  config,          // the configuration file or a setting is wrong
  not_found,       // the named thing certainly does not exist
  conflict,        // something else is there already under that name
  permission,      // the operating system, store or server refused access
  space,           // disk or quota is full
  unavailable,     // store, server or network did not answer; trying again may help
  timeout,         // waited as long as allowed
  damaged,         // bytes do not match their checksum, seal or structure
  wrong_key,       // key or passphrase does not open the repository
  foreign,         // system identifier, timeline or version is not this cluster's
  unreachable,     // the recovery target cannot be reached from what is stored
  precondition,    // refused because of what is there: running server, non-empty directory
  busy,            // another process holds the lease or lock
  cancelled,       // stopped by a signal or by the caller
  check_failed,    // doctor, verify, drill or a gate says no
  unsupported,     // this version, platform or store cannot do it
  server,          // PostgreSQL answered with an error
  backup_damaged,  // the backup was kept, but pages in it are broken
  not_confirmed,   // a destructive plan was printed and not carried out
  hook_failed,     // a command of the configuration's hooks failed
  attention,       // status has warnings, and nothing critical
  blocked,         // the plan was written: its targets cannot be met
  undecided,       // a target that only the owner can state is missing
  not_ready,       // the readiness report was written, and an item of it fails
  internal,        // a bug of ours
};

struct ErrorKindInfo {
  ErrorKind kind;
  std::string_view id;       // stable JSON id
  int exit_code;             // process exit code of commands without special rules
  bool retryable;            // the same call may succeed later
  std::string_view meaning;  // one line for docs/errors.md
};

// The table, in enum order.
const std::vector<ErrorKindInfo>& error_kinds();
const ErrorKindInfo& info(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::failed;
  std::string object;   // what it happened on: a path, object name, host, setting; may be empty
  std::string message;  // lower-case: what failed, expected and found
  std::string cause;    // the underlying message (strerror, server error), may be empty
  std::string hint;     // what to do about it, may be empty

  // "object: message: cause", without the hint.
  std::string to_string() const;

  // Chainable additions, for call sites that add meaning.
  Error&& with_hint(std::string text) &&;
  Error&& with_cause(std::string text) &&;
  Error&& within(std::string_view outer) &&;  // prefixes the message: "outer: message"
};

Error make_error(ErrorKind kind, std::string object, std::string message);
// From errno: ENOENT → not_found, EACCES/EPERM/EROFS → permission, ENOSPC/EDQUOT → space, EEXIST → conflict,
// EIO → unavailable, everything else → failed. `what` says what was tried: "open", "fsync". A path that owner
// and mode bits would let us use gets a hint at what else may forbid it.
Error errno_error(int err, std::string object, std::string_view what);

}  // namespace lifeboat
