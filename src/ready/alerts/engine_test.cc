#include "ready/alerts/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::ready {
namespace {

using testing::ElementsAre;
using Status = AlertItem::Status;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;

// Time, one receiver and a book, driven as the checks of a day would.
class Engine : public testing::Test {
 protected:
  Engine() {
    receiver_.name = "team";
    receiver_.repeat_us = 4 * kHour;
  }

  SignalReport report(std::vector<std::pair<const char*, Verdict>> verdicts) const {
    SignalReport report;
    report.cluster = "main";
    report.time = now_;
    for (const auto& [id, verdict] : verdicts) {
      Reading reading;
      reading.signal = find_signal(id);
      reading.verdict = verdict;
      reading.policy.owner = "dba";
      reading.found = "found";
      report.readings.push_back(std::move(reading));
    }
    return report;
  }

  // One check in which everything is delivered; "backup_age critical" for each item.
  std::vector<std::string> check(std::vector<std::pair<const char*, Verdict>> verdicts) {
    book_.observe(report(std::move(verdicts)));
    std::vector<std::string> said;
    for (const AlertMessage& message : book_.due({receiver_}, "main", now_)) {
      for (const AlertItem& item : message.items)
        said.push_back(
            item.signal + " " +
            (item.status == Status::resolved ? "resolved" : std::string(severity_name(item.severity))));
      if (message.kind == AlertMessage::Kind::heartbeat) said.emplace_back("heartbeat");
      book_.told(receiver_, message, now_);
      ++messages_;
    }
    return said;
  }

  void pass(int64_t us) { now_ = now_.plus_us(us); }

  Receiver receiver_;
  AlertBook book_;
  Timestamp now_ = Timestamp::from_seconds(1'800'000'000);  // 08:00 UTC
  int messages_ = 0;
};

TEST_F(Engine, tells_once_and_when_it_is_over) {
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre("backup_age warning"));
  pass(kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre());
  pass(kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::ok}}), ElementsAre("backup_age resolved"));
  pass(kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::ok}}), ElementsAre());
  EXPECT_EQ(book_.firing(), 0u);
}

TEST_F(Engine, tells_again_after_repeat_and_when_severity_changes) {
  check({{"backup_age", Verdict::warning}});
  pass(4 * kHour - kSecond);
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre());
  pass(kSecond);
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre("backup_age warning"));
  pass(kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("backup_age critical"));
  pass(kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre("backup_age warning"));
}

TEST_F(Engine, repeat_zero_is_once) {
  receiver_.repeat_us = 0;
  check({{"backup_age", Verdict::critical}});
  pass(1000 * kHour);
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre());
}

TEST_F(Engine, what_cannot_be_read_is_a_warning) {
  EXPECT_THAT(check({{"connections", Verdict::unknown}}), ElementsAre("connections warning"));
  EXPECT_THAT(check({{"connections", Verdict::not_applicable}}), ElementsAre("connections resolved"));
}

TEST_F(Engine, one_cause_is_one_alert_to_who_hears_of_it) {
  EXPECT_THAT(check({{"connections", Verdict::warning}}), ElementsAre("connections warning"));
  pass(kMinute);
  const auto down = [] {
    return std::vector<std::pair<const char*, Verdict>>{{"server_down", Verdict::critical},
                                                        {"connections", Verdict::unknown},
                                                        {"xid_wraparound", Verdict::unknown}};
  };
  book_.observe(report(down()));
  auto messages = book_.due({receiver_}, "main", now_);
  ASSERT_EQ(messages.size(), 1U);
  ASSERT_EQ(messages[0].items.size(), 1U);
  EXPECT_EQ(messages[0].items[0].found,
            "found; for this reason these cannot be read: connections, xid_wraparound");
  EXPECT_THAT(check(down()), ElementsAre("server_down critical"));
  pass(kMinute);
  // What was told of one of them before ends when it can be read and is well, and no earlier.
  EXPECT_THAT(
      check(
          {{"server_down", Verdict::ok}, {"connections", Verdict::warning}, {"xid_wraparound", Verdict::ok}}),
      ElementsAre("server_down resolved"));
  pass(kMinute);
  EXPECT_THAT(check({{"server_down", Verdict::ok}, {"connections", Verdict::ok}}),
              ElementsAre("connections resolved"));
  // Who does not hear of the cause hears of each.
  receiver_.signals = {"connections", "xid_wraparound"};
  pass(kMinute);
  EXPECT_THAT(check(down()), ElementsAre("connections warning", "xid_wraparound warning"));
}

TEST_F(Engine, of_many_that_cannot_be_read_for_one_reason_the_first_is_told) {
  EXPECT_THAT(check({{"backup_age", Verdict::unknown}, {"drill_age", Verdict::unknown}}),
              ElementsAre("backup_age warning"));
  pass(kMinute);
  // The one that stays is told once the other is well.
  EXPECT_THAT(check({{"backup_age", Verdict::ok}, {"drill_age", Verdict::unknown}}),
              ElementsAre("drill_age warning", "backup_age resolved"));
}

TEST_F(Engine, one_check_is_one_message_with_criticals_first_and_ends_last) {
  check({{"backup_age", Verdict::warning}});
  messages_ = 0;
  EXPECT_THAT(
      check(
          {{"backup_age", Verdict::ok}, {"connections", Verdict::warning}, {"wal_gaps", Verdict::critical}}),
      ElementsAre("wal_gaps critical", "connections warning", "backup_age resolved"));
  EXPECT_EQ(messages_, 1);
}

TEST_F(Engine, a_receiver_of_criticals_is_told_that_it_is_better) {
  receiver_.least = Rank::critical;
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre());
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("backup_age critical"));
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre("backup_age resolved"));
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("backup_age critical"));
}

TEST_F(Engine, only_the_chosen_clusters_and_signals) {
  receiver_.signals = {"wal_gaps"};
  EXPECT_THAT(check({{"backup_age", Verdict::critical}, {"wal_gaps", Verdict::critical}}),
              ElementsAre("wal_gaps critical"));
  receiver_.clusters = {"other"};
  EXPECT_THAT(check({{"wal_gaps", Verdict::critical}}), ElementsAre("wal_gaps resolved"))
      << "it was told, so it is told the end";
}

TEST_F(Engine, what_lasts_shorter_than_after_is_never_told) {
  receiver_.after_us = 5 * kMinute;
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre());
  pass(4 * kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::ok}}), ElementsAre());
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre());
  pass(5 * kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("backup_age critical"));
}

TEST_F(Engine, warnings_wait_for_the_end_of_a_quiet_period_and_criticals_do_not) {
  receiver_.quiet = {*QuietPeriod::parse("07:00-09:00")};
  EXPECT_THAT(check({{"backup_age", Verdict::warning}, {"wal_gaps", Verdict::critical}}),
              ElementsAre("wal_gaps critical"));
  EXPECT_EQ(book_.waiting({receiver_}, "main", now_), 0u);
  pass(kHour);
  EXPECT_THAT(check({{"backup_age", Verdict::warning}, {"wal_gaps", Verdict::critical}}),
              ElementsAre("backup_age warning"));
  receiver_.quiet_critical = true;
  pass(22 * kHour + 30 * kMinute);  // 07:30 of the next day
  EXPECT_THAT(check({{"backup_age", Verdict::ok}, {"wal_gaps", Verdict::ok}}), ElementsAre());
  pass(2 * kHour);
  EXPECT_THAT(check({{"backup_age", Verdict::ok}, {"wal_gaps", Verdict::ok}}),
              ElementsAre("wal_gaps resolved", "backup_age resolved"))
      << "the end is told as well, when it may be";
}

TEST_F(Engine, quiet_over_midnight) {
  const QuietPeriod night = *QuietPeriod::parse("22:00-06:30");
  const Timestamp midnight = Timestamp::from_seconds(1'800'000'000 / 86'400 * 86'400);
  EXPECT_TRUE(night.holds(midnight));
  EXPECT_TRUE(night.holds(midnight.plus_us(6 * kHour + 29 * kMinute)));
  EXPECT_FALSE(night.holds(midnight.plus_us(6 * kHour + 30 * kMinute)));
  EXPECT_TRUE(night.holds(midnight.plus_us(22 * kHour)));
  for (const char* bad : {"22:00", "22-06", "25:00-06:00", "22:60-06:00", "06:00-06:00", "24:01-06:00", ""})
    EXPECT_FALSE(QuietPeriod::parse(bad)) << bad;
}

TEST_F(Engine, the_limit_holds_back_and_what_waits_comes_together) {
  receiver_.most_per_hour = 2;
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("backup_age critical"));
  EXPECT_THAT(check({{"backup_age", Verdict::warning}}), ElementsAre("backup_age warning"));
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre());
  EXPECT_THAT(check({{"backup_age", Verdict::critical}, {"wal_gaps", Verdict::critical}}), ElementsAre());
  EXPECT_EQ(book_.waiting({receiver_}, "main", now_), 2u);
  pass(30 * kMinute);  // two an hour: one more has come
  EXPECT_THAT(check({{"backup_age", Verdict::critical}, {"wal_gaps", Verdict::critical}}),
              ElementsAre("backup_age critical", "wal_gaps critical"));
}

TEST_F(Engine, a_failed_delivery_stays_due_and_is_tried_later_each_time) {
  book_.observe(report({{"backup_age", Verdict::critical}}));
  int64_t before = 0;
  for (int failure = 1; failure <= 8; ++failure) {
    ASSERT_EQ(book_.due({receiver_}, "main", now_).size(), 1u) << failure;
    book_.failed(receiver_, "no answer", now_, 0, 0.999);
    EXPECT_TRUE(book_.due({receiver_}, "main", now_).empty());
    const int64_t wait = book_.receivers().at("team").next_try.unix_us - now_.unix_us;
    EXPECT_GE(wait, before);
    EXPECT_LE(wait, 10 * kMinute);
    before = wait;
    pass(wait);
  }
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("backup_age critical"));
  EXPECT_EQ(book_.receivers().at("team").failures, 0u);
}

TEST_F(Engine, retry_after_is_honoured_within_reason) {
  book_.observe(report({{"backup_age", Verdict::critical}}));
  book_.failed(receiver_, "429", now_, 20 * kMinute, 0);
  pass(20 * kMinute - kSecond);
  EXPECT_TRUE(book_.due({receiver_}, "main", now_).empty());
  pass(kSecond);
  EXPECT_EQ(book_.due({receiver_}, "main", now_).size(), 1u);
  book_.failed(receiver_, "429", now_, 1000 * kHour, 0);
  pass(kHour);
  EXPECT_EQ(book_.due({receiver_}, "main", now_).size(), 1u);
}

TEST_F(Engine, a_clock_that_is_set_back_silences_nobody) {
  receiver_.heartbeat_us = kMinute;
  EXPECT_THAT(check({}), ElementsAre("heartbeat"));
  book_.failed(receiver_, "no answer", now_, 0, 0);
  pass(-48 * kHour);
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("heartbeat", "backup_age critical"));
}

TEST_F(Engine, back_off_is_spread) {
  EXPECT_LT(back_off_us(3, 0), back_off_us(3, 0.9));
  EXPECT_GE(back_off_us(1, 0), 5 * kSecond);
}

TEST_F(Engine, heartbeats_come_at_their_interval_and_beside_the_limit) {
  receiver_.heartbeat_us = 5 * kMinute;
  receiver_.heartbeats_only = true;
  receiver_.most_per_hour = 1;
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("heartbeat"));
  pass(4 * kMinute);
  EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre());
  for (int i = 0; i < 10; ++i) {
    pass(5 * kMinute);
    EXPECT_THAT(check({{"backup_age", Verdict::critical}}), ElementsAre("heartbeat"));
  }
}

TEST_F(Engine, a_signal_that_is_switched_off_is_over) {
  check({{"backup_age", Verdict::critical}});
  EXPECT_THAT(check({}), ElementsAre("backup_age resolved"));
}

TEST_F(Engine, each_receiver_is_told_for_itself) {
  Receiver late;
  late.name = "late";
  book_.observe(report({{"backup_age", Verdict::critical}}));
  auto messages = book_.due({receiver_, late}, "main", now_);
  ASSERT_EQ(messages.size(), 2u);
  book_.told(receiver_, messages[0], now_);
  book_.failed(late, "no answer", now_, 0, 0);
  pass(kHour);
  messages = book_.due({receiver_, late}, "main", now_);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].receiver, "late");
}

TEST_F(Engine, nothing_is_lost_between_two_lives) {
  check({{"backup_age", Verdict::critical}, {"wal_gaps", Verdict::warning}});
  book_.observe(report({{"backup_age", Verdict::ok}, {"wal_gaps", Verdict::warning}}));
  auto again = AlertBook::decode("book", book_.encode());
  ASSERT_TRUE(again.has_value()) << again.error().to_string();
  EXPECT_EQ(again->encode(), book_.encode());
  book_ = *std::move(again);
  EXPECT_THAT(check({{"backup_age", Verdict::ok}, {"wal_gaps", Verdict::warning}}),
              ElementsAre("backup_age resolved"));
  for (const char* bad : {"", "{}", "[]", R"({"alerts": [{}], "receivers": {}})"})
    EXPECT_EQ(AlertBook::decode("book", bad).error().kind, ErrorKind::damaged) << bad;
}

}  // namespace
}  // namespace lifeboat::ready
