#include "model/timestamp.h"

#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "util/strings.h"

namespace lifeboat {

namespace {

struct Civil {
  int year, month, day, hour, minute, second, us;
};

Civil civil_of(int64_t unix_us) {
  int64_t seconds = unix_us / 1'000'000;
  int64_t us = unix_us % 1'000'000;
  if (us < 0) {
    us += 1'000'000;
    --seconds;
  }
  time_t when = static_cast<time_t>(seconds);
  tm parts{};
  gmtime_r(&when, &parts);
  return {parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,       parts.tm_hour,
          parts.tm_min,         parts.tm_sec,     static_cast<int>(us)};
}

std::string print(int64_t unix_us, const char* format, std::string_view zone) {
  Civil c = civil_of(unix_us);
  char text[64];
  std::snprintf(text, sizeof text, format, c.year, c.month, c.day, c.hour, c.minute, c.second);
  std::string result = text;
  if (c.us != 0) {
    std::snprintf(text, sizeof text, ".%06d", c.us);
    result += text;
  }
  return result + std::string(zone);
}

Error bad_time(std::string_view text, std::string_view why) {
  return make_error(ErrorKind::usage, cat("time \"", text, "\""), std::string(why))
      .with_hint(
          "write it as 2026-11-20 10:56:25+00, 2026-11-20T10:56:25Z or 2026-11-20 10:56:25 Europe/Zurich");
}

// Takes `count` digits off the front; -1 when they are not there.
int take_digits(std::string_view& rest, size_t count) {
  if (rest.size() < count) return -1;
  int value = 0;
  for (size_t i = 0; i < count; ++i) {
    if (rest[i] < '0' || rest[i] > '9') return -1;
    value = value * 10 + (rest[i] - '0');
  }
  rest.remove_prefix(count);
  return value;
}

bool take_char(std::string_view& rest, char c) {
  if (rest.empty() || rest[0] != c) return false;
  rest.remove_prefix(1);
  return true;
}

bool days_in_month_ok(const Civil& c) {
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (c.month < 1 || c.month > 12 || c.day < 1) return false;
  bool leap = (c.year % 4 == 0 && c.year % 100 != 0) || c.year % 400 == 0;
  return c.day <= kDays[c.month - 1] + (c.month == 2 && leap ? 1 : 0);
}

// "YYYY-MM-DD", then optionally a space or T and "HH:MM[:SS[.ffffff]]"; leaves what follows in `rest`.
bool take_civil(std::string_view& rest, Civil& c) {
  c = {};
  c.year = take_digits(rest, 4);
  if (c.year < 1970 || !take_char(rest, '-')) return false;
  c.month = take_digits(rest, 2);
  if (!take_char(rest, '-')) return false;
  c.day = take_digits(rest, 2);
  if (!days_in_month_ok(c)) return false;
  if (rest.size() < 2 || (rest[0] != ' ' && rest[0] != 'T' && rest[0] != 't') || rest[1] < '0' ||
      rest[1] > '9') {
    return false;  // a date alone is not a moment
  }
  rest.remove_prefix(1);
  c.hour = take_digits(rest, 2);
  if (!take_char(rest, ':')) return false;
  c.minute = take_digits(rest, 2);
  if (c.hour < 0 || c.hour > 23 || c.minute < 0 || c.minute > 59) return false;
  if (!take_char(rest, ':')) return true;
  c.second = take_digits(rest, 2);
  if (c.second < 0 || c.second > 59) return false;
  if (!take_char(rest, '.')) return true;
  int scale = 100'000;
  int digits = 0;
  while (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
    c.us += (rest[0] - '0') * scale;
    scale /= 10;
    ++digits;
    rest.remove_prefix(1);
  }
  return digits >= 1 && digits <= 6;
}

int64_t utc_seconds(const Civil& c) {
  tm parts{};
  parts.tm_year = c.year - 1900;
  parts.tm_mon = c.month - 1;
  parts.tm_mday = c.day;
  parts.tm_hour = c.hour;
  parts.tm_min = c.minute;
  parts.tm_sec = c.second;
  return static_cast<int64_t>(timegm(&parts));
}

// Seconds east of UTC from "+HH[[:]MM[[:]SS]]"; nullopt when it is not an offset.
std::optional<int64_t> take_offset(std::string_view rest) {
  int sign = rest[0] == '-' ? -1 : 1;
  rest.remove_prefix(1);
  int hours = take_digits(rest, 2);
  int minutes = 0;
  int seconds = 0;
  if (hours < 0 || hours > 15) return std::nullopt;
  if (!rest.empty()) {
    take_char(rest, ':');
    minutes = take_digits(rest, 2);
    if (minutes < 0 || minutes > 59) return std::nullopt;
  }
  if (!rest.empty()) {
    take_char(rest, ':');
    seconds = take_digits(rest, 2);
    if (seconds < 0 || seconds > 59) return std::nullopt;
  }
  if (!rest.empty()) return std::nullopt;
  return sign * (hours * 3600 + minutes * 60 + seconds);
}

// The C library knows the zones of /usr/share/zoneinfo; an unknown TZ silently means UTC there, so the file
// is looked for first. All moments whose local time in `zone` is `c`.
class ZoneScope {
 public:
  explicit ZoneScope(const std::string& zone) {
    const char* old = std::getenv("TZ");
    if (old != nullptr) old_ = old;
    had_ = old != nullptr;
    setenv("TZ", cat(":", zone).c_str(), 1);
    tzset();
  }
  ~ZoneScope() {
    if (had_) {
      setenv("TZ", old_.c_str(), 1);
    } else {
      unsetenv("TZ");
    }
    tzset();
  }
  ZoneScope(const ZoneScope&) = delete;
  ZoneScope& operator=(const ZoneScope&) = delete;

 private:
  std::string old_;
  bool had_ = false;
};

bool zone_known(std::string_view zone) {
  if (zone.empty() || zone.find("..") != std::string_view::npos || zone[0] == '/') return false;
  FILE* file = std::fopen(cat("/usr/share/zoneinfo/", zone).c_str(), "rb");
  if (file == nullptr) return false;
  char magic[4] = {};
  bool known = std::fread(magic, 1, 4, file) == 4 && std::string_view(magic, 4) == "TZif";
  std::fclose(file);
  return known;
}

Result<int64_t> seconds_in_zone(std::string_view text, const Civil& c, const std::string& zone) {
  if (!zone_known(zone)) return bad_time(text, cat("unknown time zone ", zone));
  ZoneScope scope(zone);
  int64_t as_utc = utc_seconds(c);
  int64_t found = 0;
  int count = 0;
  // Offsets in use lie within 15 hours of UTC and change in quarters of an hour.
  constexpr int64_t kFarthest = int64_t{15} * 3600;
  for (int64_t offset = -kFarthest; offset <= kFarthest; offset += 900) {
    time_t candidate = static_cast<time_t>(as_utc - offset);
    tm local{};
    localtime_r(&candidate, &local);
    if (local.tm_gmtoff == offset) {
      found = candidate;
      ++count;
    }
  }
  if (count == 0)
    return bad_time(text, cat("this time does not exist in ", zone, " or its offset is unusual"));
  if (count > 1) return bad_time(text, cat("this time occurs twice in ", zone, ": give a numeric offset"));
  return found;
}

}  // namespace

std::string Timestamp::to_string() const {
  return print(unix_us, "%04d-%02d-%02d %02d:%02d:%02d", "+00");
}
std::string Timestamp::to_iso() const {
  return print(unix_us, "%04d-%02d-%02dT%02d:%02d:%02d", "Z");
}

std::string Timestamp::to_compact() const {
  return print(unix_us - unix_us % 1'000'000, "%04d%02d%02dT%02d%02d%02d", "Z");
}

Result<Timestamp> parse_time(std::string_view input) {
  std::string_view text = trim(input);
  std::string_view rest = text;
  Civil c{};
  if (!take_civil(rest, c)) return bad_time(text, "not a date and time");
  rest = trim(rest);
  if (rest.empty()) return bad_time(text, "the time zone is missing");
  if (rest == "Z" || rest == "z") return Timestamp{utc_seconds(c) * 1'000'000 + c.us};
  if (rest[0] == '+' || rest[0] == '-') {
    auto offset = take_offset(rest);
    if (!offset) return bad_time(text, "not a time zone offset");
    return Timestamp{(utc_seconds(c) - *offset) * 1'000'000 + c.us};
  }
  TRY_ASSIGN(int64_t seconds, seconds_in_zone(text, c, std::string(rest)));
  return Timestamp{seconds * 1'000'000 + c.us};
}

}  // namespace lifeboat
