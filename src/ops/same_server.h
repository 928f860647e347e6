// Does the server that was asked run in this data directory? A standby or a copy on the same host has the
// same system identifier, and two that were started together have nearly the same start time.
//
// What proves it is the process: a backend of the server is a child of the postmaster that postmaster.pid
// names. Where processes cannot be seen (hidepid, another user), the port, the data directory that the server
// names and the start time have to agree, the last within the time that a postmaster needs before it notes
// its own start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/timestamp.h"
#include "pg/client/client.h"
#include "pg/client/facts.h"
#include "pg/server/postmaster.h"

namespace lifeboat::ops {

// What was seen of the server while the connection was open.
struct ServerTrace {
  int64_t backend = 0;  // pid of the process that served us, on the server's host
  std::optional<int64_t>
      backend_parent;  // of the process with that pid on this host; unset: none is seen here
  std::optional<int64_t> port;
  std::string data_directory;  // as the server names it; empty: it does not tell
  Timestamp start;             // pg_postmaster_start_time()
};

// Asks the open connection, and looks at the process that answers while it is there.
Result<ServerTrace> trace_server(pg::PgClient& client, const pg::ServerFacts& server);

// Reads the parent of a process from /proc; nullopt: there is no such process, or it may not be seen.
std::optional<int64_t> parent_process(int64_t pid);

enum class SameServer : uint8_t { yes, no };
// `postmaster_seen`: this host's process of postmaster.pid can be looked at, so that a backend of it could be
// too. `same_directory`: whether what the server names is `directory`; nullopt: it named none. Pure.
SameServer judge_same_server(const ServerTrace& server, const pg::PidFile& here, bool postmaster_seen,
                             std::optional<bool> same_directory);

// The same, with what has to be read from this host.
SameServer is_same_server(const ServerTrace& server, const pg::PidFile& here, const std::string& directory);

}  // namespace lifeboat::ops
