#include "ops/mount/shown_names.h"

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

bool is_hidden(TreeKind tree, std::string_view directory, std::string_view name) {
  return tree == TreeKind::data_directory && directory.empty() &&
         (name == kMountFolder || name == "lifeboat.restore_incomplete");
}

}  // namespace

bool is_staged(TreeKind tree, std::string_view directory, std::string_view shown) {
  if (tree == TreeKind::data_directory) return directory == "global" && shown == "pg_control";
  return directory.empty() && shown.starts_with("PG_") && !shown.ends_with(kStagedSuffix);
}

std::optional<std::string> real_name(TreeKind tree, std::string_view directory, std::string_view shown) {
  if (is_hidden(tree, directory, shown)) return std::nullopt;
  if (is_staged(tree, directory, shown)) return cat(shown, kStagedSuffix);
  if (shown.ends_with(kStagedSuffix) &&
      is_staged(tree, directory, shown.substr(0, shown.size() - kStagedSuffix.size())))
    return std::nullopt;
  return std::string(shown);
}

std::optional<std::string> shown_name(TreeKind tree, std::string_view directory, std::string_view real) {
  if (is_hidden(tree, directory, real)) return std::nullopt;
  if (real.ends_with(kStagedSuffix)) {
    std::string_view shown = real.substr(0, real.size() - kStagedSuffix.size());
    if (is_staged(tree, directory, shown)) return std::string(shown);
  }
  if (is_staged(tree, directory, real)) return std::nullopt;
  return std::string(real);
}

}  // namespace lifeboat::ops
