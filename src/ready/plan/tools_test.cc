#include "ready/plan/tools.h"

#include <gtest/gtest.h>

#include "ready/plan/rates.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

TEST(PgBackRest, newest_backup_and_status_are_taken) {
  auto tools = parse_pgbackrest_info(
      R"([{"name":"main","cipher":"aes-256-cbc","status":{"code":0,"message":"ok"},"backup":[
          {"label":"20261127-020000F","error":false,"timestamp":{"start":1795744800,"stop":1795745000}},
          {"label":"20261128-020000F","error":true,"timestamp":{"start":1795831200,"stop":1795831400}}]},
         {"name":"other","cipher":"none","status":{"code":2,"message":"no valid backups"},"backup":[]}])");
  ASSERT_EQ(tools.size(), 2U);
  EXPECT_EQ(tools[0].last_backup, Timestamp::from_seconds(1795831400));
  EXPECT_EQ(tools[0].last_result, "page errors");
  EXPECT_EQ(tools[0].encryption, "aes-256-cbc");
  EXPECT_EQ(tools[1].last_result, "no valid backups");
  EXPECT_FALSE(tools[1].last_backup.valid());
}

TEST(Barman, newest_backup_and_failed_checks_are_taken) {
  ToolState tool;
  tool.cluster = "main";
  add_barman_backups(R"({"main":[{"backup_id":"2","end_time_timestamp":"1795831400","status":"FAILED"},
                                 {"backup_id":"1","end_time_timestamp":"1795745000","status":"DONE"}]})",
                     tool);
  EXPECT_EQ(tool.last_backup, Timestamp::from_seconds(1795831400));
  EXPECT_EQ(tool.last_result, "FAILED");
  add_barman_check(
      R"({"main":{"postgresql":{"status":"FAILED","hint":""},"directories":{"status":"OK","hint":""}}})",
      tool);
  EXPECT_EQ(tool.notes, std::vector<std::string>{"postgresql: FAILED"});
}

TEST(WalG, newest_backup_is_taken) {
  auto tools = parse_walg_backups(
      R"([{"backup_name":"base_1","time":"2026-11-27T02:00:00Z"},
          {"backup_name":"base_2","time":"2026-11-28T02:10:00Z","finish_time":"2026-11-28T02:09:00Z"}])");
  ASSERT_EQ(tools.size(), 1U);
  EXPECT_EQ(tools[0].last_backup.to_iso(), "2026-11-28T02:09:00Z");
}

TEST(Tools, what_is_not_understood_gives_none) {
  for (const char* text :
       {"", "[]", "{}", "[1]", "null", "[{\"name\": 5}]", "{\"main\": 1}",
        "{\"main\": [1, {\"end_time_timestamp\": []}]}",
        "[{\"name\": \"x\", \"status\": [], \"backup\": [1, {\"timestamp\": 5, \"error\": 1}]}]",
        "[{\"time\": 99999999999999999}, {\"finish_time\": {}}]"}) {
    ToolState tool;
    tool.cluster = "main";
    parse_pgbackrest_info(text);
    add_barman_backups(text, tool);
    add_barman_check(text, tool);
    parse_walg_backups(text);
    EXPECT_FALSE(tool.last_backup.valid()) << text;
  }
}

TEST(Tools, schedules_are_found_in_crontabs) {
  EXPECT_EQ(
      schedules_in("# pgbackrest\n30 2 * * * postgres pgbackrest --stanza=main backup\n@daily barman cron\n",
                   "pgbackrest"),
      std::vector<std::string>{"30 2 * * *"});
  EXPECT_EQ(schedules_in("@daily barman cron\n", "barman"), std::vector<std::string>{"@daily"});
}

std::string drill(const char* medium, double copy, double recovery, bool passed = true) {
  return cat(
      R"({"kind":"drill","time_us":1795831400000000,"medium":")", medium,
      R"(","plain_bytes":1000000000,"wal_bytes":100000000,)", R"("backups":[{"id":"x","passed":)",
      passed ? "true" : "false", R"(}],"phases":{"preflight":1,"copy":)", std::to_string(copy),
      R"(,"configure":1,"sync":0,"mount":2,"start":1,"recovery":)", std::to_string(recovery),
      R"(,"promote":1,"first_query":1},"checks":[{"id":"amcheck","seconds":500},{"id":"assertion","seconds":3}]})");
}

TEST(Rates, are_medians_of_passed_drills_with_their_spread) {
  const Rates rates = rates_of_drills({{"4", drill("copy", 10, 2)},
                                       {"3", drill("copy", 20, 2)},
                                       {"2", drill("copy", 10, 2)},
                                       {"1", drill("copy", 1, 2, false)},
                                       {"0", "not json"}});
  EXPECT_EQ(rates.basis, RateBasis::drills);
  EXPECT_EQ(rates.samples, 3U);
  EXPECT_NEAR(*rates.restore_bytes_per_second, 100e6, 1);
  EXPECT_NEAR(*rates.replay_bytes_per_second, 50e6, 1);
  EXPECT_NEAR(rates.relative_error, 1, 1e-9) << "half the rate is twice the time";
  EXPECT_NEAR(rates.checks_seconds, 3, 1e-9) << "amcheck comes after users are let in";
  EXPECT_FALSE(rates.instant_seconds);
}

TEST(Rates, of_a_recovery_from_little_WAL_are_a_cost_and_no_rate) {
  std::string text = drill("copy", 10, 2);
  const std::string wal = R"("wal_bytes":100000000)";
  text.replace(text.find(wal), wal.size(), R"("wal_bytes":16000000)");
  Rates rates = rates_of_drills({{"1", text}});
  EXPECT_FALSE(rates.replay_bytes_per_second) << "8 MB/s would be said of a host that replays 200";
  EXPECT_NEAR(rates.fixed_seconds, rates_of_drills({{"1", drill("copy", 10, 2)}}).fixed_seconds + 2, 1e-9);
  Rates calibrated;
  calibrated.basis = RateBasis::calibration;
  calibrated.replay_bytes_per_second = 200e6;
  fill_in(rates, calibrated);
  EXPECT_EQ(rates.basis, RateBasis::drills);
  EXPECT_TRUE(rates.replay_calibrated);
  EXPECT_NEAR(*rates.replay_bytes_per_second, 200e6, 1);
  calibrated.restore_bytes_per_second = 300e6;
  slow_down_by_fetching(calibrated, std::nullopt);
  EXPECT_NEAR(*calibrated.restore_bytes_per_second, 300e6, 1);
  slow_down_by_fetching(calibrated, 150e6);
  EXPECT_NEAR(*calibrated.restore_bytes_per_second, 100e6, 1);
  Rates none;
  fill_in(none, calibrated);
  EXPECT_EQ(none.basis, RateBasis::calibration);
}

TEST(Rates, of_one_drill_have_an_unknown_error) {
  EXPECT_NEAR(rates_of_drills({{"1", drill("copy", 10, 2)}}).relative_error, 0.3, 1e-9);
}

TEST(Rates, of_a_mount_say_nothing_of_copying) {
  const Rates rates = rates_of_drills({{"1", drill("mount", 10, 2)}});
  EXPECT_FALSE(rates.restore_bytes_per_second);
  EXPECT_TRUE(rates.instant_seconds);
  EXPECT_EQ(rates.instant_samples, 1U);
}

TEST(Rates, of_dumps_are_of_whole_ones_and_have_a_time_of_their_own) {
  auto dump = [](const char* more) {
    return cat(R"({"kind":"drill","time_us":1795831400000000,"dump":"d","restore_seconds":10,)", more,
               R"("backups":[{"id":"d","passed":true}]})");
  };
  EXPECT_EQ(rates_of_drills({{"1", dump(R"("whole":true,)")}}, 1e9).dump_restore_bytes_per_second, 1e8);
  EXPECT_EQ(rates_of_drills({{"1", dump(R"("whole":false,)")}}, 1e9).basis, RateBasis::none);
  EXPECT_EQ(rates_of_drills({{"1", dump("")}}, 1e9).basis, RateBasis::none) << "nobody wrote what it is of";
  std::string old = drill("copy", 10, 2);
  old.replace(old.find("1795831400000000"), 16, "1700000000000000");
  const Rates both = rates_of_drills({{"2", dump(R"("whole":true,)")}, {"1", old}}, 1e9);
  EXPECT_EQ(both.newest.unix_us, 1700000000000000) << "a drill of a dump tells nothing new of backups";
  EXPECT_EQ(both.dump_newest.unix_us, 1795831400000000);
}

TEST(Rates, that_differ_in_what_is_fixed_have_that_error) {
  std::string slow = drill("mount", 10, 2);
  slow.replace(slow.find(R"("mount":2)"), 9, R"("mount":52)");
  EXPECT_NEAR(rates_of_drills({{"2", slow}, {"1", drill("mount", 10, 2)}}).fixed_error_seconds, 50, 1e-9);
}

TEST(Rates, from_hostile_records_are_none) {
  for (
      const char* text :
      {R"({"kind":"drill","backups":[1]})", R"({"kind":5})",
       R"({"kind":"drill","backups":[{"passed":"yes"}]})",
       R"({"kind":"drill","backups":[{"passed":true}],"phases":{"copy":"x"},"medium":1,"checks":[1,{"id":2}]})"})
    EXPECT_FALSE(rates_of_drills({{"1", text}}).restore_bytes_per_second) << text;
}

TEST(Rates, without_drills_are_none) {
  EXPECT_EQ(rates_of_drills({}).basis, RateBasis::none);
}

}  // namespace
}  // namespace lifeboat::ready
