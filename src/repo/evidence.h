// Evidence: immutable records of what was proven (verify runs, drills): "evidence/<time-ordered id>", one
// JSON document each, given by the caller. Expiry leaves them alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "repo/repository.h"

namespace lifeboat::repo {

inline constexpr uint64_t kEvidenceLimit = 16 << 20;

// Returns the id: time and six hex digits, as backup ids are made, of which the first stand for the
// milliseconds, so that ids are in the order of their times.
Result<std::string> write_evidence(const LineageRepo& repo, Timestamp time, std::string_view json);
Result<std::vector<std::string>> list_evidence(const LineageRepo& repo);  // oldest first
Result<std::string> read_evidence(const LineageRepo& repo, std::string_view id);

}  // namespace lifeboat::repo
