// Which relations a drill looks at row by row. A drill on a mount costs what it touches, so that of a large
// database each drill counts and checks a part, and a rotation of days comes round to everything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/timestamp.h"

namespace lifeboat::ops {

struct DrillScope {
  // Without being told, everything is checked up to this size of a database cluster.
  static constexpr uint64_t kAllUpTo = 1ull << 30;
  static constexpr int kUsualDays = 7;

  int days = 1;  // in which everything has its turn; 1: everything, now
  int turn = 0;  // of them, today's

  static DrillScope everything() { return {}; }
  // The days since 1970 count on, so that a drill each day comes round.
  static DrillScope of(int days, Timestamp now);
  bool all() const { return days <= 1; }
  // By its name, which stays when it is rewritten.
  bool has(std::string_view database, std::string_view schema, std::string_view table) const;
  std::string to_string() const;  // "part 3 of 7"; "everything"
  bool operator==(const DrillScope&) const = default;
};

}  // namespace lifeboat::ops
