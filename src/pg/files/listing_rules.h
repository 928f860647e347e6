// Which entries of a data directory belong into a backup, by their paths alone: the same for a directory on
// this host (data_dir.h) and one that is read through a connection (remote_source.h).
//
// The rules are those of PostgreSQL's own base backup; data_dir.h names the differences.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pg/files/entry.h"

namespace lifeboat::pg {

std::string child_path(std::string_view directory, std::string_view name);

// Left out wherever they are (T08; excludeFiles in basebackup.c).
bool is_left_out(std::string_view name);
// Kept without its contents, which are made anew at every start (T08; excludeDirContents in basebackup.c).
bool is_kept_empty(std::string_view path);
// One of PostgreSQL's own directories at the top, which an administrator may have made a symbolic link.
bool is_own_directory(std::string_view path);
// "pg_tblspc/16385": one tablespace, outside or in place.
bool is_tablespace(std::string_view path);
// The two directories that a server expects in pg_wal, of which nothing else is listed.
std::vector<std::string_view> pg_wal_directories(int major);

// Of an unlogged relation the init fork alone is kept, from which the server makes it anew, empty. Whether a
// relation is unlogged is known once every name was seen (T09).
void leave_out_unlogged(std::vector<Entry>& entries);

}  // namespace lifeboat::pg
