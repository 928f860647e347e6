// Connection strings that are written down for later: a configuration, a unit of systemd, a runbook.
#pragma once

#include <string>
#include <string_view>

#include "util/result.h"

namespace lifeboat::pg {

struct ExplicitConninfo {
  std::string text;                      // reaches the same server from an empty environment
  bool password_in_environment = false;  // PGPASSWORD is set, or the service has one; it is not in `text`
};

// `conninfo` with everything that libpq would add from the environment (PGHOST, PGPORT, PGUSER, PGDATABASE,
// PGSSLMODE, PGPASSFILE, …) and from the service that PGSERVICE names. Nothing secret is in it: passwords are
// left to a pass file. A string that names its service itself is returned as it is, since what it does not
// say is the service's to decide. Nothing to add: as it is too. Nothing is connected to. Errors: config,
// unsupported (no libpq).
Result<ExplicitConninfo> explicit_conninfo(const std::string& conninfo);

// A value in a connection string: in quotes, unless no shell and no reader stumbles over it.
std::string conninfo_value(std::string_view value);

// The directory of the socket that `conninfo` itself names, absolute; empty: it names none, or a host.
std::string socket_directory(const std::string& conninfo);

}  // namespace lifeboat::pg
