// May an operating system user use a file? The kernel's own answer where we are that user, its rules by hand
// where we are not.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "ops/doctor/facts.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint32_t kRead = 4;
constexpr uint32_t kWrite = 2;
constexpr uint32_t kEnter = 1;

uint32_t wanted_bits(Use use) {
  switch (use) {
    case Use::read:
      return kRead;
    case Use::execute:
      return kRead | kEnter;  // the file itself is read by the kernel, but a script needs both
    case Use::write_into:
      return kWrite | kEnter | kRead;
  }
  return kRead;
}

// The kernel's rule for classes: the first that applies decides, even when a later one would allow more.
bool bits_allow(const OsUser& user, const FileInfo& info, uint32_t wanted) {
  if (user.uid == 0) return true;
  uint32_t bits = info.mode & 7;
  if (info.uid == user.uid) {
    bits = (info.mode >> 6) & 7;
  } else if (info.gid == user.gid || std::ranges::find(user.groups, info.gid) != user.groups.end()) {
    bits = (info.mode >> 3) & 7;
  }
  return (bits & wanted) == wanted;
}

std::string describe(const std::string& path, const FileInfo& info) {
  auto owner = OsUser::by_uid(info.uid);
  const std::string name = owner ? owner->name : cat("uid ", info.uid);
  std::string mode = "0000";
  for (size_t digit = 0; digit < 4; ++digit) {
    mode[3 - digit] = static_cast<char>('0' + ((info.mode >> (3 * digit)) & 7));
  }
  return cat(path, " has mode ", mode, " and belongs to ", name);
}

// The first element of the way that stops this user, or "" when none does.
std::string first_obstacle(const OsUser& user, const std::string& path, uint32_t wanted) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    std::string directory = path.substr(0, slash);
    auto info = stat_path(directory);
    if (!info) return info.error().to_string();
    if (!bits_allow(user, *info, kEnter)) return describe(directory, *info);
  }
  auto info = stat_path(path);
  if (!info) return info.error().to_string();
  return bits_allow(user, *info, wanted) ? "" : describe(path, *info);
}

}  // namespace

AccessFacts look_at_access(const OsUser& user, const std::string& path, Use use) {
  AccessFacts facts;
  facts.path = path;
  auto info = stat_path(path);
  facts.exists = info.has_value() || info.error().kind != ErrorKind::not_found;
  if (!facts.exists) {
    facts.obstacle = cat(path, " does not exist");
    return facts;
  }
  if (info && use == Use::execute && info->kind != FileKind::regular) {
    facts.obstacle = cat(path, " is not a file");
    return facts;
  }
  if (info && use == Use::write_into && info->kind != FileKind::directory) {
    facts.obstacle = cat(path, " is not a directory");
    return facts;
  }
  if (user.uid == geteuid()) {
    int mode = use == Use::read ? R_OK : use == Use::execute ? X_OK : R_OK | W_OK | X_OK;
    if (faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) == 0) {
      facts.allowed = true;
      return facts;
    }
    int err = errno;
    facts.obstacle = first_obstacle(user, path, wanted_bits(use));
    if (facts.obstacle.empty()) {
      facts.obstacle =
          cat(errno_error(err, path, "access").to_string(),
              err == EROFS ? ": it is mounted read-only, or was after an error of its disk (dmesg)"
                           : ", though owner and mode would allow it: SELinux, AppArmor or an access control "
                             "list?");
    }
    return facts;
  }
  facts.obstacle = first_obstacle(user, path, wanted_bits(use));
  facts.allowed = facts.obstacle.empty();
  return facts;
}

}  // namespace lifeboat::ops
