#include "app/daemon/cron.h"

#include <array>
#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "util/strings.h"

namespace lifeboat::app {
namespace {

using std::chrono::days;
using std::chrono::sys_days;

constexpr int64_t kMinuteUs = 60'000'000;
constexpr int64_t kDayMinutes = 24 * 60;
constexpr int kDaysSearched = 366 * 9;  // 29 February is up to eight years away

constexpr std::string_view kMonths[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                        "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::string_view kWeekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kShort = {{
    {"@hourly", "0 * * * *"},
    {"@daily", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"},
}};

struct Field {
  std::string_view name;
  unsigned min;
  unsigned max;
  std::span<const std::string_view> names = {};  // of the values from min on
};
constexpr Field kFields[] = {
    {"minute", 0, 59},
    {"hour", 0, 23},
    {"day of the month", 1, 31},
    {"month", 1, 12, kMonths},
    {"day of the week", 0, 7, kWeekdays},
};

std::optional<unsigned> value_of(const Field& field, std::string_view text) {
  for (size_t i = 0; i < field.names.size(); ++i)
    if (to_lower(text) == field.names[i]) return field.min + static_cast<unsigned>(i);
  auto number = parse_u64(text);
  if (!number || *number < field.min || *number > field.max) return std::nullopt;
  return static_cast<unsigned>(*number);
}

// One element of a list: "*", "7", "1-5", each perhaps with "/2".
std::optional<uint64_t> element(const Field& field, std::string_view text) {
  const size_t slash = text.find('/');
  uint64_t step = 1;
  if (slash != std::string_view::npos) {
    auto number = parse_u64(text.substr(slash + 1));
    if (!number || *number == 0 || *number > field.max) return std::nullopt;
    step = *number;
    text = text.substr(0, slash);
  }
  std::optional<unsigned> first = field.min;
  std::optional<unsigned> last = field.max;
  if (text != "*") {
    const size_t dash = text.find('-');
    first = value_of(field, text.substr(0, dash));
    if (dash != std::string_view::npos) {
      last = value_of(field, text.substr(dash + 1));
    } else if (slash == std::string_view::npos) {
      last = first;  // "5/10" goes on to the end, as in cron
    }
  }
  if (!first || !last || *first > *last) return std::nullopt;
  uint64_t bits = 0;
  for (uint64_t value = *first; value <= *last; value += step) bits |= uint64_t{1} << value;
  return bits;
}

Result<uint64_t> field_bits(const Field& field, std::string_view text, std::string_view whole) {
  uint64_t bits = 0;
  for (std::string_view part : split(text, ',')) {
    auto found = element(field, part);
    if (!found) {
      return make_error(ErrorKind::usage, cat("'", whole, "'"),
                        cat(field.name, ": '", part, "' is no number from ", field.min, " to ", field.max,
                            ", no range and no step"));
    }
    bits |= *found;
  }
  return bits;
}

bool has(uint64_t bits, unsigned value) {
  return (bits >> value & 1) != 0;
}

// "*", or the values as a list.
std::string calendar_field(const Field& field, uint64_t bits) {
  std::vector<std::string> values;
  for (unsigned value = field.min; value <= field.max; ++value)
    if (has(bits, value)) values.push_back(cat(value));
  return values.size() == field.max - field.min + 1 ? "*" : join(values, ",");
}

// "Sun,Mon ", or nothing for all.
std::string calendar_weekdays(uint64_t bits) {
  constexpr std::string_view kNames[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  std::vector<std::string> names;
  for (unsigned day = 0; day < std::size(kNames); ++day)
    if (has(bits, day)) names.emplace_back(kNames[day]);
  return names.size() == std::size(kNames) ? "" : cat(join(names, ","), " ");
}

}  // namespace

Result<CronExpression> CronExpression::parse(std::string_view text) {
  std::string_view meant = trim(text);
  for (const auto& [name, expression] : kShort)
    if (meant == name) meant = expression;
  std::vector<std::string_view> fields;
  for (std::string_view word : split(meant, ' '))
    if (!word.empty()) fields.push_back(word);
  if (fields.size() != std::size(kFields)) {
    return make_error(ErrorKind::usage, cat("'", text, "'"), "is no cron expression")
        .with_hint(
            "five fields: minute, hour, day of the month, month, day of the week, in UTC; "
            "\"15 1 * * *\" is 01:15 every day");
  }
  CronExpression cron;
  cron.text_ = trim(text);
  uint64_t* bits[] = {&cron.minutes_, &cron.hours_, &cron.days_, &cron.months_, &cron.weekdays_};
  for (size_t i = 0; i < fields.size(); ++i) {
    TRY_ASSIGN(*bits[i], field_bits(kFields[i], fields[i], text));
  }
  if (has(cron.weekdays_, 7)) cron.weekdays_ |= 1;
  cron.any_day_ = fields[2].front() == '*';
  cron.any_weekday_ = fields[4].front() == '*';
  if (!cron.next(Timestamp{1}).valid())
    return make_error(ErrorKind::usage, cat("'", text, "'"), "names a day that never comes");
  return cron;
}

bool CronExpression::names_day(unsigned month, unsigned day, unsigned weekday) const {
  if (!has(months_, month)) return false;
  if (any_day_ || any_weekday_) return has(days_, day) && has(weekdays_, weekday);
  return has(days_, day) || has(weekdays_, weekday);
}

std::vector<std::string> CronExpression::calendar() const {
  const std::string time =
      cat(" ", calendar_field(kFields[1], hours_), ":", calendar_field(kFields[0], minutes_), ":00 UTC");
  const std::string months = cat("*-", calendar_field(kFields[3], months_), "-");
  const std::string by_day = cat(months, calendar_field(kFields[2], days_), time);
  const std::string weekdays = calendar_weekdays(weekdays_);
  if (any_day_ || any_weekday_) return {cat(weekdays, by_day)};
  return {by_day, cat(weekdays, months, "*", time)};
}

Timestamp CronExpression::next(Timestamp after) const {
  int64_t minute = after.unix_us / kMinuteUs + 1;
  sys_days day = sys_days(days(minute / kDayMinutes));
  auto of_day = static_cast<unsigned>(minute % kDayMinutes);
  for (int i = 0; i < kDaysSearched; ++i, day += days(1), of_day = 0) {
    const std::chrono::year_month_day date(day);
    if (!names_day(unsigned{date.month()}, unsigned{date.day()}, std::chrono::weekday(day).c_encoding()))
      continue;
    for (; of_day < kDayMinutes; ++of_day) {
      if (!has(hours_, of_day / 60) || !has(minutes_, of_day % 60)) continue;
      return {(int64_t{day.time_since_epoch().count()} * kDayMinutes + of_day) * kMinuteUs};
    }
  }
  return {};
}

Timestamp CronExpression::last(Timestamp from, Timestamp now) const {
  for (Timestamp at = next(from); at.valid() && at <= now; at = next(at)) from = at;
  return from;
}

}  // namespace lifeboat::app
