#include "ops/drill/scope.h"

#include "codec/codec.h"
#include "util/strings.h"

namespace lifeboat::ops {

DrillScope DrillScope::of(int days, Timestamp now) {
  constexpr int64_t kDayUs = 86'400'000'000;
  if (days <= 1) return everything();
  return {days, static_cast<int>(now.unix_us / kDayUs % days)};
}

bool DrillScope::has(std::string_view database, std::string_view schema, std::string_view table) const {
  if (all()) return true;
  const std::string name = cat(database, ".", schema, ".", table);
  const uint32_t hash = codec::crc32c(0xffffffff, as_bytes(name)) ^ 0xffffffff;
  return static_cast<int>(hash % static_cast<uint32_t>(days)) == turn;
}

std::string DrillScope::to_string() const {
  return all() ? std::string("everything") : cat("part ", turn + 1, " of ", days);
}

}  // namespace lifeboat::ops
