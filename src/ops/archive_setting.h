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

// Does it end well although `wal push` in it did not: `lifeboat wal push … || true`, a pipe, something behind
// it? A redirection, or a condition before it, is none of these.
bool hides_failures(std::string_view archive_command);

// A repository as archive_command names it, so that two names of one are equal: "file:///srv/backup".
std::string normal_url(const std::string& repo);

// Is `wal receive` connected to this server, and streams, or is about to?
bool streams_wal(const pg::ServerFacts& server);

// Why nothing that this server shows hands its WAL to any archive; nullopt: something may, or it is a
// standby, whose primary archives. WAL that a receiver takes from its standby is not seen. Needs the settings
// archive_mode, archive_command and archive_library, slots and senders.
std::optional<std::string> why_nothing_is_archived(const pg::ServerFacts& server);

}  // namespace lifeboat::ops
