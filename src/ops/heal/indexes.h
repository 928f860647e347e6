// Indexes that a server must not be trusted with after a restore (PR1): those that PostgreSQL itself calls
// invalid, and those whose order depends on a collation that this host sorts otherwise than the one they were
// made on. Of every access method, those of extensions (vectors) too: what counts is pg_index and pg_depend.
//
// A libc that is newer by one release may find rows through such an index that are not there, and not find
// others; unique ones take duplicates. PostgreSQL warns, and goes on using them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class IndexDoubt : uint8_t {
  invalid,    // a CREATE or REINDEX that did not come to its end
  leftover,   // the second of its kind that a REINDEX CONCURRENTLY left: to be dropped, not rebuilt
  collation,  // made with another version of a collation
};
std::string_view to_string(IndexDoubt doubt);

struct DoubtfulIndex {
  std::string database;
  std::string index;   // quoted as SQL needs it, with its schema
  std::string table;   // likewise
  std::string method;  // access method: "btree", "hnsw"
  uint64_t bytes = 0;  // as pg_class notes it
  IndexDoubt doubt = IndexDoubt::invalid;
  std::string detail;      // which collation, and its versions
  bool catalogue = false;  // of a system catalogue: cannot be rebuilt concurrently
  // Of a rebuild:
  bool rebuilt = false;
  double seconds = 0;
  std::string problem;  // why it was not
};

// Of every database that can be connected to; `conninfo` names any of them.
Result<std::vector<DoubtfulIndex>> find_doubtful_indexes(const std::string& conninfo, const StopToken& stop);

// One by one, concurrently, so that traffic goes on; leftovers are dropped. A failure is noted at its index,
// and the next is taken. When every index that depends on a collation was rebuilt, its recorded version is
// brought up to date. Errors: those of connecting; cancelled between two indexes.
Status rebuild_indexes(const std::string& conninfo, std::vector<DoubtfulIndex>& indexes, Reporter& reporter,
                       const StopToken& stop);

}  // namespace lifeboat::ops
