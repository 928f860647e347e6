// The local data directory as a source of a backup: which entries belong into it.
//
// One directory is listed at a time, so memory is bounded by the largest directory and not by the database
// (T42). The rules are those of PostgreSQL's own base backup (src/backend/backup/basebackup.c, sendDir;
// before 15 src/backend/replication/basebackup.c), with these differences, each to keep more or to say more:
// - directories whose contents are skipped (T08) are recognised at the top level only;
// - one of PostgreSQL's own top-level directories that is a symbolic link to a directory (pg_wal, base,
// pg_xact, …) is
//   listed as the directory it stands for, where pg_basebackup keeps only pg_wal and leaves out the others;
// - other symbolic links are reported as such, where pg_basebackup leaves them out with a warning;
// - recovery.signal and standby.signal are reported with a class of their own;
// - lost+found is left out.
// Unlogged relations keep their init fork only, decided after the whole directory was read (T09). Entries
// that vanish between readdir and lstat are left out silently; sockets, pipes and devices are left out with a
// warning.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "pg/files/entry.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::pg {

struct DataDirOptions {
  std::string data_directory;  // absolute
  std::string
      tablespace_version_dir;  // "PG_15_202209061": the only part of a tablespace that is this server's
  int major = 0;               // 13 … 18
  // Further directories to keep empty, as relative paths: stats_temp_directory of 13 and 14 when it is
  // inside.
  std::vector<std::string> keep_empty;
};

struct DirectoryListing {
  std::string path;            // relative; "" is the data directory
  Entry self;                  // of the directory; its name is the last path element
  bool vanished = false;       // it went away since its parent was listed: no entries
  std::vector<Entry> entries;  // ordered by name, bytewise
  std::vector<std::string> warnings;
};

// Thread rule: list() may be called by several threads at once.
class DataDirLister {
 public:
  // Checks that it is a data directory (PG_VERSION of the right major) and reads pg_tblspc.
  // Errors: not_found, permission, precondition (not a data directory, or of another major).
  static Result<DataDirLister> open(DataDirOptions options);

  // Lists one directory by its relative path. Errors: permission, unavailable (I/O), failed.
  // pg_tblspc/OID lists the version directory of the tablespace and nothing else.
  Result<DirectoryListing> list(std::string_view path) const;

  // Lists the whole tree, parents before children, siblings in order of name. Stops at the first error of
  // `visit`.
  Status walk(const std::function<Status(const DirectoryListing&)>& visit,
              const StopToken* stop = nullptr) const;

  // Does this directory belong in a backup without its contents?
  bool keeps_empty(std::string_view path) const;
  // Where a relative path is on this host.
  std::string absolute(std::string_view path) const;
  const DataDirOptions& options() const { return options_; }

 private:
  explicit DataDirLister(DataDirOptions options) : options_(std::move(options)) {}
  DataDirOptions options_;
  std::vector<std::string>
      tablespaces_inside_;  // relative paths of tablespaces that lie inside the data directory
};

}  // namespace lifeboat::pg
