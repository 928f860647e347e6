#include "ops/apart.h"

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

bool has(const std::string& directory, std::string_view name) {
  auto there = path_exists(join_path(directory, name));
  return there && *there;
}

}  // namespace

Status check_apart_from_others(const std::string& directory) {
  std::string below = directory;
  while (below.size() > 1) {
    below = parent_path(below);
    const bool data = has(below, "PG_VERSION") && has(below, "base") && has(below, "global");
    const bool repository = has(below, "lifeboat.json") && has(below, "clusters");
    if (!data && !repository) continue;
    return make_error(ErrorKind::precondition, directory,
                      cat("lies in ", below, ", which is ",
                          data ? "a data directory of PostgreSQL" : "a repository"))
        .with_hint(data ? "the next backup would hold it too: choose a place outside"
                        : "choose a place outside");
  }
  return {};
}

}  // namespace lifeboat::ops
