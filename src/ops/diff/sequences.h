// Where sequences stand, on two servers.
//
// A server writes to WAL that a sequence has gone up to 32 values further than it has (SEQ_LOG_VALS in
// sequence.c), so that not each value costs a record; after recovery the sequence begins there. So what was
// recovered is compared by what WAL has: that a recovered sequence is ahead by values that nobody got is no
// difference.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

struct SequenceState {
  int64_t last_value = 0;
  std::string logged;  // as far as WAL has it
  bool is_called = false;
};
struct SequenceStates {
  std::map<std::string, SequenceState> found;  // by its name, quoted, with its schema
  std::vector<std::string> forbidden;          // that the role may not read
};
enum class Unlogged : uint8_t { read, leave_out };
// Those of the whole database, or those that belong to columns of `tables` (quoted, with their schema).
// Values are those of now: sequences know no snapshot. Errors: those of the server.
Result<SequenceStates> read_sequences(pg::PgClient& client,
                                      const std::optional<std::vector<std::string>>& tables,
                                      Unlogged unlogged);

struct SequenceDiff {
  std::string sequence;
  SequenceState before;
  SequenceState after;
};
enum class SequenceForm : uint8_t { as_it_stands, as_logged };
// Of those that both have.
std::vector<SequenceDiff> compare_sequences(const SequenceStates& before, const SequenceStates& after,
                                            SequenceForm form);

}  // namespace lifeboat::ops
