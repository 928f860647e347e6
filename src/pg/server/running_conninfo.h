// How the server that runs in a data directory is reached from this host, for whoever was told the directory
// only.
#pragma once

#include <string>

#include "pg/server/postmaster.h"

namespace lifeboat::pg {

// By its socket where it has one; "" while it does not listen yet.
std::string conninfo_of(const PidFile& file);

// "" when no server runs there, as far as can be seen, or when libpq's environment (PGHOST, PGHOSTADDR,
// PGPORT, PGSERVICE) names one itself.
std::string running_conninfo(const std::string& data_directory);

}  // namespace lifeboat::pg
