// What `heal indexes` and a restore say of indexes that are in doubt, and what a restore does about them.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "app/invocation.h"
#include "ops/heal/indexes.h"
#include "pg/server/launcher.h"

namespace lifeboat::app {

nlohmann::ordered_json indexes_json(const std::vector<ops::DoubtfulIndex>& indexes);
std::string indexes_text(const std::vector<ops::DoubtfulIndex>& indexes);  // a table; "" for none

// For RestoreOptions::promoted: looks for indexes in doubt, into `indexes`, and with --rebuild-indexes
// rebuilds them. That it cannot is a warning: the restore itself is done. `invocation` and `indexes` outlive
// it.
std::function<Status(pg::PgServer&)> look_at_restored_indexes(const Invocation& invocation,
                                                              std::vector<ops::DoubtfulIndex>& indexes);

// For the end of a restore's text; "" for none.
std::string restored_indexes_text(const std::vector<ops::DoubtfulIndex>& indexes, int port,
                                  const std::string& socket_directory);

}  // namespace lifeboat::app
