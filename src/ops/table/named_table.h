// A name that is no table's.
#pragma once

#include <string>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

// Errors: usage when `name` is a view, a sequence or another relation without rows of its own to bring.
Status require_no_other_relation(pg::PgClient& client, const std::string& name);

}  // namespace lifeboat::ops
