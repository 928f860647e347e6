// Rows that a table lacks, from another one of the same columns beside it, by primary key.
#pragma once

#include <string>
#include <vector>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

struct MergePair {
  std::string from;  // quoted, with its schema
  std::string into;
  std::string keys;  // a table that is made for as long as it takes: the keys of the rows that are missing
  int64_t merged = 0;
};

struct KeyColumn {
  std::string name;      // quoted
  std::string equality;  // the operator of the key's index, as SQL takes it: OPERATOR(pg_catalog.=)
};
// The primary key of a table, quoted, with its schema. Errors: precondition when it has none.
Result<std::vector<KeyColumn>> merge_key(pg::PgClient& client, const std::string& table);

// All of them in one transaction, in an order that foreign keys allow. Existing rows are not changed.
// Triggers and rules of the tables do what they do: `session` looks names up as they expect it, `catalogue`
// in pg_catalog only. Before it is committed every row that was missing is looked for by its key, and
// compared with what was brought, but for columns that are generated; and no other row may have gone by it.
// Errors: precondition (no primary key, a column that the target lacks, rows that refer to others),
// check_failed (rows are not what was brought), those of the server; then nothing was merged.
Status merge_missing_rows(pg::PgClient& catalogue, pg::PgClient& session, std::vector<MergePair>& pairs);

}  // namespace lifeboat::ops
