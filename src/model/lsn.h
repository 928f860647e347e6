// Positions in the write-ahead log, as PostgreSQL counts and prints them (src/include/access/xlogdefs.h).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lifeboat {

// Byte position in WAL. 0 is "no position" (InvalidXLogRecPtr).
struct Lsn {
  uint64_t value = 0;

  static std::optional<Lsn> parse(std::string_view text);  // "16/B374D848"
  std::string to_string() const;                           // "16/B374D848"
  bool valid() const { return value != 0; }
  auto operator<=>(const Lsn&) const = default;
  Lsn operator+(uint64_t bytes) const { return {value + bytes}; }
};

struct Timeline {
  uint32_t value = 0;          // 0 is "unknown"
  std::string to_hex() const;  // "0000000A"
  auto operator<=>(const Timeline&) const = default;
};

// Database system identifier (pg_control); printed in decimal.
struct SystemId {
  uint64_t value = 0;
  std::string to_string() const;
  auto operator<=>(const SystemId&) const = default;
};

using Oid = uint32_t;

}  // namespace lifeboat
