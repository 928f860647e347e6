// Damage that a running server finds in its own tables and B-tree indexes by amcheck (SH1): without data
// checksums, or where wrong content stands under a right checksum, files alone tell nothing.
//
// verify_heapam (14 and later) names the block of each damaged row; bt_index_check with heapallindexed says
// that an index is broken, and sometimes the block. Both only read. The extension is used where a database
// has it and never made: this is production.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ops/heal/blocks.h"
#include "ops/session.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class AmcheckKind : uint8_t { table, toast, index };
std::string_view to_string(AmcheckKind kind);

// One damaged block of a table, or one broken index.
struct AmcheckFinding {
  std::string database;
  std::string relation;  // quoted as SQL needs it, with its schema
  AmcheckKind kind = AmcheckKind::table;
  std::string file;              // relative to the data directory, its first where it has several
  std::vector<uint32_t> blocks;  // of a table: the damaged one; of an index: those that the message names
  std::string says;              // the first message
  uint64_t messages = 1;
  std::string repair;  // SQL that makes it new; empty: there is none
};

// A relation that nothing is known of.
struct NotChecked {
  std::string database;
  std::string relation;
  std::string why;
};

struct AmcheckScan {
  uint64_t tables = 0;  // that were checked
  uint64_t indexes = 0;
  std::vector<AmcheckFinding> findings;
  uint64_t left_out = 0;  // findings beyond those
  std::vector<NotChecked> not_checked;
  std::vector<std::string> without_extension;  // databases
  std::vector<DamagedBlock> blocks;            // of tables, each once, as the files are now
  std::vector<std::string> notes;
};

struct AmcheckRequest {
  DataDirFacts data_dir;
  std::string conninfo;  // of any database of the server that runs there
  // TABLE, INDEX, SCHEMA.TABLE or DATABASE.SCHEMA.TABLE: that table with its TOAST table and its indexes;
  // empty: everything in every database.
  std::vector<std::string> relations;
};

// Trouble with one relation does not keep the others from being looked at. Errors: precondition (no database
// has the extension, another server answers), not_found (a relation that is named), those of connecting, and
// of a connection that is lost; cancelled.
Result<AmcheckScan> scan_with_amcheck(const AmcheckRequest& request, Reporter& reporter,
                                      const StopToken& stop);

// The blocks of an index that a message of amcheck names: "index tid=(3,2)", "Block=3", "block 3". Pure.
std::vector<uint32_t> index_blocks_in(std::string_view message);

// "invalid page in block 3 of relation base/5/16384", as any statement says that meets one. Pure.
struct InvalidPage {
  std::string file;
  uint32_t block = 0;
};
std::optional<InvalidPage> invalid_page_in(std::string_view message);

}  // namespace lifeboat::ops
