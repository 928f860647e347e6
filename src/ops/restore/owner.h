// Who owns what is restored: the recorded owner by name when this process is root, else the caller.
#pragma once

#include <sys/types.h>

#include <string>

#include "repo/manifest.h"
#include "util/result.h"

namespace lifeboat::ops {

struct Owner {
  std::string user;
  uid_t uid = 0;
  gid_t gid = 0;
};
// `precondition` when root restores and this host does not know the name.
Result<Owner> owner_of_files(const repo::Manifest& manifest);

}  // namespace lifeboat::ops
