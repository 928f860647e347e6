// Moments in time: microseconds since 1970-01-01 00:00:00 UTC, always UTC inside, always printed with an
// offset.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "util/result.h"

namespace lifeboat {

struct Timestamp {
  int64_t unix_us = 0;  // 0 is "unknown"

  // PostgreSQL's TimestampTz counts microseconds from 2000-01-01 UTC (src/include/datatype/timestamp.h).
  static Timestamp from_postgres(int64_t pg_us) { return {pg_us + kPostgresEpochUs}; }
  int64_t to_postgres() const { return unix_us - kPostgresEpochUs; }
  static Timestamp from_seconds(int64_t seconds) { return {seconds * 1'000'000}; }

  // "2026-11-20 10:56:25.077300+00": what PostgreSQL reads and psql prints. Microseconds left out when zero.
  std::string to_string() const;
  // "2026-11-20T10:56:25.077300Z": for JSON. Microseconds left out when zero.
  std::string to_iso() const;
  // "20261120T105625Z": for identifiers and file names.
  std::string to_compact() const;

  bool valid() const { return unix_us != 0; }
  double seconds_since(Timestamp earlier) const {
    return static_cast<double>(unix_us - earlier.unix_us) / 1e6;
  }
  Timestamp plus_us(int64_t us) const { return {unix_us + us}; }
  auto operator<=>(const Timestamp&) const = default;

  static constexpr int64_t kPostgresEpochUs = 946'684'800'000'000;
};

// Reads what an operator types: psql's own output ("2026-11-20 10:56:25.0773+00"), ISO 8601 with T and Z,
// offsets
// (+02, +0200, +02:00), or an IANA zone name after a space ("2026-11-20 12:56 Europe/Zurich"). Errors
// (usage): no zone, an unknown zone, an hour that occurs twice or never in that zone, anything that does not
// parse. Thread rule: zone names go through the C library's TZ variable; call it from the main thread before
// others run.
Result<Timestamp> parse_time(std::string_view text);

}  // namespace lifeboat
