#include "pg/client/facts.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/live_cluster.h"

namespace lifeboat::pg {
namespace {

using FactsTest = test::LiveTest;

const FactsRequest kEverything = {
    .settings = {"wal_level", "archive_command", "data_directory", "max_connections", "shared_buffers",
                 "lifeboat_no_such_setting"},
    .databases = true,
    .tablespaces = true,
    .archiver = true,
    .replication = true};

bool refused(const ServerFacts& facts, std::string_view fact) {
  return std::any_of(facts.refused.begin(), facts.refused.end(),
                     [&](const RefusedFact& r) { return r.fact == fact; });
}

TEST_F(FactsTest, superuser_reads_everything) {
  PgClient client = live->connect();
  auto facts = read_facts(client, kEverything);
  ASSERT_TRUE(facts) << facts.error().to_string();
  EXPECT_TRUE(facts->refused.empty()) << facts->refused[0].fact;
  EXPECT_EQ(facts->major, live->bin().major);
  EXPECT_NE(live->bin().version.find(facts->version_text), std::string::npos);
  EXPECT_GT(facts->system_id.value, uint64_t{1} << 60);  // the upper half is the time of initdb
  EXPECT_EQ(facts->data_directory, live->data());
  EXPECT_EQ(facts->block_size, 8192u);
  EXPECT_EQ(facts->segment_blocks, 131072u);
  EXPECT_EQ(facts->wal_segment_size.bytes, 16u << 20);
  EXPECT_TRUE(facts->data_checksums);
  EXPECT_FALSE(facts->in_recovery);
  EXPECT_EQ(facts->timeline.value, 1u);
  EXPECT_EQ(facts->current_timeline.value, 1u);
  EXPECT_TRUE(facts->current_lsn.valid());
  EXPECT_LE(facts->checkpoint_redo, facts->current_lsn);
  EXPECT_GT(facts->now, facts->postmaster_start);
  EXPECT_TRUE(facts->role.superuser);
  EXPECT_TRUE(facts->role.start_backup);
  EXPECT_TRUE(facts->role.stop_backup);
  EXPECT_EQ(facts->settings.at("wal_level"), "replica");
  EXPECT_EQ(facts->settings.at("shared_buffers"), "2048");
  EXPECT_EQ(facts->setting_units.at("shared_buffers"), "8kB");
  EXPECT_EQ(facts->settings.count("lifeboat_no_such_setting"), 0u);
  EXPECT_TRUE(facts->archiver.has_value());
  ASSERT_GE(facts->databases.size(), 3u);
  for (const DatabaseFacts& database : facts->databases)
    EXPECT_GT(database.size.value_or(0), 1u << 20) << database.name;
}

TEST_F(FactsTest, plain_role_learns_what_it_may_and_is_told_what_it_may_not) {
  ASSERT_TRUE(live->connect().exec("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN"));
  PgClient client = live->connect("plain");
  auto facts = read_facts(client, kEverything);
  ASSERT_TRUE(facts) << facts.error().to_string();
  EXPECT_EQ(facts->role.name, "plain");
  EXPECT_FALSE(facts->role.superuser);
  EXPECT_FALSE(facts->role.start_backup);
  EXPECT_FALSE(facts->role.read_all_settings);
  EXPECT_NE(facts->system_id.value, 0u);
  EXPECT_EQ(facts->timeline.value, 1u);
  EXPECT_EQ(facts->settings.at("wal_level"), "replica");
  EXPECT_EQ(facts->data_directory, "");
  ASSERT_TRUE(refused(*facts, "data_directory"));
  EXPECT_EQ(facts->refused[0].grant, "grant pg_read_all_settings to \"plain\"");
}

TEST_F(FactsTest, granted_role_may_take_a_backup) {
  const bool renamed = live->bin().major >= 15;
  ASSERT_TRUE(live->connect().exec(
      cat("DROP ROLE IF EXISTS backup_role; CREATE ROLE backup_role LOGIN; GRANT pg_read_all_settings TO "
          "backup_role;",
          "GRANT EXECUTE ON FUNCTION ",
          renamed ? "pg_backup_start(text, boolean), pg_backup_stop(boolean)"
                  : "pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean)",
          ", pg_switch_wal() TO backup_role")));
  PgClient client = live->connect("backup_role");
  auto facts = read_facts(client, kEverything);
  ASSERT_TRUE(facts) << facts.error().to_string();
  EXPECT_TRUE(facts->role.read_all_settings);
  EXPECT_TRUE(facts->role.start_backup);
  EXPECT_TRUE(facts->role.stop_backup);
  EXPECT_TRUE(facts->role.switch_wal);
  EXPECT_FALSE(facts->role.restore_point);
  EXPECT_EQ(facts->data_directory, live->data());
  ASSERT_TRUE(live->connect().exec("DROP OWNED BY backup_role; DROP ROLE backup_role"));
}

}  // namespace
}  // namespace lifeboat::pg
