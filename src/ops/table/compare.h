// Are two tables equal, row by row, whatever their order and whichever servers hold them?
#pragma once

#include <cstdint>
#include <string>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

struct TableDigest {
  int64_t rows = 0;
  std::string sum;  // of 60 bits of the MD5 of each row's text: no order, and no row may be left out
  bool operator==(const TableDigest&) const = default;
};

// Makes rows read as the same text on every server. Once per connection.
Status settle_text_form(pg::PgClient& client);
// `table`: quoted, with its schema. Reads the whole table.
Result<TableDigest> digest_table(pg::PgClient& client, const std::string& table);

}  // namespace lifeboat::ops
