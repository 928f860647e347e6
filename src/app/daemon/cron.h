// Cron expressions, as crontab(5) has them, in UTC: no hour occurs twice and none is missing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "util/result.h"

namespace lifeboat::app {

class CronExpression {
 public:
  // Minute, hour, day of the month, month, day of the week: each *, numbers, ranges, steps (*/15, 1-5/2) and
  // lists of them; months and days of the week by their English names too (mon, jan); Sunday is 0 and 7; or
  // @hourly, @daily, @weekly, @monthly. A day matches when either of its two fields does, if both are
  // restricted. `usage` for what is no expression, and for one that never comes (30 February).
  static Result<CronExpression> parse(std::string_view text);

  // The first moment after `after` that it names; whole minutes.
  Timestamp next(Timestamp after) const;
  // The last one that is not after `now`, which is at least `from` (itself when none lies between).
  Timestamp last(Timestamp from, Timestamp now) const;
  // The same moments as systemd.time(7) writes them, "Mon,Fri *-*-* 4:15:00 UTC": two when either day may
  // match.
  std::vector<std::string> calendar() const;
  const std::string& text() const { return text_; }

 private:
  bool names_day(unsigned month, unsigned day, unsigned weekday) const;
  std::string text_;
  // Bit n: the value n.
  uint64_t minutes_ = 0;
  uint64_t hours_ = 0;
  uint64_t days_ = 0;
  uint64_t months_ = 0;
  uint64_t weekdays_ = 0;
  bool any_day_ = false;      // the field begins with *
  bool any_weekday_ = false;  // the same
};

}  // namespace lifeboat::app
