// Are two tables equal, row by row, whatever their order and whichever servers hold them?
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

// SQL over a row `t`: 60 bits of the MD5 of its text.
inline constexpr std::string_view kRowBits = "('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint";

struct TableDigest {
  int64_t rows = 0;
  std::string sum;  // of kRowBits of each row: no order, and no row may be left out
  bool operator==(const TableDigest&) const = default;
};

// Makes rows read as the same text on every server. Once per connection.
Status settle_text_form(pg::PgClient& client);
// `table`: quoted, with its schema. Reads the whole table.
Result<TableDigest> digest_table(pg::PgClient& client, const std::string& table);

}  // namespace lifeboat::ops
