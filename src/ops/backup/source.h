// Which server a backup is taken of, and how its files are read: here, or through connections.
//
// The files are read here when --pgdata says so, or when the data directory that the server names is on this
// host and that very server works in it; else through connections. --remote always means connections.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/backup/catalog.h"
#include "ops/session.h"
#include "pg/client/backup_session.h"
#include "pg/client/facts.h"
#include "pg/files/external_config.h"
#include "pg/files/source.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct SourceOptions {
  std::string conninfo;               // "" = libpq's environment
  std::optional<std::string> pgdata;  // the data directory on this host
  bool remote = false;
};

// What a backup needs to know before it begins.
struct Source {
  pg::ServerFacts server;
  DataDirFacts data_dir;
  std::string owner;  // of the files, by name. Through a connection a guess: whoever ran initdb
  std::string group;
  CatalogRecord catalog;
  std::vector<pg::ConfigFile> config_files;
  std::unique_ptr<pg::FileSource> files;
  bool remote = false;
  std::string
      where;  // for people: "/var/lib/postgresql/15/main", "host db1, port 5432, … through connections"

  // Of what the server writes or, as a standby, replays.
  Timeline timeline() const;
};

// Errors: foreign (connection and directory are not the same server), permission (with what to grant),
// precondition, those of PgClient.
Result<Source> open_source(const SourceOptions& options, Reporter& reporter, const StopToken& stop,
                           std::vector<std::string>& warnings);

// The server of the backup session must be the one whose files are read: a copy of it, a standby or another
// host of the connection string has the same system identifier (T26). Returns the tablespaces as they are
// since the backup began: one that is created later comes from WAL (T11).
Result<std::vector<pg::TablespaceFacts>> check_session(pg::BackupSession& session, const Source& source);

pg::ConnectOptions connect_options(const StopToken& stop);

}  // namespace lifeboat::ops
