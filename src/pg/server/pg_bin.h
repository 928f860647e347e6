// Where PostgreSQL's own programs of one major are.
#pragma once

#include <string>
#include <string_view>

#include "util/result.h"

namespace lifeboat::pg {

struct PgBin {
  std::string directory;  // absolute
  std::string version;    // what `postgres -V` prints, "postgres (PostgreSQL) 15.13 (Debian …)"
  int major = 0;

  std::string program(std::string_view name) const;  // directory + "/" + name
};

// Looks in `explicit_dir` when given and nowhere else; otherwise /usr/lib/postgresql/N/bin, /usr/pgsql-N/bin,
// PATH. The version is asked of `postgres -V`. Errors: not_found (hint: which package), foreign (explicit_dir
// holds another major, expected and found named).
Result<PgBin> find_pg_bin(int major, const std::string& explicit_dir = "");

// Client programs for a server of `major`: of its own major where that is installed, else of the nearest
// newer one, never of an older one. Not simply the newest: what pg_dump 17 writes, pg_restore 17 alone reads,
// and that cannot restore it into PostgreSQL 16 or older with --exit-on-error ("unrecognized configuration
// parameter transaction_timeout"). Looks where find_pg_bin() does, for pg_dump instead of postgres. Errors:
// not_found, foreign (explicit_dir holds an older major).
Result<PgBin> find_client_bin(int major, const std::string& explicit_dir = "");

// 15 from "postgres (PostgreSQL) 15.13 (Debian …)", "19" from "postgres (PostgreSQL) 19rc1"; 0 when it is not
// that. `program` is the one that printed it.
int major_of_version_line(std::string_view line, std::string_view program = "postgres");

}  // namespace lifeboat::pg
