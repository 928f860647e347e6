#include "ops/restore/owner.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

Result<Owner> owner_of_files(const repo::Manifest& manifest) {
  if (geteuid() != 0) {
    auto user = OsUser::by_uid(geteuid());
    return Owner{user ? user->name : cat(geteuid()), geteuid(), getegid()};
  }
  auto user = OsUser::by_name(manifest.owner);
  if (!user) {
    return make_error(ErrorKind::precondition, cat("user ", manifest.owner),
                      "owned the data directory on the source host and is not known here")
        .with_hint("create the user, or choose another with --os-user");
  }
  Owner owner{user->name, user->uid, user->gid};
  struct group entry{};
  struct group* found = nullptr;
  char text[4096];
  if (!manifest.group.empty() && getgrnam_r(manifest.group.c_str(), &entry, text, sizeof text, &found) == 0 &&
      found != nullptr) {
    owner.gid = found->gr_gid;
  }
  return owner;
}

}  // namespace lifeboat::ops
