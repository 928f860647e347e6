#include "pg/files/data_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include "pg/files/listing_rules.h"
#include "pg/format/version.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

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
    listing_.entries.reserve(names_.size());  // growing would hold them twice for a moment
    for (const std::string& name : names_) TRY(add(name));
    std::vector<std::string>().swap(names_);
    leave_out_unlogged(listing_.entries);
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
      if (name == "." || name == ".." || is_left_out(name)) continue;
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
      const bool own = is_own_directory(path);
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
    const auto expected = pg_wal_directories(lister_.options().major);
    for (std::string_view name : {"archive_status", "summaries"}) {
      struct stat st;
      const bool there = ::fstatat(fd(), name.data(), &st, 0) == 0 && S_ISDIR(st.st_mode);
      if (!there && std::ranges::find(expected, name) == expected.end()) continue;
      Entry entry = listing_.self;
      entry.name = name;
      entry.link_target.clear();
      if (there) take_attributes(entry, st);
      entry.contents_skipped = true;
      listing_.entries.push_back(std::move(entry));
    }
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
  return is_kept_empty(path) || among(options_.keep_empty) || among(tablespaces_inside_);
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
