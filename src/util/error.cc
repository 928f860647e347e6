#include "util/error.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "util/check.h"
#include "util/strings.h"

namespace lifeboat {

const std::vector<ErrorKindInfo>& error_kinds() {
  using K = ErrorKind;
  static const std::vector<ErrorKindInfo> table = {
      {K::failed, "failed", 1, false, "failed for a reason that has no code of its own"},
      {K::usage, "usage", 2, false, "the command line is wrong"},
      {K::config, "config", 3, false, "the configuration file or a setting is wrong"},
      {K::not_found, "not_found", 4, false, "the named backup, object or file does not exist"},
      {K::conflict, "conflict", 5, false, "different content is there already under that name"},
      {K::permission, "permission", 6, false, "the operating system, the store or the server refused access"},
      {K::space, "space", 7, false, "disk or quota is full"},
      {K::unavailable, "unavailable", 8, true, "store, server or network did not answer"},
      {K::timeout, "timeout", 9, true, "waited as long as allowed"},
      {K::damaged, "damaged", 10, false, "bytes do not match their checksum, seal or structure"},
      {K::wrong_key, "wrong_key", 11, false, "key or passphrase does not open the repository"},
      {K::foreign, "foreign", 12, false, "system identifier, timeline or version belongs to another cluster"},
      {K::unreachable, "unreachable", 13, false, "the recovery target cannot be reached from what is stored"},
      {K::precondition, "precondition", 14, false, "refused because of what is there already"},
      {K::busy, "busy", 15, true, "another process holds the lease"},
      {K::cancelled, "cancelled", 16, false, "stopped by a signal"},
      {K::check_failed, "check_failed", 17, false, "doctor, status, verify, drill or a gate says no"},
      {K::unsupported, "unsupported", 18, false, "this version, platform or store cannot do it"},
      {K::server, "server", 19, false, "PostgreSQL answered with an error"},
      {K::backup_damaged, "backup_damaged", 20, false, "the backup was kept, but pages in it are broken"},
      {K::not_confirmed, "not_confirmed", 21, false, "the plan was printed and not carried out"},
      {K::hook_failed, "hook_failed", 22, false, "a hook of the configuration file failed"},
      {K::attention, "attention", 23, false, "status has warnings, and nothing critical"},
      {K::blocked, "blocked", 24, false, "the plan was written, and its targets cannot be met"},
      {K::undecided, "undecided", 25, false, "RPO or RTO, which only the owner can state, is missing"},
      {K::not_ready, "not_ready", 26, false, "the readiness report was written, and an item of it fails"},
      {K::internal, "internal", 70, false, "a bug in lifeboat"},
  };
  return table;
}

const ErrorKindInfo& info(ErrorKind kind) {
  const auto& entry = error_kinds()[static_cast<size_t>(kind)];
  CHECK(entry.kind == kind);
  return entry;
}

std::string Error::to_string() const {
  std::string text;
  for (const std::string* part : {&object, &message, &cause}) {
    if (part->empty()) continue;
    if (!text.empty()) text += ": ";
    text += *part;
  }
  return text;
}

Error&& Error::with_hint(std::string text) && {
  hint = std::move(text);
  return std::move(*this);
}

Error&& Error::with_cause(std::string text) && {
  cause = std::move(text);
  return std::move(*this);
}

Error&& Error::within(std::string_view outer) && {
  message = cat(outer, ": ", message);
  return std::move(*this);
}

Error make_error(ErrorKind kind, std::string object, std::string message) {
  return Error{kind, std::move(object), std::move(message), {}, {}};
}

namespace {

// The kernel's rule for classes: the first that applies decides.
bool modes_allow(const struct stat& status, mode_t wanted) {
  gid_t groups[1024];
  int count = ::getgroups(1024, groups);
  bool in_group = status.st_gid == ::getegid();
  for (int i = 0; i < count; ++i) in_group = in_group || groups[i] == status.st_gid;
  int shift = status.st_uid == ::geteuid() ? 6 : in_group ? 3 : 0;
  return ((status.st_mode >> shift) & wanted) == wanted;
}

// Whether owner, group and mode bits of a path and of what leads there would let us do anything with it.
bool modes_allow_all(const std::string& path) {
  constexpr mode_t kEnter = 1, kReadAndWrite = 6;
  struct stat status{};
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (::stat(path.substr(0, slash).c_str(), &status) != 0 || !modes_allow(status, kEnter)) return false;
  }
  if (::stat(path.c_str(), &status) != 0) return false;
  return modes_allow(status, S_ISDIR(status.st_mode) ? kReadAndWrite | kEnter : kReadAndWrite);
}

}  // namespace

Error errno_error(int err, std::string object, std::string_view what) {
  ErrorKind kind = ErrorKind::failed;
  switch (err) {
    case ENOENT:
    case ENOTDIR:
      kind = ErrorKind::not_found;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      kind = ErrorKind::permission;
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:  // a limit of the process, or of the file system
      kind = ErrorKind::space;
      break;
    case EEXIST:
      kind = ErrorKind::conflict;
      break;
    case EIO:
    case ESTALE:
    case ETIMEDOUT:
    case ECONNREFUSED:
      kind = ErrorKind::unavailable;
      break;
    default:
      break;
  }
  std::string hint;
  if (err == EACCES && object.starts_with('/') && modes_allow_all(object)) {
    hint =
        "owner and mode would allow it: SELinux, AppArmor or an access control list may forbid it (ausearch "
        "-m avc, "
        "dmesg, getfacl)";
  }
  if (err == EFBIG)
    hint = "a limit on the size of files (ulimit -f, LimitFSIZE of systemd) or the file system forbids it";
  return Error{kind, std::move(object), cat("cannot ", what), std::strerror(err), std::move(hint)};
}

}  // namespace lifeboat
