// What ties chosen tables to others of their database, cut in the throw-away database before they are
// brought: brought with it, a copy would hold back rows of a live table that it refers to, or be a part of a
// live table.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

enum class TieKind : uint8_t { foreign_key, partition, inheritance };
std::string_view to_string(TieKind kind);

// Names are quoted as SQL needs it, with schemas.
struct CutTie {
  TieKind kind = TieKind::foreign_key;
  std::string table;      // that was chosen
  std::string other;      // that was not, and that it refers to or was a part of
  std::string statement;  // ties them again
  std::string to_string() const;
};

// Of the tables of `schema` to those of all others. Errors: those of the server.
Result<std::vector<CutTie>> cut_ties(pg::PgClient& client, const std::string& schema);

}  // namespace lifeboat::ops
