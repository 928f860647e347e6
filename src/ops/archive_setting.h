// What the server's own settings say about archiving, before anything is known of a repository.
//
// Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "pg/client/facts.h"

namespace lifeboat::ops {

// `/bin/true` and its like: as an archive_command it says "archived" of every segment and stores none, so
// that no failure is ever counted.
bool stores_nothing(std::string_view archive_command);

// Is `wal receive` connected to this server?
bool streams_wal(const pg::ServerFacts& server);

// Why no WAL that this server writes reaches any archive; nullopt: it may reach one, or it is a standby,
// whose primary archives. Needs the settings archive_mode, archive_command and archive_library.
std::optional<std::string> why_nothing_is_archived(const pg::ServerFacts& server);

}  // namespace lifeboat::ops
