// SC1: what systemd and cron are told to run.
#include "app/daemon/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::app {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

ServicePlan plan_of(std::vector<std::string> command) {
  ServicePlan plan;
  plan.common = {"--config", "/etc/lifeboat/lifeboat.toml"};
  plan.jobs.push_back(
      {"main", "nightly", CronExpression::parse("15 1 * * *").value(), 0, std::move(command)});
  return plan;
}
UnitSettings settings_of(std::vector<std::string> writable, std::string state = "/var/lib/lifeboat") {
  return {"/usr/local/bin/lifeboat", "postgres", std::move(state), {{"main", std::move(writable)}}};
}

TEST(Units, a_job_is_a_service_and_a_timer_that_makes_up_for_missed_runs) {
  const auto files = systemd_units(plan_of({"backup"}), settings_of({"/srv/repo"}));
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].name, "lifeboat-main-nightly.service");
  EXPECT_THAT(files[0].text,
              HasSubstr("ExecStart=/usr/bin/flock /var/lib/lifeboat/main.lock /usr/local/bin/lifeboat backup "
                        "--config /etc/lifeboat/lifeboat.toml --cluster main --quiet\n"));
  EXPECT_THAT(files[0].text, HasSubstr("ReadWritePaths=-/srv/repo\n"));
  EXPECT_THAT(files[0].text, HasSubstr("StateDirectory=lifeboat\n"));
  EXPECT_EQ(files[1].name, "lifeboat-main-nightly.timer");
  EXPECT_THAT(files[1].text, HasSubstr("OnCalendar=*-*-* 1:15:00 UTC\nPersistent=true\n"));
}

TEST(Units, words_reach_the_program_as_they_are) {
  const auto plan = plan_of({"backup", "--label", "50% of $HOME \"x\""});
  EXPECT_THAT(systemd_units(plan, settings_of({}))[0].text,
              HasSubstr("--label \"50%% of $$HOME \\\"x\\\"\" --config"));
  EXPECT_THAT(crontab(plan, settings_of({})), HasSubstr("--label '50\\% of $HOME \"x\"' --config"));
}

TEST(Units, how_the_server_is_reached_does_not_depend_on_the_environment) {
  UnitSettings settings = settings_of({});
  EXPECT_THAT(systemd_units(plan_of({"backup"}), settings)[0].text, Not(HasSubstr("LIFEBOAT_PG")));
  settings.conninfo["main"] = "host='/run/my sockets' port=5544";
  EXPECT_THAT(systemd_units(plan_of({"backup"}), settings)[0].text,
              HasSubstr("Environment=\"LIFEBOAT_PG=host='/run/my sockets' port=5544\"\n"));
  EXPECT_THAT(crontab(plan_of({"backup"}), settings),
              HasSubstr(R"(15 1 * * * LIFEBOAT_PG='host='\''/run/my sockets'\'' port=5544' /usr/bin/flock)"));
}

TEST(Units, a_repository_below_home_or_tmp_stays_in_reach) {
  EXPECT_THAT(systemd_units(plan_of({"backup"}), settings_of({"/home/pg/repo"}))[0].text,
              HasSubstr("ProtectHome=read-only\n"));
  EXPECT_THAT(systemd_units(plan_of({"backup"}), settings_of({"/tmp/repo"}))[0].text,
              AllOf(Not(HasSubstr("PrivateTmp")), HasSubstr("ReadWritePaths=/var/tmp\n")));
  EXPECT_THAT(systemd_units(plan_of({"backup"}), settings_of({"/srv/repo"}))[0].text,
              HasSubstr("ProtectHome=yes\nPrivateTmp=yes\n"));
}

TEST(Units, a_process_that_runs_all_the_time_is_a_service_without_a_timer) {
  ServicePlan plan = plan_of({"backup"});
  ServedCluster cluster;
  cluster.name = "main";
  cluster.residents.push_back({"wal receive", {"wal", "receive", "--slot", "s"}});
  plan.clusters.push_back(cluster);
  const auto files = systemd_units(plan, settings_of({}));
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[2].name, "lifeboat-main-wal-receive.service");
  EXPECT_THAT(files[2].text, HasSubstr("lifeboat wal receive --slot s --config"));
  EXPECT_THAT(files[2].text, HasSubstr("Restart=always\n"));
  EXPECT_THAT(crontab(plan, settings_of({})),
              HasSubstr("# left out, because it runs all the time: wal receive"));
}

}  // namespace
}  // namespace lifeboat::app
