#include "model/lsn.h"

#include "util/strings.h"

namespace lifeboat {

std::optional<Lsn> Lsn::parse(std::string_view text) {
  size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  std::string_view high = text.substr(0, slash);
  std::string_view low = text.substr(slash + 1);
  if (high.size() > 8 || low.size() > 8) return std::nullopt;
  auto high_value = parse_u64(high, 16);
  auto low_value = parse_u64(low, 16);
  if (!high_value || !low_value) return std::nullopt;
  return Lsn{*high_value << 32 | *low_value};
}

std::string Lsn::to_string() const {
  return cat(hex_number(value >> 32, 1), "/", hex_number(value & 0xffffffff, 1));
}

std::string Timeline::to_hex() const {
  return hex_number(value, 8);
}

std::string SystemId::to_string() const {
  return cat(value);
}

}  // namespace lifeboat
