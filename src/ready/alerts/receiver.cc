#include "ready/alerts/receiver.h"

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr ReceiverType kTypes[] = {ReceiverType::webhook, ReceiverType::slack, ReceiverType::pagerduty,
                                   ReceiverType::email, ReceiverType::command};
constexpr int kDayMinutes = 24 * 60;
constexpr int64_t kMinuteUs = 60'000'000;

std::optional<int> minute_of(std::string_view text) {
  auto parts = split(text, ':');
  if (parts.size() != 2 || parts[0].size() != 2 || parts[1].size() != 2) return std::nullopt;
  auto hour = parse_u64(parts[0]);
  auto minute = parse_u64(parts[1]);
  if (!hour || !minute || *hour > 24 || *minute > 59) return std::nullopt;
  const int all = static_cast<int>(*hour * 60 + *minute);
  return all > kDayMinutes ? std::nullopt : std::optional(all);
}

}  // namespace

std::string_view to_string(ReceiverType type) {
  switch (type) {
    case ReceiverType::webhook:
      return "webhook";
    case ReceiverType::slack:
      return "slack";
    case ReceiverType::pagerduty:
      return "pagerduty";
    case ReceiverType::email:
      return "email";
    case ReceiverType::command:
      return "command";
  }
  return "?";
}

std::optional<ReceiverType> parse_receiver_type(std::string_view text) {
  for (ReceiverType type : kTypes) {
    if (text == to_string(type)) return type;
  }
  return std::nullopt;
}

std::optional<QuietPeriod> QuietPeriod::parse(std::string_view text) {
  auto parts = split(text, '-');
  if (parts.size() != 2) return std::nullopt;
  auto from = minute_of(parts[0]);
  auto to = minute_of(parts[1]);
  if (!from || !to || *from == *to) return std::nullopt;
  return QuietPeriod{*from, *to};
}

bool QuietPeriod::holds(Timestamp now) const {
  const auto minute = static_cast<int>(now.unix_us / kMinuteUs % kDayMinutes);
  if (from_minute < to_minute) return minute >= from_minute && minute < to_minute;
  return minute >= from_minute || minute < to_minute;
}

}  // namespace lifeboat::ready
