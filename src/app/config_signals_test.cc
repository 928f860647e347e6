#include "app/config_signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/config.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<Config> parse(std::string_view text) {
  return parse_config(text, "lifeboat.toml");
}

TEST(config_signals, thresholds_in_the_unit_of_their_signal) {
  auto config = parse(
      "[cluster.main.signals.backup_age]\nwarning = \"1h\"\ncritical = 7200\nowner = \"team\"\n"
      "[cluster.main.signals.connections]\nwarning = \"70%\"\ncritical = 0.95\n"
      "[cluster.main.signals.xid_wraparound]\nenabled = false\n"
      "[cluster.main.signals.replication_lag]\ncritical-bytes = \"64MB\"\nstandbys = 2\n");
  ASSERT_TRUE(config.has_value()) << config.error().to_string();
  const auto& signals = config->find(ConfigSection::cluster, "main")->signals;
  EXPECT_EQ(signals.at("backup_age").thresholds.warning, 3600);
  EXPECT_EQ(signals.at("backup_age").thresholds.critical, 7200);
  EXPECT_EQ(signals.at("backup_age").owner, "team");
  EXPECT_NEAR(*signals.at("connections").thresholds.warning, 0.7, 1e-9);
  EXPECT_NEAR(*signals.at("connections").thresholds.critical, 0.95, 1e-9);
  EXPECT_EQ(signals.at("xid_wraparound").enabled, false);
  EXPECT_EQ(signals.at("replication_lag").byte_thresholds.critical, 64 << 20);
  EXPECT_EQ(signals.at("replication_lag").standbys, 2);
}

TEST(config_signals, a_threshold_beyond_the_other_is_refused_by_line) {
  auto config = parse("[cluster.main]\n\n[cluster.main.signals.backup_success_rate]\nwarning = \"50%\"\n");
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().kind, ErrorKind::config);
  EXPECT_EQ(config.error().object, "lifeboat.toml:3");
  EXPECT_THAT(config.error().message, HasSubstr("beyond"));
  EXPECT_FALSE(parse("[cluster.main.signals.backup_age]\nwarning-bytes = 1\n").has_value())
      << "it has no second measure";
}

TEST(config_signals, receivers_and_what_they_are_told) {
  auto config = parse(
      "[alert.team]\ntype = \"webhook\"\nurl = \"https://example.org/x\"\nseverity = \"critical\"\nrepeat = "
      "\"1h\"\n"
      "after = \"2min\"\nquiet = [\"22:00-06:00\", \"12:00-13:00\"]\nmost-per-hour = 5\nsignals = "
      "[\"wal_gaps\"]\n"
      "[alert.watchdog]\ntype = \"command\"\ncommand = [\"/bin/true\", \"x y\"]\nseverity = "
      "\"none\"\nheartbeat = \"5min\"\n");
  ASSERT_TRUE(config.has_value()) << config.error().to_string();
  ASSERT_EQ(config->receivers.size(), 2u);
  const ready::Receiver& team = config->receivers[0];
  EXPECT_EQ(team.name, "team");
  EXPECT_EQ(team.least, ready::Rank::critical);
  EXPECT_EQ(team.repeat_us, 3'600'000'000);
  EXPECT_EQ(team.quiet.size(), 2u);
  EXPECT_EQ(team.most_per_hour, 5);
  EXPECT_THAT(team.signals, ElementsAre("wal_gaps"));
  const ready::Receiver& watchdog = config->receivers[1];
  EXPECT_TRUE(watchdog.heartbeats_only);
  EXPECT_THAT(watchdog.command, ElementsAre("/bin/true", "x y"));
  EXPECT_EQ(watchdog.heartbeat_us, 300'000'000);
}

TEST(config_signals, secrets_do_not_stand_in_the_file) {
  for (const char* lines :
       {"type = \"slack\"\nurl = \"https://hooks.example.org/T/B/x\"",
        "type = \"webhook\"\nurl = \"https://u:p@example.org\"",
        "type = \"webhook\"\nurl = \"https://example.org\"\ntoken = \"x\"",
        "type = \"pagerduty\"\nkey = \"x\"",
        "type = \"email\"\nserver = \"smtps://u:p@example.org\"\nfrom = \"a@b\"\nto = \"c@d\"",
        "type = \"email\"\nserver = \"smtps://example.org\"\nfrom = \"a@b\"\nto = \"c@d\"\nuser = "
        "\"u\"\npassword = \"p\""}) {
    auto config = parse(cat("[alert.x]\n", lines, "\n"));
    ASSERT_FALSE(config.has_value()) << lines;
    EXPECT_EQ(config.error().kind, ErrorKind::config);
  }
}

TEST(config_signals, nothing_is_healed_but_what_is_listed) {
  auto config = parse(
      "[cluster.main.heal]\nallow = [\"archiver\", \"rotate\"]\ncooldown = \"10min\"\nattempts = 2\n"
      "stuck-after = \"1min\"\nrotate-to = \"second\"\n[cluster.other]\n");
  ASSERT_TRUE(config.has_value()) << config.error().to_string();
  const ConfigHeal& heal = config->find(ConfigSection::cluster, "main")->heal;
  EXPECT_THAT(heal.policy.allowed, ElementsAre(ready::HealAction::archiver, ready::HealAction::rotate));
  EXPECT_EQ(heal.policy.cooldown_us, 600'000'000);
  EXPECT_EQ(heal.policy.most_per_day, 2);
  EXPECT_EQ(heal.policy.stuck_us, 60'000'000);
  EXPECT_EQ(heal.rotate_to, "second");
  EXPECT_TRUE(config->find(ConfigSection::cluster, "other")->heal.policy.allowed.empty());
  for (const char* wrong : {"allow = [\"delete_wal\"]", "allow = [\"rotate\"]", "attempts = 0",
                            "cooldown = \"soon\"", "stuck-after = \"0s\"", "forbid = [\"backup\"]"}) {
    auto refused = parse(cat("[cluster.main.heal]\n", wrong, "\n"));
    ASSERT_FALSE(refused.has_value()) << wrong;
    EXPECT_THAT(refused.error().object, HasSubstr("lifeboat.toml:")) << wrong;
  }
}

TEST(config_signals, the_endpoint) {
  EXPECT_EQ(parse("[serve]\nmetrics = \"127.0.0.1:9187\"\n")->serve.metrics, "127.0.0.1:9187");
  EXPECT_EQ(parse("")->serve.line, 0);
  EXPECT_FALSE(parse("[serve]\nmetric = \"x\"\n").has_value());
  EXPECT_FALSE(parse("serve = 5\n").has_value());
}

}  // namespace
}  // namespace lifeboat::app
