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
  int64_t merged = 0;
};

// All of them in one transaction, in an order that foreign keys allow. Existing rows are not changed. Errors:
// precondition (no primary key, a column that the target lacks), those of the server; then nothing was
// merged.
Status merge_missing_rows(pg::PgClient& client, std::vector<MergePair>& pairs);

}  // namespace lifeboat::ops
