// The data directory that --replace is to take the place of: may it be replaced, and whose is it?
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ops/session.h"
#include "util/result.h"

namespace lifeboat::ops {

// Refuses a directory in which a server runs (T35), one that Patroni manages, and one that is no data
// directory but holds something. Errors: precondition, permission. Success for an absent or empty directory.
enum class ServerThere : uint8_t { refused, will_be_stopped };
Status check_replaceable(const std::string& directory, ServerThere server = ServerThere::refused);

// restore --delta --to: `precondition` when what is there archives, and so is no copy beside an original but
// a cluster of its own, whose WAL would be lost.
Status check_is_copy(const std::string& directory);

// The lineage of what is in the directory; nullopt when pg_control or PG_VERSION cannot be read (a wreck is
// what restores are for) or nothing is there.
std::optional<Lineage> lineage_of_directory(const std::string& directory);

}  // namespace lifeboat::ops
