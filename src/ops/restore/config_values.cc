#include "ops/restore/config_values.h"

#include <algorithm>

#include "ops/restore/config_text.h"
#include "ops/restore/start.h"
#include "ops/restore/tree_writer.h"
#include "repo/tree.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kConfigLimit = 16 << 20;
constexpr int kDeepestInclude = 10;  // CONF_FILE_MAX_DEPTH, src/include/utils/conffiles.h

bool is_config_name(std::string_view name) {
  return name.ends_with(".conf") && !name.starts_with('.');
}

class ValueReader {
 public:
  ValueReader(const repo::LineageRepo& repo, const repo::Manifest& manifest, const RestorePlan& plan,
              const RestoreOptions& options, const std::vector<std::string_view>& names)
      : repo_(repo),
        manifest_(manifest),
        plan_(plan),
        options_(options),
        names_(names),
        tree_(repo),
        source_(normal_path(manifest.data_directory, "/")) {}

  Result<ConfigValues> run() {
    TRY(read(main_file(), 0));
    TRY(read(join_path(source_, "postgresql.auto.conf"), 0));
    for (const auto* given : {&options_.settings, &options_.start_settings})
      for (const auto& [name, value] : *given) set(name, {value, "", false});
    return std::move(values_);
  }

 private:
  std::string main_file() const {
    if (std::string outside = outside_config_file(plan_, manifest_); !outside.empty()) return outside;
    for (const repo::ExternalFile& file : manifest_.external_files)
      if (file.setting == "config_file" && !plan_.replace) return normal_path(file.path, "/");
    return join_path(source_, "postgresql.conf");
  }

  void set(std::string_view name, ConfigValue value) {
    if (std::ranges::find(names_, name) != names_.end()) values_[std::string(name)] = std::move(value);
  }

  // `path`: on the source host.
  Status read(const std::string& path, int depth) {
    if (depth > kDeepestInclude) return {};
    TRY_ASSIGN(std::optional<std::string> text, text_of(path));
    if (!text) return {};
    for (std::string_view line : split(*text, '\n')) {
      auto parsed = parse_config_line(line);
      if (!parsed) continue;
      const std::string target = normal_path(parsed->value, parent_path(path));
      if (parsed->name == "include" || parsed->name == "include_if_exists") {
        TRY(read(target, depth + 1));
      } else if (parsed->name == "include_dir") {
        TRY_ASSIGN(std::vector<std::string> files, files_of(target));
        for (const std::string& file : files) TRY(read(file, depth + 1));
      } else {
        set(parsed->name, {std::move(parsed->value), path, !entry_of(path)});
      }
    }
    return {};
  }

  // Where the backup has what the restored server will read; nullopt: it stays this host's.
  std::optional<std::string> entry_of(const std::string& path) const {
    for (const std::string& root : {source_, normal_path(options_.directory, "/")})
      if (path.starts_with(cat(root, "/"))) return cat("pgdata", path.substr(root.size()));
    if (plan_.replace) return std::nullopt;
    for (const repo::ExternalFile& file : manifest_.external_files)
      if (normal_path(file.path, "/") == path) return cat("config/", file.entry);
    return "";
  }

  Result<std::optional<std::string>> text_of(const std::string& path) {
    const std::optional<std::string> entry = entry_of(path);
    if (!entry) {
      auto here = read_text(path, kConfigLimit);
      return here ? std::optional(std::move(*here)) : std::nullopt;
    }
    if (entry->empty()) return std::optional<std::string>();
    auto found = tree_.find(manifest_.root, *entry);
    if (!found && found.error().kind != ErrorKind::not_found) return std::move(found).error();
    if (!found || found->type != repo::EntryType::file) return std::optional<std::string>();
    TRY_ASSIGN(Bytes content, read_tree_file(repo_, *found, manifest_.block_size, kConfigLimit));
    return std::optional(std::string(as_text(content)));
  }

  Result<std::vector<std::string>> files_of(const std::string& directory) {
    std::vector<std::string> files;
    const std::optional<std::string> entry = entry_of(directory);
    if (!entry) {
      if (auto here = list_dir(directory))
        for (const DirEntry& file : *here)
          if (is_config_name(file.name)) files.push_back(join_path(directory, file.name));
    } else if (entry->empty()) {
      for (const repo::ExternalFile& file : manifest_.external_files)
        if (normal_path(parent_path(file.path), "/") == directory && is_config_name(base_name(file.path)))
          files.push_back(normal_path(file.path, "/"));
    } else {
      auto found = tree_.find(manifest_.root, *entry);
      if (!found && found.error().kind != ErrorKind::not_found) return std::move(found).error();
      if (found && found->type == repo::EntryType::directory)
        TRY(tree_.list(found->directory, [&](const repo::Entry& file) -> Status {
          if (is_config_name(file.name)) files.push_back(join_path(directory, file.name));
          return {};
        }));
    }
    std::ranges::sort(files);
    return files;
  }

  const repo::LineageRepo& repo_;
  const repo::Manifest& manifest_;
  const RestorePlan& plan_;
  const RestoreOptions& options_;
  const std::vector<std::string_view>& names_;
  repo::TreeReader tree_;
  const std::string source_;  // data directory of the source
  ConfigValues values_;
};

}  // namespace

Result<ConfigValues> planned_values(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                    const RestorePlan& plan, const RestoreOptions& options,
                                    const std::vector<std::string_view>& names) {
  return ValueReader(repo, manifest, plan, options, names).run();
}

}  // namespace lifeboat::ops
