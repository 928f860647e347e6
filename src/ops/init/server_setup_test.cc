#include "ops/init/server_setup.h"

#include <gtest/gtest.h>

#include "util/strings.h"

namespace lifeboat::ops {
namespace {

DoctorFacts fresh_server() {
  DoctorFacts facts;
  facts.server.emplace();
  facts.server->major = 15;
  facts.server->settings = {{"wal_level", "replica"}, {"archive_mode", "off"},  {"archive_command", ""},
                            {"archive_library", ""},  {"archive_timeout", "0"}, {"max_wal_senders", "10"}};
  facts.expected_archive_command = "/usr/bin/lifeboat --repo file:///srv/it's --cluster main wal push %p";
  return facts;
}

std::vector<std::string> names(const std::vector<SettingChange>& changes) {
  std::vector<std::string> list;
  for (const SettingChange& change : changes) list.push_back(change.name);
  return list;
}

TEST(PlanSettings, a_fresh_server_needs_three) {
  auto changes = plan_settings(fresh_server(), 60);
  EXPECT_EQ(names(changes), (std::vector<std::string>{"archive_mode", "archive_command", "archive_timeout"}));
  EXPECT_TRUE(changes[0].restart);
  EXPECT_FALSE(changes[1].restart);
  EXPECT_FALSE(changes[1].replaces);
  EXPECT_TRUE(changes[2].advised);
  EXPECT_EQ(alter_system_sql(changes[1]),
            "ALTER SYSTEM SET archive_command = '/usr/bin/lifeboat --repo file:///srv/it''s --cluster main "
            "wal push %p';");
}

TEST(PlanSettings, a_server_that_is_set_up_needs_nothing) {
  DoctorFacts facts = fresh_server();
  facts.server->settings["archive_mode"] = "on";
  facts.server->settings["archive_command"] = facts.expected_archive_command;
  facts.server->settings["archive_timeout"] = "60";
  EXPECT_TRUE(plan_settings(facts, 60).empty());
  facts.server->settings["archive_timeout"] = "30";
  EXPECT_TRUE(plan_settings(facts, 60).empty()) << "a shorter one is the administrator's choice";
  facts.server->settings["archive_timeout"] = "0";
  EXPECT_TRUE(plan_settings(facts, 0).empty()) << "0 leaves the setting alone";
}

TEST(PlanSettings, what_waits_for_a_restart_is_not_set_again) {
  DoctorFacts facts = fresh_server();
  facts.server->pending_restart = {"archive_mode"};
  EXPECT_EQ(names(plan_settings(facts, 60)),
            (std::vector<std::string>{"archive_command", "archive_timeout"}));
}

TEST(PlanSettings, minimal_wal_and_no_senders_are_raised) {
  DoctorFacts facts = fresh_server();
  facts.server->settings["wal_level"] = "minimal";
  facts.server->settings["max_wal_senders"] = "0";
  auto changes = plan_settings(facts, 60);
  EXPECT_EQ(names(changes), (std::vector<std::string>{"wal_level", "archive_mode", "archive_command",
                                                      "max_wal_senders", "archive_timeout"}));
}

TEST(PlanSettings, another_tools_command_and_library_are_marked_as_replaced) {
  DoctorFacts facts = fresh_server();
  facts.server->settings["archive_mode"] = "on";
  facts.server->settings["archive_command"] = "pgbackrest archive-push %p";
  facts.archive_command = parse_archive_command("pgbackrest archive-push %p");
  facts.server->settings["archive_library"] = "basic_archive";
  auto changes = plan_settings(facts, 60);
  ASSERT_EQ(changes.size(), 3u);
  EXPECT_TRUE(changes[0].replaces);
  EXPECT_EQ(alter_system_sql(changes[0]), "ALTER SYSTEM SET archive_library = '';");
  EXPECT_TRUE(changes[1].replaces);
  // An older command line of ours is ours to change.
  facts.archive_command = parse_archive_command("/old/lifeboat wal push %p");
  EXPECT_FALSE(plan_settings(facts, 60)[1].replaces);
  // But not where it feeds another repository.
  facts.repository.url = "file:///srv/it's";
  facts.archive_command = parse_archive_command("/old/lifeboat wal push --repo file:///srv/old %p");
  EXPECT_TRUE(plan_settings(facts, 60)[1].replaces);
}

TEST(PatroniCommand, quotes_what_the_shell_would_eat) {
  std::string command = patroni_command(plan_settings(fresh_server(), 60));
  EXPECT_EQ(command.find("patronictl edit-config --pg archive_mode=on --pg "), 0u) << command;
  EXPECT_NE(command.find("'archive_command=/usr/bin/lifeboat --repo file:///srv/it'\\''s"), std::string::npos)
      << command;
}

TEST(RestartCommand, is_what_the_person_at_the_keyboard_can_paste) {
  DoctorFacts facts = fresh_server();
  facts.debian_cluster = "15 main";
  facts.systemd = true;
  facts.person = Person::root;
  EXPECT_EQ(restart_command(facts), "systemctl restart postgresql@15-main");
  facts.person = Person::sudoer;
  EXPECT_EQ(restart_command(facts), "sudo systemctl restart postgresql@15-main");
  facts.person = Person::owner;
  EXPECT_EQ(restart_command(facts), "pg_ctlcluster 15 main restart");
  facts.systemd = false;
  facts.person = Person::sudoer;
  EXPECT_EQ(restart_command(facts), "sudo -u postgres pg_ctlcluster 15 main restart");
  facts.debian_cluster = "";
  facts.pg_bin = "/usr/lib/postgresql/15/bin";
  facts.server->data_directory = "/data/my cluster";
  EXPECT_EQ(restart_command(facts),
            "sudo -u postgres /usr/lib/postgresql/15/bin/pg_ctl restart -D '/data/my cluster' -l '/data/my "
            "cluster/startup.log'");
  facts.person = Person::root;
  EXPECT_EQ(restart_command(facts),
            "runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl restart -D '/data/my cluster' -l "
            "'/data/my cluster/startup.log'");
  facts.person = Person::owner;
  facts.pg_bin = "";
  EXPECT_EQ(restart_command(facts), "pg_ctl restart -D '/data/my cluster' -l '/data/my cluster/startup.log'");
  facts.patroni = true;
  EXPECT_EQ(restart_command(facts), "patronictl restart CLUSTER");
}

TEST(RoleSql, names_the_functions_of_the_version) {
  std::string of_15 = role_sql("back\"up", 15);
  EXPECT_NE(of_15.find("pg_backup_start(text, boolean) TO \"back\"\"up\""), std::string::npos) << of_15;
  std::string of_14 = role_sql("backup", 14);
  EXPECT_NE(of_14.find("pg_start_backup(text, boolean, boolean)"), std::string::npos);
  EXPECT_EQ(of_14.find("pg_backup_start"), std::string::npos);
  EXPECT_EQ(of_15.find("SUPERUSER"), std::string::npos);
}

}  // namespace
}  // namespace lifeboat::ops
