#include "app/values.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "model/lsn.h"
#include "model/names.h"
#include "model/timestamp.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

Error expected(std::string_view what, std::string_view found) {
  return make_error(ErrorKind::usage, "", cat("expected ", what, ", found '", found, "'"));
}

// The digits that `text` begins with, and the unit after them.
std::optional<std::pair<uint64_t, std::string_view>> number_and_unit(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  auto number = parse_u64(text.substr(0, digits));
  if (!number) return std::nullopt;
  return std::pair{*number, trim(text.substr(digits))};
}

struct Unit {
  std::string_view name;
  uint64_t factor;
};

std::optional<uint64_t> scaled(std::string_view text, std::span<const Unit> units) {
  auto parts = number_and_unit(text);
  if (!parts) return std::nullopt;
  auto [number, unit_name] = *parts;
  for (const Unit& unit : units) {
    if (unit.name != unit_name) continue;
    uint64_t product = 0;
    if (__builtin_mul_overflow(number, unit.factor, &product) || product > INT64_MAX) return std::nullopt;
    return product;
  }
  return std::nullopt;
}

Result<std::string> absolute_path(std::string_view text, std::string_view working_directory) {
  if (text.empty()) return expected("a path", text);
  if (text.find('\0') != std::string_view::npos) return expected("a path without zero bytes", "\\0");
  if (text == "~" || text.starts_with("~/")) {
    return expected("a path", text)
        .with_hint("the shell expands ~ only at the beginning of a word: write the path out");
  }
  std::string path(text);
  while (path.starts_with("./")) path.erase(0, path.find_first_not_of('/', 1));
  if (path == ".") path.clear();
  if (!path.starts_with('/')) {
    if (working_directory.empty()) {
      return expected("an absolute path", text).with_hint("relative paths have no meaning here");
    }
    path = path.empty() ? std::string(working_directory) : cat(working_directory, "/", path);
  }
  if (path.starts_with("//")) path.erase(0, path.find_first_not_of('/') - 1);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Result<std::string> repository(std::string_view text, std::string_view working_directory) {
  size_t scheme = text.find("://");
  if (scheme != std::string_view::npos) {
    if (text.substr(0, scheme) == "file") {
      std::string_view path = text.substr(scheme + 3);
      if (!path.starts_with('/')) {
        return expected("an absolute directory after file://", text).with_hint(cat("file:///", path, "?"));
      }
      TRY_ASSIGN(std::string absolute, absolute_path(path, working_directory));
      return cat("file://", absolute);
    }
    return std::string(text);
  }
  if (text.find('/') != std::string_view::npos || text == "." || text == "..") {
    TRY_ASSIGN(std::string absolute, absolute_path(text, working_directory));
    return cat("file://", absolute);
  }
  if (!check_cluster_name(text)) {
    return expected("a repository URL, a directory or the name of a [repo.NAME] section", text);
  }
  return std::string(text);
}

// Keywords of a libpq connection string whose values are secrets.
bool is_secret_keyword(std::string_view keyword) {
  for (std::string_view secret : {"password", "sslpassword", "oauth_client_secret"}) {
    if (keyword == secret) return true;
  }
  return false;
}

// Whether a connection string holds a password, in libpq's two notations (libpq, "Connection Strings").
bool holds_password(std::string_view conninfo) {
  std::string_view text = trim(conninfo);
  if (text.starts_with("postgresql://") || text.starts_with("postgres://")) {
    text.remove_prefix(text.find("://") + 3);
    // Credentials end at an '@' before the first '/' (fe-connect.c, conninfo_uri_parse_options).
    std::string_view authority = text.substr(0, text.find('/'));
    size_t at = authority.find('@');
    if (at != std::string_view::npos && authority.substr(0, at).find(':') != std::string_view::npos)
      return true;
    size_t query = text.find('?');
    if (query == std::string_view::npos) return false;
    for (std::string_view parameter : split(text.substr(query + 1), '&')) {
      if (is_secret_keyword(to_lower(parameter.substr(0, parameter.find('='))))) return true;
    }
    return false;
  }
  // keyword = value, with optional spaces and values in single quotes with backslash escapes.
  size_t at = 0;
  auto skip_space = [&] {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
  };
  while (at < text.size()) {
    skip_space();
    size_t start = at;
    while (at < text.size() && text[at] != '=' && !std::isspace(static_cast<unsigned char>(text[at]))) ++at;
    std::string keyword = to_lower(text.substr(start, at - start));
    skip_space();
    if (at >= text.size() || text[at] != '=') continue;
    ++at;
    if (is_secret_keyword(keyword)) return true;
    skip_space();
    bool quoted = at < text.size() && text[at] == '\'';
    if (quoted) ++at;
    while (at < text.size()) {
      char c = text[at++];
      if (c == '\\' && at < text.size()) {
        ++at;
      } else if (quoted ? c == '\'' : std::isspace(static_cast<unsigned char>(c)) != 0) {
        break;
      }
    }
  }
  return false;
}

Result<std::string> conninfo(std::string_view text) {
  if (holds_password(text)) {
    // The value itself must not be shown.
    return make_error(ErrorKind::usage, "", "the connection string holds a password")
        .with_hint(
            "put it in a pass file (~/.pgpass, passfile=) or a service (service=): command lines are visible "
            "to every user of the machine");
  }
  return std::string(text);
}

Result<std::string> number_in_range(const Option& option, std::optional<uint64_t> number,
                                    std::string_view what, std::string_view text) {
  if (!number) return expected(what, text);
  if (option.min != INT64_MIN && *number < static_cast<uint64_t>(option.min)) {
    return expected(cat(what, " of at least ", option.min), text);
  }
  if (*number > static_cast<uint64_t>(option.max))
    return expected(cat(what, " of at most ", option.max), text);
  return std::string(text);
}

Result<std::string> integer(const Option& option, std::string_view text) {
  auto number = parse_i64(text);
  bool fits = number && *number >= option.min && *number <= option.max;
  if (fits) return std::to_string(*number);
  if (option.min != INT64_MIN && option.max != INT64_MAX) {
    return expected(cat("a whole number from ", option.min, " to ", option.max), text);
  }
  if (option.min != INT64_MIN) return expected(cat("a whole number of at least ", option.min), text);
  return expected("a whole number", text);
}

Result<std::string> choice(const Option& option, std::string_view text) {
  auto known = split(option.choices, '|');
  if (std::ranges::find(known, text) != known.end()) return std::string(text);
  auto near = nearest(text, known);
  std::string names;
  for (std::string_view name : known) names += cat(names.empty() ? "" : ", ", name);
  auto error = expected(cat("one of ", names), text);
  if (!near.empty()) error.hint = cat("did you mean ", near, "?");
  return error;
}

Result<std::string> timeline(std::string_view text) {
  if (text == "latest" || text == "current") return std::string(text);
  bool hexadecimal = text.starts_with("0x");
  auto number = hexadecimal ? parse_u64(text.substr(2), 16) : parse_u64(text);
  // PostgreSQL reads a leading zero as octal; nobody means that.
  bool leading_zero = !hexadecimal && text.size() > 1 && text[0] == '0';
  if (!number || leading_zero || *number == 0 || *number > UINT32_MAX) {
    return expected("latest, current or a timeline number (decimal, or hexadecimal as 0x1A)", text);
  }
  return std::to_string(*number);
}

Result<std::string> mapping(std::string_view text) {
  size_t equals = text.find('=');
  if (equals == std::string_view::npos || !text.starts_with('/') ||
      !text.substr(equals + 1).starts_with('/')) {
    return expected("OLD=NEW with two absolute directories", text);
  }
  TRY_ASSIGN(std::string from, absolute_path(text.substr(0, equals), ""));
  TRY_ASSIGN(std::string to, absolute_path(text.substr(equals + 1), ""));
  return cat(from, "=", to);
}

}  // namespace

std::optional<uint64_t> parse_bytes(std::string_view text) {
  static constexpr Unit kUnits[] = {{"", 1},
                                    {"B", 1},
                                    {"kB", 1ull << 10},
                                    {"KB", 1ull << 10},
                                    {"MB", 1ull << 20},
                                    {"GB", 1ull << 30},
                                    {"TB", 1ull << 40}};
  return scaled(text, kUnits);
}

std::optional<double> parse_decimal(std::string_view text) {
  double value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> parse_duration(std::string_view text) {
  static constexpr Unit kUnits[] = {{"", 1'000'000},         {"us", 1},           {"ms", 1'000},
                                    {"s", 1'000'000},        {"min", 60'000'000}, {"h", 3'600'000'000},
                                    {"d", 86'400'000'000ull}};
  auto us = scaled(text, kUnits);
  if (!us) return std::nullopt;
  return static_cast<int64_t>(*us);
}

std::optional<bool> parse_bool(std::string_view text) {
  std::string lower = to_lower(text);
  for (std::string_view word : {"true", "yes", "on", "1"}) {
    if (lower == word) return true;
  }
  for (std::string_view word : {"false", "no", "off", "0"}) {
    if (lower == word) return false;
  }
  return std::nullopt;
}

Result<std::string> check_value(const Option& option, std::string_view text,
                                std::string_view working_directory) {
  switch (option.kind) {
    case ValueKind::flag: {
      auto value = parse_bool(text);
      if (!value) return expected("true or false", text);
      return std::string(*value ? "true" : "false");
    }
    case ValueKind::text:
      if (text.empty()) return make_error(ErrorKind::usage, "", "expected a text, found nothing");
      return std::string(text);
    case ValueKind::integer:
      return integer(option, text);
    case ValueKind::bytes:
      return number_in_range(option, parse_bytes(text), "a size such as 512kB, 64MB or 1GB", text);
    case ValueKind::duration: {
      auto us = parse_duration(text);
      return number_in_range(option, us ? std::optional(static_cast<uint64_t>(*us)) : std::nullopt,
                             "a duration such as 500ms, 90s, 5min, 2h or 7d", text);
    }
    case ValueKind::choice:
      return choice(option, text);
    case ValueKind::path:
      return absolute_path(text, working_directory);
    case ValueKind::repository:
      return repository(text, working_directory);
    case ValueKind::conninfo:
      return conninfo(text);
    case ValueKind::cluster:
      return check_cluster_name(text);
    case ValueKind::backup:
      if (text != "latest" && !BackupId::parse(text)) {
        const bool dump = to_lower(option.name) == "dump";
        return expected(cat("a ", dump ? "dump" : "backup", " id such as 20261120T105625Z-4f2a9c, or latest"),
                        text)
            .with_hint(cat("lifeboat ", dump ? "dump list" : "list", " shows the ids"));
      }
      return std::string(text);
    case ValueKind::time: {
      TRY_ASSIGN(Timestamp time, parse_time(text));
      return time.to_string();
    }
    case ValueKind::lsn: {
      auto lsn = Lsn::parse(text);
      if (!lsn || !lsn->valid()) return expected("a WAL position such as 16/B374D848", text);
      return lsn->to_string();
    }
    case ValueKind::xid: {
      auto xid = parse_u64(text);
      // 0 to 2 are not transactions (src/include/access/transam.h).
      if (!xid || *xid < 3) return expected("a transaction id of 3 or more", text);
      return std::to_string(*xid);
    }
    case ValueKind::timeline:
      return timeline(text);
    case ValueKind::mapping:
      return mapping(text);
  }
  return make_error(ErrorKind::internal, "", "option of an unknown kind");
}

}  // namespace lifeboat::app
