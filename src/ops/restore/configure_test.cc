// What a restored cluster is told: nothing left over from its source decides its recovery (T43), it archives
// and subscribes nowhere beside the original (T33), and its tablespaces are where the plan put them (T02,
// T11).
#include "ops/restore/configure.h"

#include <gtest/gtest.h>

#include "ops/restore/start.h"
#include "tests/support/repo_fixture.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

class Configure : public ::testing::Test {
 protected:
  Configure() {
    manifest_.data_directory = "/var/lib/postgresql/15/main";
    plan_.lineage = {{7}, 15};
    plan_.cluster = "main";
    plan_.backup.id = *BackupId::parse("20261120T105625Z-4f2a9c");
    place(0, "/srv/copy");
    options_.program = "/usr/bin/lifeboat";
    options_.location.url = "file:///srv/backup";
  }
  void place(Oid tablespace, std::string path) {
    Placement one;
    one.tablespace = tablespace;
    one.final_path = one.staging_path = std::move(path);
    plan_.placements.push_back(std::move(one));
  }
  pg::RecoverySettings settings() {
    return planned_settings({tiny_.repo, manifest_, survey_, plan_, options_, 0, 0});
  }
  std::optional<std::string> more(std::string_view name) {
    std::optional<std::string> value;
    for (const auto& [key, text] : settings().more) {
      if (key == name) value = text;
    }
    return value;
  }

  repo::TinyRepo tiny_;
  repo::Manifest manifest_;
  TreeSurvey survey_;
  RestorePlan plan_;
  RestoreOptions options_;
};

TEST_F(Configure, a_copy_archives_and_subscribes_nowhere_T33) {
  plan_.archive_off = true;
  EXPECT_TRUE(settings().archive_off);
  EXPECT_EQ(more("max_logical_replication_workers"), "0");
  plan_.archive_off = false;
  EXPECT_FALSE(settings().archive_off);
  EXPECT_EQ(more("max_logical_replication_workers"), std::nullopt);
}

TEST_F(Configure, the_timeline_is_a_number_unless_its_history_is_lost_T31) {
  plan_.reach.timeline = {3};
  EXPECT_EQ(settings().timeline, Timeline{3});
  EXPECT_EQ(more("recovery_target_timeline"), std::nullopt);
  plan_.reach.has_history_file = false;
  EXPECT_EQ(more("recovery_target_timeline"), "current");
}

TEST_F(Configure, restore_command_assumes_nothing_of_the_environment) {
  options_.location.key = {repo::KeySourceKind::key_file, "/etc/lifeboat/key"};
  EXPECT_EQ(settings().restore_command,
            "/usr/bin/lifeboat --repo file:///srv/backup --cluster main --key-file /etc/lifeboat/key wal get "
            "%f %p");
}

TEST_F(Configure, restore_command_takes_no_program_for_what_was_put_into_pg_wal) {
  options_.placed_wal = "/scratch/100% mine";
  EXPECT_EQ(
      settings().restore_command,
      "test ! -e '/scratch/100%% mine'/%f && /usr/bin/lifeboat --repo file:///srv/backup --cluster main "
      "wal get %f %p");
}

TEST_F(Configure, settings_that_were_asked_for_come_last_and_once) {
  options_.settings = {{"hot_standby", "off"}, {"work_mem", "8MB"}};
  EXPECT_EQ(more("hot_standby"), "off");
  EXPECT_EQ(more("work_mem"), "8MB");
  int count = 0;
  for (const auto& [name, value] : settings().more) count += name == "hot_standby" ? 1 : 0;
  EXPECT_EQ(count, 1);
}

TEST_F(Configure, statistics_of_13_and_14_are_not_shared_with_the_original) {
  plan_.lineage.major = 14;
  EXPECT_EQ(more("stats_temp_directory"), "pg_stat_tmp");
  plan_.lineage.major = 15;
  EXPECT_EQ(more("stats_temp_directory"), std::nullopt);
}

TEST_F(Configure, in_place_tablespaces_are_allowed_during_recovery) {
  EXPECT_EQ(more("allow_in_place_tablespaces"), std::nullopt);
  plan_.in_place_tablespaces = {"ts (16384)"};
  EXPECT_EQ(more("allow_in_place_tablespaces"), "on");
}

TEST_F(Configure, tablespace_map_is_the_servers_own_where_nothing_moved_T02) {
  manifest_.tablespace_map = "16384 /data/it\\\\s here\n16390 /data/two\n";
  place(16384, "/data/it\\s here");
  place(16390, "/data/two");
  auto map = planned_tablespace_map(manifest_, plan_);
  ASSERT_TRUE(map) << map.error().to_string();
  EXPECT_EQ(*map, manifest_.tablespace_map);
}

TEST_F(Configure, tablespace_map_follows_what_moved_T11) {
  manifest_.tablespace_map = "16384 /data/one\n16390 /data/two\n";
  place(16384, "/new/one");
  place(16390, "/data/two");
  auto map = planned_tablespace_map(manifest_, plan_);
  ASSERT_TRUE(map) << map.error().to_string();
  EXPECT_EQ(*map, "16384 /new/one\n16390 /data/two\n");
}

TEST_F(Configure, files_it_writes_itself_are_left_out_of_the_copying) {
  manifest_.external_files = {{"/etc/x/postgresql.conf", "000", "config_file"},
                              {"/etc/x/conf.d/a.conf", "001", ""}};
  ConfigureInput input{tiny_.repo, manifest_, survey_, plan_, options_, 0, 0};
  std::set<std::string> names = configured_files(input);
  for (const char* name : {"backup_label", "tablespace_map", "backup_manifest", "postgresql.auto.conf",
                           "recovery.signal", "standby.signal", "postgresql.conf", "conf.d/a.conf"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
  // In place the configuration of the backup is restored as it is.
  plan_.replace = true;
  EXPECT_FALSE(configured_files(input).contains("postgresql.conf"));
}

TEST(SameWalPosition, a_page_header_makes_no_difference_and_a_record_does) {
  EXPECT_TRUE(same_wal_position({0x3000060}, {0x3000060}));
  EXPECT_TRUE(same_wal_position({0x3002000}, {0x3002018}));
  EXPECT_TRUE(same_wal_position({0x4000028}, {0x4000000}));
  EXPECT_FALSE(same_wal_position({0x3000060}, {0x3000078}));
  EXPECT_FALSE(same_wal_position({0x3002000}, {0x3002060}));
}

}  // namespace
}  // namespace lifeboat::ops
