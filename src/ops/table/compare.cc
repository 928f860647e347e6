#include "ops/table/compare.h"

#include "util/strings.h"

namespace lifeboat::ops {

Status settle_text_form(pg::PgClient& client) {
  return client.exec(
      "set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set "
      "extra_float_digits = 3; set bytea_output = 'hex'; set xmloption = 'content'; set row_security = off");
}

Result<TableDigest> digest_table(pg::PgClient& client, const std::string& table) {
  TRY_ASSIGN(pg::Rows rows, client.query(cat("select count(*), coalesce(sum(", kRowBits,
                                             "), 0)::text from only ", table, " t")));
  TableDigest digest;
  digest.rows = rows.i64(0, 0).value_or(-1);
  digest.sum = std::string(rows.text(0, 1));
  return digest;
}

}  // namespace lifeboat::ops
