#include "pg/files/data_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <unordered_set>

#include "pg/format/version.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// Kept empty: their contents are made anew at every start (T08; excludeDirContents in basebackup.c).
constexpr std::array<std::string_view, 7> kKeptEmpty = {
    "pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
// PostgreSQL's own directories, which may be symbolic links that an administrator made.
constexpr std::array<std::string_view, 9> kOwnDirectories = {"base",        "global",       "pg_commit_ts",
                                                             "pg_logical",  "pg_multixact", "pg_stat",
                                                             "pg_twophase", "pg_wal",       "pg_xact"};
// Left out wherever they are (T08; excludeFiles in basebackup.c).
constexpr std::array<std::string_view, 8> kLeftOut = {
    "postgresql.auto.conf.tmp", "current_logfiles.tmp", "backup_label",    "tablespace_map",
    "backup_manifest",          "postmaster.pid",       "postmaster.opts", "lost+found"};

template <size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool left_out(std::string_view name) {
  return name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init") || name == ".DS_Store" ||
         is_one_of(name, kLeftOut);
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "pg_tblspc/16385": one tablespace, outside or in place.
bool is_tablespace(std::string_view path) {
  constexpr std::string_view kPrefix = "pg_tblspc/";
  return path.starts_with(kPrefix) && all_digits(path.substr(kPrefix.size()));
}

std::string child_path(std::string_view directory, std::string_view name) {
  return directory.empty() ? std::string(name) : cat(directory, '/', name);
}

void take_attributes(Entry& entry, const struct stat& st) {
  entry.mode = st.st_mode & 07777;
  entry.uid = st.st_uid;
  entry.gid = st.st_gid;
  entry.mtime_ns = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
  entry.inode = st.st_ino;
  if (S_ISREG(st.st_mode)) entry.size = static_cast<uint64_t>(st.st_size);
}

Result<std::optional<std::string>> link_target(int directory, const char* name, const std::string& path) {
  char target[PATH_MAX + 1];
  ssize_t length = ::readlinkat(directory, name, target, sizeof target);
  if (length < 0) {
    if (errno == ENOENT || errno == EINVAL) return std::optional<std::string>();  // gone or replaced since
    return errno_error(errno, path, "read the symbolic link");
  }
  if (length == static_cast<ssize_t>(sizeof target))
    return make_error(ErrorKind::failed, path, "the symbolic link's target is too long");
  return std::optional(std::string(target, static_cast<size_t>(length)));
}

std::string real_path(const std::string& path) {
  std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr), std::free);
  return resolved ? std::string(resolved.get()) : std::string();
}

struct CloseDir {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

// One directory being listed.
class Listing {
 public:
  Listing(const DataDirLister& lister, std::string_view path) : lister_(lister) { listing_.path = path; }

  Result<DirectoryListing> run(bool contents_skipped) {
    TRY_ASSIGN(bool there, open());
    if (!there) return std::move(listing_);
    listing_.self.contents_skipped = contents_skipped;
    if (contents_skipped) return std::move(listing_);
    if (listing_.path == "pg_wal") {
      list_pg_wal();
      return std::move(listing_);
    }
    TRY(read_names());
    for (const std::string& name : names_) TRY(add(name));
    leave_out_unlogged();
    return std::move(listing_);
  }

 private:
  // False when it has vanished.
  Result<bool> open() {
    const std::string path = lister_.absolute(listing_.path);
    int fd;
    do fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR) && !listing_.path.empty()) {
      listing_.vanished = true;
      struct stat st;
      if (is_tablespace(listing_.path) && ::lstat(path.c_str(), &st) == 0)
        listing_.warnings.push_back(cat(listing_.path, ": the tablespace's location does not exist"));
      return false;
    }
    if (fd < 0) return errno_error(errno, path, "open the directory");
    directory_.reset(::fdopendir(fd));
    if (!directory_) {
      int err = errno;
      ::close(fd);
      return errno_error(err, path, "open the directory");
    }
    struct stat st;
    if (::fstat(fd, &st) != 0) return errno_error(errno, path, "stat");
    listing_.self.name = base_name(listing_.path.empty() ? path : listing_.path);
    listing_.self.kind = EntryKind::directory;
    take_attributes(listing_.self, st);
    return true;
  }

  int fd() const { return ::dirfd(directory_.get()); }

  // All names first: entries that a server creates meanwhile do not mix with lstat calls, and the order is
  // fixed.
  Status read_names() {
    const bool tablespace = is_tablespace(listing_.path);
    while (true) {
      errno = 0;
      const dirent* item = ::readdir(directory_.get());
      if (!item) {
        if (errno != 0) return errno_error(errno, lister_.absolute(listing_.path), "read the directory");
        break;
      }
      std::string_view name = item->d_name;
      if (name == "." || name == ".." || left_out(name)) continue;
      // A tablespace's location may be shared with other clusters and other majors.
      if (tablespace && name != lister_.options().tablespace_version_dir) continue;
      names_.emplace_back(name);
    }
    std::sort(names_.begin(), names_.end());
    return {};
  }

  Status add(const std::string& name) {
    const std::string path = child_path(listing_.path, name);
    struct stat st;
    if (::fstatat(fd(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return {};
      return errno_error(errno, lister_.absolute(path), "stat");
    }
    Entry entry;
    entry.name = name;
    if (S_ISLNK(st.st_mode)) {
      TRY_ASSIGN(auto target, link_target(fd(), name.c_str(), lister_.absolute(path)));
      if (!target) return {};
      entry.link_target = std::move(*target);
      entry.kind = is_tablespace(path) ? EntryKind::tablespace_link : EntryKind::symlink;
      struct stat behind;
      const bool own =
          listing_.path.empty() && (is_one_of(name, kOwnDirectories) || is_one_of(name, kKeptEmpty));
      if (own && ::fstatat(fd(), name.c_str(), &behind, 0) == 0 && S_ISDIR(behind.st_mode)) {
        entry.kind = EntryKind::directory;
        st = behind;
      } else if (own) {
        listing_.warnings.push_back(
            cat(path, ": a symbolic link to ", entry.link_target, ", which is no directory"));
      }
    } else if (S_ISDIR(st.st_mode)) {
      entry.kind = EntryKind::directory;
    } else if (S_ISREG(st.st_mode)) {
      entry.kind = EntryKind::file;
      classify(listing_.path, entry);
      if (RelationDirectory::parse(listing_.path) && is_temporary_relation_name(name)) return {};
    } else {
      listing_.warnings.push_back(cat(path, ": left out, because it is neither a file nor a directory"));
      return {};
    }
    take_attributes(entry, st);
    if (entry.kind == EntryKind::directory) entry.contents_skipped = lister_.keeps_empty(path);
    listing_.entries.push_back(std::move(entry));
    return {};
  }

  // Of pg_wal only the two directories that a server expects; where they lack, with pg_wal's own attributes.
  void list_pg_wal() {
    for (const char* name : {"archive_status", "summaries"}) {
      struct stat st;
      const bool there = ::fstatat(fd(), name, &st, 0) == 0 && S_ISDIR(st.st_mode);
      const VersionTraits* version = find_version(lister_.options().major);
      if (!there && name == std::string_view("summaries") && !(version && version->wal_summaries)) continue;
      Entry entry = listing_.self;
      entry.name = name;
      entry.link_target.clear();
      if (there) take_attributes(entry, st);
      entry.contents_skipped = true;
      listing_.entries.push_back(std::move(entry));
    }
  }

  // T09: of an unlogged relation the init fork alone is kept, from which the server makes it anew, empty.
  // Whether a relation is unlogged is known once every name was seen.
  void leave_out_unlogged() {
    std::unordered_set<uint32_t> unlogged;
    for (const Entry& entry : listing_.entries)
      if (entry.file_class == FileClass::relation && entry.fork == Fork::init)
        unlogged.insert(entry.relfilenode);
    if (unlogged.empty()) return;
    std::erase_if(listing_.entries, [&](const Entry& entry) {
      return entry.file_class == FileClass::relation && entry.fork != Fork::init &&
             unlogged.count(entry.relfilenode);
    });
  }

  const DataDirLister& lister_;
  DirectoryListing listing_;
  std::unique_ptr<DIR, CloseDir> directory_;
  std::vector<std::string> names_;
};

}  // namespace

Result<DataDirLister> DataDirLister::open(DataDirOptions options) {
  while (options.data_directory.size() > 1 && options.data_directory.ends_with('/'))
    options.data_directory.pop_back();
  auto text = read_text(join_path(options.data_directory, "PG_VERSION"), 64);
  if (!text) {
    if (text.error().kind != ErrorKind::not_found) return std::move(text).error();
    TRY_ASSIGN(bool there, path_exists(options.data_directory));
    if (!there) return make_error(ErrorKind::not_found, options.data_directory, "no such directory");
    return make_error(ErrorKind::precondition, options.data_directory,
                      "not a data directory: it has no PG_VERSION");
  }
  TRY_ASSIGN(const VersionTraits* version, parse_pg_version_file(*text));
  if (version->major != options.major)
    return make_error(
        ErrorKind::precondition, options.data_directory,
        cat("expected a data directory of PostgreSQL ", options.major, ", found ", version->major));

  DataDirLister lister(std::move(options));
  // A tablespace that somebody placed inside the data directory is read through pg_tblspc, not twice.
  const std::string links = join_path(lister.options_.data_directory, "pg_tblspc");
  const std::string root = real_path(lister.options_.data_directory);
  TRY_ASSIGN(auto entries, list_dir(links));
  for (const DirEntry& entry : entries) {
    if (entry.kind != FileKind::symlink) continue;
    const std::string target = real_path(join_path(links, entry.name));
    if (root.empty() || !target.starts_with(root + "/")) continue;
    lister.tablespaces_inside_.push_back(target.substr(root.size() + 1));
  }
  return lister;
}

bool DataDirLister::keeps_empty(std::string_view path) const {
  auto among = [&](const std::vector<std::string>& paths) {
    return std::find(paths.begin(), paths.end(), path) != paths.end();
  };
  return is_one_of(path, kKeptEmpty) || path == "pg_wal/archive_status" || path == "pg_wal/summaries" ||
         among(options_.keep_empty) || among(tablespaces_inside_);
}

std::string DataDirLister::absolute(std::string_view path) const {
  return path.empty() ? options_.data_directory : cat(options_.data_directory, '/', path);
}

Result<DirectoryListing> DataDirLister::list(std::string_view path) const {
  return Listing(*this, path).run(keeps_empty(path));
}

Status DataDirLister::walk(const std::function<Status(const DirectoryListing&)>& visit,
                           const StopToken* stop) const {
  // Directories still to list, last first. A listing itself is gone before the next one is made.
  std::vector<std::string> waiting = {""};
  while (!waiting.empty()) {
    if (stop) TRY(stop->check());
    std::string path = std::move(waiting.back());
    waiting.pop_back();
    TRY_ASSIGN(DirectoryListing listing, list(path));
    TRY(visit(listing));
    for (auto entry = listing.entries.rbegin(); entry != listing.entries.rend(); ++entry)
      if (entry->kind == EntryKind::directory || entry->kind == EntryKind::tablespace_link)
        waiting.push_back(child_path(path, entry->name));
  }
  return {};
}

}  // namespace lifeboat::pg
