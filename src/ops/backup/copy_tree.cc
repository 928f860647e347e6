#include "ops/backup/copy_tree.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <map>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Names of users and groups, looked up once each. An id without a name is kept as its number.
class OwnerNames {
 public:
  const std::string& user(uint32_t uid) {
    auto [at, added] = users_.try_emplace(uid);
    if (added) {
      passwd entry{};
      passwd* found = nullptr;
      char text[4096];
      getpwuid_r(uid, &entry, text, sizeof text, &found);
      at->second = found != nullptr ? std::string(found->pw_name) : cat(uid);
    }
    return at->second;
  }
  const std::string& group(uint32_t gid) {
    auto [at, added] = groups_.try_emplace(gid);
    if (added) {
      struct group entry{};
      struct group* found = nullptr;
      char text[4096];
      getgrgid_r(gid, &entry, text, sizeof text, &found);
      at->second = found != nullptr ? std::string(found->gr_name) : cat(gid);
    }
    return at->second;
  }

 private:
  std::map<uint32_t, std::string> users_;
  std::map<uint32_t, std::string> groups_;
};

// Of a file below pg_tblspc/<oid>/.
std::optional<Oid> tablespace_of(std::string_view path) {
  constexpr std::string_view kTablespaces = "pg_tblspc/";
  if (!path.starts_with(kTablespaces)) return std::nullopt;
  path.remove_prefix(kTablespaces.size());
  auto oid = parse_u64(path.substr(0, path.find('/')));
  return oid ? std::optional(static_cast<Oid>(*oid)) : std::nullopt;
}

class TreeCopier {
 public:
  TreeCopier(CopyPool& pool, pg::FileSource& source, const repo::LineageRepo& repo, Incremental* incremental,
             int major, const std::set<Oid>& tablespaces, StopToken& stop)
      : pool_(pool),
        source_(source),
        incremental_(incremental),
        reference_tree_(repo),
        major_(major),
        tablespaces_(tablespaces),
        stop_(stop) {}

  Result<CopiedTree> run(const std::vector<pg::ConfigFile>& config_files) {
    auto root = pool_.open_root(2);
    const repo::Manifest* reference = incremental_ != nullptr ? incremental_->reference() : nullptr;
    TRY_ASSIGN(Before before, open_before(reference != nullptr ? &reference->root : nullptr));
    TRY_ASSIGN(std::optional<repo::NodeRef> config, before.directory("config"));
    TRY_ASSIGN(std::optional<repo::NodeRef> pgdata, before.directory("pgdata"));
    TRY(copy_config(root, 0, config_files, config));
    TRY(copy_directory(root, 1, "", "pgdata", pgdata));
    pool_.close_directory(root);
    TRY(pool_.drain());
    TRY(copy_control_file());
    return std::move(result_);
  }

 private:
  struct Below {
    std::string path;
    std::string name;
    size_t slot;
    std::optional<repo::NodeRef> before;
  };

  // One directory of the reference; empty where it has none. Names are asked for in ascending order; what
  // lies between them is not in this backup any more.
  class Before {
   public:
    Before() = default;
    Before(CopyPool& pool, repo::DirectoryCursor cursor) : pool_(&pool), cursor_(std::move(cursor)) {}
    Result<std::optional<repo::Entry>> file(std::string_view name) {
      return take(name, repo::EntryType::file);
    }
    Result<std::optional<repo::NodeRef>> directory(std::string_view name) {
      TRY_ASSIGN(std::optional<repo::Entry> found, take(name, repo::EntryType::directory));
      return found ? std::optional(found->directory) : std::nullopt;
    }
    // No name comes any more.
    Status finish() { return forget_until(std::nullopt); }

   private:
    Result<std::optional<repo::Entry>> take(std::string_view name, repo::EntryType type) {
      TRY(forget_until(name));
      std::optional<repo::Entry> found;
      repo::Entry* at = cursor_ ? cursor_->current() : nullptr;
      if (at == nullptr || at->name != name || at->type != type) return found;
      found = std::move(*at);
      TRY(cursor_->advance());
      return found;
    }
    Status forget_until(std::optional<std::string_view> name) {
      if (!cursor_) return {};
      while (const repo::Entry* at = cursor_->current()) {
        if (name && at->name >= *name) break;
        TRY(pool_->forget(*at));
        TRY(cursor_->advance());
      }
      return {};
    }
    CopyPool* pool_ = nullptr;
    std::optional<repo::DirectoryCursor> cursor_;
  };

  Result<Before> open_before(const repo::NodeRef* directory) {
    if (directory == nullptr) return Before();
    TRY_ASSIGN(repo::DirectoryCursor cursor, repo::DirectoryCursor::open(reference_tree_, *directory));
    return Before(pool_, std::move(cursor));
  }

  repo::Entry to_entry(const pg::Entry& from) {
    repo::Entry entry;
    entry.name = from.name;
    entry.mode = from.mode;
    entry.owner = from.owner.empty() ? names_.user(from.uid) : from.owner;
    entry.group = from.group.empty() ? names_.group(from.gid) : from.group;
    entry.mtime_us = from.mtime_ns / 1000;
    switch (from.kind) {
      case pg::EntryKind::directory:
      case pg::EntryKind::tablespace_link:
        entry.type = repo::EntryType::directory;
        break;
      case pg::EntryKind::file:
        entry.type = repo::EntryType::file;
        break;
      case pg::EntryKind::symlink:
        entry.type = repo::EntryType::symlink;
        entry.target = from.link_target;
        break;
    }
    return entry;
  }

  // Submits the files of one directory, then goes down. The listing is gone before its subdirectories are
  // listed.
  Status copy_directory(const std::shared_ptr<OpenDirectory>& parent, size_t slot, const std::string& path,
                        const std::string& name, const std::optional<repo::NodeRef>& reference) {
    TRY(stop_.check());
    std::vector<Below> below;
    std::shared_ptr<OpenDirectory> directory;
    {
      TRY_ASSIGN(pg::DirectoryListing listing, source_.list(path));
      result_.warnings.insert(result_.warnings.end(), listing.warnings.begin(), listing.warnings.end());
      if (listing.vanished) {
        TRY(forget(reference));
        pool_.put_entry(parent, slot, std::nullopt);
        return {};
      }
      repo::Entry self = to_entry(listing.self);
      self.name = name;
      self.type = repo::EntryType::directory;
      directory = pool_.open_directory(parent, slot, std::move(self), listing.entries.size());
      TRY_ASSIGN(Before before, open_before(reference ? &*reference : nullptr));
      for (size_t i = 0; i < listing.entries.size(); ++i) {
        TRY(copy_entry(directory, i, path, listing.entries[i], before, below));
      }
      TRY(before.finish());
    }
    for (const Below& sub : below) TRY(copy_directory(directory, sub.slot, sub.path, sub.name, sub.before));
    pool_.close_directory(directory);
    return {};
  }

  Status copy_entry(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                    const std::string& parent_path, const pg::Entry& entry, Before& before,
                    std::vector<Below>& below) {
    std::string path = parent_path.empty() ? entry.name : cat(parent_path, "/", entry.name);
    switch (entry.kind) {
      case pg::EntryKind::tablespace_link: {
        auto oid = parse_u64(entry.name);
        if (!oid || !tablespaces_.contains(static_cast<Oid>(*oid))) {
          pool_.put_entry(directory, slot, std::nullopt);
          return {};
        }
        [[fallthrough]];
      }
      case pg::EntryKind::directory: {
        TRY_ASSIGN(std::optional<repo::NodeRef> reference, before.directory(entry.name));
        below.push_back({std::move(path), entry.name, slot, reference});
        return {};
      }
      case pg::EntryKind::symlink:
        pool_.put_entry(directory, slot, to_entry(entry));
        return {};
      case pg::EntryKind::file:
        break;
    }
    if (entry.file_class == pg::FileClass::recovery_signal) {  // the source's role, not the copy's
      pool_.put_entry(directory, slot, std::nullopt);
      return {};
    }
    if (entry.file_class == pg::FileClass::control) {
      control_ = Control{directory, slot, to_entry(entry)};
      return {};
    }
    if (auto oid = tablespace_of(path)) result_.tablespace_bytes[*oid] += entry.size;
    std::optional<FileBefore> known;
    if (incremental_ != nullptr) {
      TRY_ASSIGN(std::optional<repo::Entry> old, before.file(entry.name));
      TRY_ASSIGN(Incremental::Decision decision, incremental_->decide(parent_path, entry, std::move(old)));
      if (decision.unchanged && !pool_.proves()) {
        pool_.put_unchanged(directory, slot, to_entry(entry), std::move(decision.before->entry));
        return {};
      }
      known = std::move(decision.before);
    }
    TRY_ASSIGN(std::unique_ptr<pg::SourceFile> file, source_.open_listed(path));
    return pool_.copy_file(directory, slot, std::move(file), to_entry(entry), entry, std::move(known));
  }

  Status forget(const std::optional<repo::NodeRef>& directory) {
    if (!directory) return {};
    repo::Entry gone;
    gone.type = repo::EntryType::directory;
    gone.directory = *directory;
    return pool_.forget(gone);
  }

  Status copy_control_file() {
    if (!control_)
      return make_error(ErrorKind::precondition, source_.absolute("global/pg_control"), "is missing");
    TRY_ASSIGN(pg::ControlRead read, pg::read_control_file(source_, major_));
    return pool_.put_content(control_->directory, control_->slot, std::move(control_->entry), read.bytes);
  }

  Status copy_config(const std::shared_ptr<OpenDirectory>& root, size_t slot,
                     const std::vector<pg::ConfigFile>& files,
                     const std::optional<repo::NodeRef>& reference) {
    TRY_ASSIGN(Before before, open_before(reference ? &*reference : nullptr));
    std::vector<const pg::ConfigFile*> outside;
    for (const pg::ConfigFile& file : files) {
      if (!file.inside && file.readable) outside.push_back(&file);
    }
    repo::Entry self;
    self.name = "config";
    self.type = repo::EntryType::directory;
    self.mode = 0700;
    auto directory = pool_.open_directory(root, slot, std::move(self), outside.size());
    for (size_t i = 0; i < outside.size(); ++i) {
      std::string number = cat(i);
      std::string base = outside[i]->path.substr(outside[i]->path.rfind('/') + 1);
      repo::ExternalFile record{
          outside[i]->path, cat(std::string(3 - std::min<size_t>(3, number.size()), '0'), number, "-", base),
          outside[i]->role == pg::ConfigRole::included ? "" : cat(pg::to_string(outside[i]->role), "_file")};
      repo::Entry entry;
      entry.name = record.entry;
      entry.mode = 0600;
      pg::Entry facts;
      facts.size = outside[i]->size;
      TRY_ASSIGN(std::unique_ptr<pg::SourceFile> file, source_.open(outside[i]->path));
      std::optional<FileBefore> known;
      TRY_ASSIGN(std::optional<repo::Entry> old, before.file(entry.name));
      if (old) {
        known.emplace();
        known->entry = std::move(*old);
      }
      TRY(pool_.copy_file(directory, i, std::move(file), std::move(entry), facts, std::move(known)));
      result_.external_files.push_back(std::move(record));
    }
    pool_.close_directory(directory);
    return {};
  }

  struct Control {
    std::shared_ptr<OpenDirectory> directory;
    size_t slot;
    repo::Entry entry;
  };

  CopyPool& pool_;
  pg::FileSource& source_;
  Incremental* incremental_;
  repo::TreeReader reference_tree_;
  int major_;
  const std::set<Oid>& tablespaces_;
  StopToken& stop_;
  OwnerNames names_;
  std::optional<Control> control_;
  CopiedTree result_;
};

}  // namespace

Result<Measure> measure_tree(pg::FileSource& source, const StopToken& stop) {
  Measure measure;
  // Directories still to list, last first. A listing itself is gone before the next one is made.
  std::vector<std::string> waiting = {""};
  while (!waiting.empty()) {
    TRY(stop.check());
    std::string path = std::move(waiting.back());
    waiting.pop_back();
    TRY_ASSIGN(pg::DirectoryListing listing, source.list(path));
    for (const pg::Entry& entry : listing.entries) {
      if (entry.kind == pg::EntryKind::file) {
        ++measure.files;
        measure.bytes += entry.size;
      } else if (entry.kind != pg::EntryKind::symlink) {
        waiting.push_back(path.empty() ? entry.name : cat(path, "/", entry.name));
      }
    }
  }
  return measure;
}

Result<CopiedTree> copy_tree(CopyPool& pool, pg::FileSource& source, const repo::LineageRepo& repo,
                             Incremental* incremental, int major, const std::set<Oid>& tablespaces,
                             const std::vector<pg::ConfigFile>& config_files, StopToken& stop) {
  return TreeCopier(pool, source, repo, incremental, major, tablespaces, stop).run(config_files);
}

}  // namespace lifeboat::ops
