// Is a server there?
#pragma once

#include <cstdint>
#include <string>

#include "util/result.h"

namespace lifeboat::pg {

// True when a server answers there that is up, whatever it says of us: wrong passwords, no connection left,
// in whatever language (PQping in libpq; src/interfaces/libpq/fe-connect.c). Errors: config, of the
// connection string; not_found, libpq.
Result<bool> answers(const std::string& conninfo, int64_t timeout_ms);

}  // namespace lifeboat::pg
