#include "ops/backup/copy_tree.h"

#include <grp.h>
#include <pwd.h>

#include <map>

#include "pg/format/control_file.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kControlFileLimit = 64 << 10;
constexpr int kControlFileTries = 50;
constexpr int64_t kControlFilePauseUs = 10'000;

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

class TreeCopier {
 public:
  TreeCopier(CopyPool& pool, const pg::DataDirLister& lister, const std::set<Oid>& tablespaces,
             StopToken& stop)
      : pool_(pool), lister_(lister), tablespaces_(tablespaces), stop_(stop) {}

  Result<CopiedTree> run(const std::vector<pg::ConfigFile>& config_files) {
    auto root = pool_.open_root(2);
    TRY(copy_config(root, 0, config_files));
    TRY(copy_directory(root, 1, "", "pgdata"));
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
  };

  repo::Entry to_entry(const pg::Entry& from) {
    repo::Entry entry;
    entry.name = from.name;
    entry.mode = from.mode;
    entry.owner = names_.user(from.uid);
    entry.group = names_.group(from.gid);
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
                        const std::string& name) {
    TRY(stop_.check());
    std::vector<Below> below;
    std::shared_ptr<OpenDirectory> directory;
    {
      TRY_ASSIGN(pg::DirectoryListing listing, lister_.list(path));
      result_.warnings.insert(result_.warnings.end(), listing.warnings.begin(), listing.warnings.end());
      if (listing.vanished) {
        pool_.put_entry(parent, slot, std::nullopt);
        return {};
      }
      repo::Entry self = to_entry(listing.self);
      self.name = name;
      self.type = repo::EntryType::directory;
      directory = pool_.open_directory(parent, slot, std::move(self), listing.entries.size());
      for (size_t i = 0; i < listing.entries.size(); ++i) {
        TRY(copy_entry(directory, i, path, listing.entries[i], below));
      }
    }
    for (const Below& sub : below) TRY(copy_directory(directory, sub.slot, sub.path, sub.name));
    pool_.close_directory(directory);
    return {};
  }

  Status copy_entry(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                    const std::string& parent_path, const pg::Entry& entry, std::vector<Below>& below) {
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
      case pg::EntryKind::directory:
        below.push_back({std::move(path), entry.name, slot});
        return {};
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
      control_ = Control{directory, slot, to_entry(entry), lister_.absolute(path)};
      return {};
    }
    return pool_.copy_file(directory, slot, lister_.absolute(path), to_entry(entry), entry);
  }

  // The server rewrites pg_control in place: read until its CRC holds (T04).
  Status copy_control_file() {
    if (!control_)
      return make_error(ErrorKind::precondition, lister_.absolute("global/pg_control"), "is missing");
    Bytes content(kControlFileLimit);
    for (int tries = 1;; ++tries) {
      TRY_ASSIGN(auto reader, pg::RangeReader::open(control_->absolute_path));
      if (!reader)
        return make_error(ErrorKind::precondition, control_->absolute_path, "vanished during the backup");
      TRY_ASSIGN(size_t size, reader->read(0, content));
      auto parsed = pg::parse_control_file(ByteView(content).first(size), lister_.options().major);
      if (parsed) {
        return pool_.put_content(control_->directory, control_->slot, std::move(control_->entry),
                                 ByteView(content).first(size));
      }
      if (tries == kControlFileTries) return std::move(parsed).error().within(control_->absolute_path);
      Clock::system().sleep_us(kControlFilePauseUs);
    }
  }

  Status copy_config(const std::shared_ptr<OpenDirectory>& root, size_t slot,
                     const std::vector<pg::ConfigFile>& files) {
    std::vector<const pg::ConfigFile*> outside;
    for (const pg::ConfigFile& file : files) {
      if (file.inside) continue;
      if (!file.readable) {
        result_.warnings.push_back(
            cat(file.path, ": configuration file cannot be read and is not in the backup"));
        continue;
      }
      outside.push_back(&file);
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
      TRY(pool_.copy_file(directory, i, outside[i]->path, std::move(entry), facts));
      result_.external_files.push_back(std::move(record));
    }
    pool_.close_directory(directory);
    return {};
  }

  struct Control {
    std::shared_ptr<OpenDirectory> directory;
    size_t slot;
    repo::Entry entry;
    std::string absolute_path;
  };

  CopyPool& pool_;
  const pg::DataDirLister& lister_;
  const std::set<Oid>& tablespaces_;
  StopToken& stop_;
  OwnerNames names_;
  std::optional<Control> control_;
  CopiedTree result_;
};

}  // namespace

Result<Measure> measure_tree(const pg::DataDirLister& lister, const StopToken& stop) {
  Measure measure;
  TRY(lister.walk(
      [&](const pg::DirectoryListing& listing) -> Status {
        for (const pg::Entry& entry : listing.entries) {
          if (entry.kind != pg::EntryKind::file) continue;
          ++measure.files;
          measure.bytes += entry.size;
        }
        return {};
      },
      &stop));
  return measure;
}

Result<CopiedTree> copy_tree(CopyPool& pool, const pg::DataDirLister& lister,
                             const std::set<Oid>& tablespaces,
                             const std::vector<pg::ConfigFile>& config_files, StopToken& stop) {
  return TreeCopier(pool, lister, tablespaces, stop).run(config_files);
}

}  // namespace lifeboat::ops
