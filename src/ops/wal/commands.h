// The command lines that we write into PostgreSQL's configuration: archive_command and restore_command.
//
// They stand on their own: absolute path of the program, repository, cluster and key, so that no PATH, HOME,
// daemon or configuration file is needed when the server calls them. Used by init, restore, standby creation
// and doctor.
#pragma once

#include <string>

#include "ops/session.h"
#include "util/result.h"

namespace lifeboat::ops {

// The absolute path of the running program (/proc/self/exe). `failed` when the file behind it is gone.
Result<std::string> own_program_path();

struct WalCommandLine {
  std::string program;  // absolute
  RepoLocation repo;
  std::string spool = {};  // of `wal get`; "": its own choice
  // Where a segment that was put into pg_wal already has a file of its name (ops/restore/placed_wal.h); "":
  // nobody puts any there.
  std::string placed = {};
};

// Whom restore_command serves. A recovery must stop on an outage (exit code above 125), a standby retries
// (T29).
enum class RestoreCommandFor : uint8_t { recovery, standby };

// Values for the settings, before any quoting for a configuration file. Arguments are quoted for the shell,
// and % is doubled because PostgreSQL replaces %p, %f and %r (src/common/percentrepl.c; before 16 in
// shell_archive.c and xlogarchive.c).
std::string archive_command(const WalCommandLine& line);
std::string restore_command(const WalCommandLine& line, RestoreCommandFor use);

}  // namespace lifeboat::ops
