// Which blocks of a data directory are damaged? (SH1)
//
// Every page of every permanent relation is read and judged by its checksum; without data checksums by its
// header alone, which sees little. A server may run meanwhile: a page that it was just writing is read again
// until it is whole. What the server holds in memory may be good all the same; the file is what is judged.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "ops/session.h"
#include "pg/files/entry.h"
#include "pg/format/page.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct DamagedBlock {
  std::string path;  // of the file, relative to the data directory
  pg::Fork fork = pg::Fork::main;
  uint32_t block = 0;   // of the fork, counted over all its files, as PostgreSQL's messages do
  uint64_t offset = 0;  // in this file, bytes
  pg::PageState state = pg::PageState::ok;  // ok: somebody named it, its checksum is right
  Lsn lsn = {};                             // that its header claims
};

struct BlockScan {
  bool checksums = false;
  bool running = false;  // a server ran when the scan began
  uint64_t files = 0;
  uint64_t blocks = 0;
  std::vector<DamagedBlock> damaged;  // in the order of paths and blocks
  std::vector<std::string> notes;
};

// Whether the files of a relation are read: "base/5/16384", as pg_relation_filepath() names it.
using RelationFilter = std::function<bool(const std::string& relation)>;

// Of every relation, or of those that `wanted` chooses. Errors: those of reading; cancelled. Damage is a
// value.
Result<BlockScan> scan_blocks(const DataDirFacts& data_dir, Reporter& reporter, const StopToken& stop,
                              const RelationFilter& wanted = {});

// "base/5/16384:3": the relation as PostgreSQL's messages name it (without .1) and the block. `usage`,
// not_found.
Result<DamagedBlock> named_block(const DataDirFacts& data_dir, std::string_view text);

// A page as it is in the file now. `damaged` when the file ends before its end.
Result<Bytes> read_block(const std::string& file, uint64_t offset, uint32_t block_size);

}  // namespace lifeboat::ops
