#include "repo/json_text.h"

#include <nlohmann/json.hpp>

#include "util/bytes.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr std::string_view kHexPrefix = "\x01hex:";

bool is_utf8(const std::string& text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

}  // namespace

std::string pack_text(const std::string& text) {
  return is_utf8(text) ? text : cat(kHexPrefix, to_hex(as_bytes(text)));
}

std::string unpack_text(const std::string& text) {
  if (!text.starts_with(kHexPrefix)) return text;
  auto bytes = from_hex(std::string_view(text).substr(kHexPrefix.size()));
  return bytes ? std::string(as_text(*bytes)) : text;
}

}  // namespace lifeboat::repo
