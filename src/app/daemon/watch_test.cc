#include "app/daemon/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ready/signals/report_json.h"

namespace lifeboat::app {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int64_t kMinute = 60'000'000;
const Timestamp kNow = Timestamp::from_seconds(1'800'000'000);

std::string document() {
  ready::SignalReport report;
  report.cluster = "main";
  report.time = kNow;
  ready::Reading reading;
  reading.signal = ready::find_signal("connections");
  reading.verdict = ready::Verdict::ok;
  reading.value = 0.5;
  report.readings.push_back(reading);
  auto json = ready::report_json(report);
  json["alerts"] = {
      {"firing", 2},
      {"waiting", 1},
      {"messages", nlohmann::ordered_json::array()},
      {"receivers", {{{"receiver", "team"}, {"sent", 7}, {"failed_attempts", 1}, {"failures_in_a_row", 0}}}}};
  return json.dump();
}

std::string metrics(const SignalWatch& watch, Timestamp now) {
  ready::Exposition exposition;
  watch.add_to(exposition, now);
  return exposition.to_string();
}

TEST(watch, hands_on_what_was_found) {
  SignalWatch watch;
  watch.ran("main", document(), "", 0.1, kMinute);
  const std::string text = metrics(watch, kNow);
  EXPECT_THAT(text, HasSubstr("lifeboat_connections_used_ratio{cluster=\"main\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("lifeboat_alerts_firing{cluster=\"main\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lifeboat_alert_messages_total{cluster=\"main\",receiver=\"team\"} 7\n"));
  EXPECT_EQ(watch.problem(kNow), "");
}

TEST(watch, what_is_old_is_unknown_and_has_no_value) {
  SignalWatch watch;
  watch.ran("main", document(), "", 0.1, kMinute);
  const Timestamp later = kNow.plus_us(4 * kMinute + 1);
  const std::string text = metrics(watch, later);
  EXPECT_THAT(text, HasSubstr("lifeboat_signal_status{cluster=\"main\",signal=\"connections\"} 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("lifeboat_connections_used_ratio")));
  EXPECT_THAT(watch.problem(later), HasSubstr("not read"));
}

TEST(watch, a_check_that_fails_keeps_the_report_until_it_is_old) {
  SignalWatch watch;
  watch.ran("main", document(), "", 0.1, kMinute);
  watch.ran("main", "", "took too long", 300, kMinute);
  EXPECT_THAT(metrics(watch, kNow), HasSubstr("lifeboat_connections_used_ratio"));
  EXPECT_THAT(metrics(watch, kNow), HasSubstr("lifeboat_signal_check_failures_total{cluster=\"main\"} 1\n"));
  EXPECT_THAT(watch.problem(kNow), HasSubstr("took too long"));
}

}  // namespace
}  // namespace lifeboat::app
