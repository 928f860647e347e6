#include "storage/names.h"

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::storage {

namespace {

constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=-";

bool allowed(std::string_view text) {
  return text.find_first_not_of(kAllowed) == std::string_view::npos;
}

Error bad(std::string_view what, std::string_view text) {
  // A hostile name may be long and hold anything: show its beginning, quoted as hex where it is not
  // printable.
  std::string shown;
  for (char c : text.substr(0, 80)) {
    if (c >= ' ' && c <= '~') {
      shown += c;
    } else {
      shown += cat("\\x", to_hex(as_bytes({&c, 1})));
    }
  }
  if (text.size() > 80) shown += "…";
  return make_error(ErrorKind::failed, cat("\"", shown, "\""), cat("not ", what));
}

}  // namespace

bool valid_element(std::string_view element) {
  return !element.empty() && element.size() <= kLongestElement && element != "." && element != ".." &&
         !is_temporary_name(element) && allowed(element);
}

Status check_name(std::string_view name) {
  if (name.size() > kLongestName) return bad("an object name", name);
  for (std::string_view element : split(name, '/')) {
    if (!valid_element(element)) return bad("an object name", name);
  }
  return {};
}

Status check_prefix(std::string_view prefix) {
  if (prefix.size() > kLongestName) return bad("the beginning of an object name", prefix);
  std::vector<std::string_view> elements = split(prefix, '/');
  std::string_view last = elements.back();  // perhaps incomplete
  elements.pop_back();
  bool good = last.size() <= kLongestElement && allowed(last);
  for (std::string_view element : elements) good = good && valid_element(element);
  if (!good) return bad("the beginning of an object name", prefix);
  return {};
}

Status check_directory_prefix(std::string_view prefix) {
  TRY(check_prefix(prefix));
  if (!prefix.empty() && !prefix.ends_with('/')) return bad("the name of a directory of objects", prefix);
  return {};
}

}  // namespace lifeboat::storage
