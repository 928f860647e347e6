#include "pg/client/backup_session.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include "pg/client/facts.h"
#include "pg/format/backup_label.h"
#include "pg/server/recovery_settings.h"
#include "tests/support/live_cluster.h"

namespace lifeboat::pg {
namespace {

using BackupSessionTest = test::LiveTest;

// T01, T02
TEST_F(BackupSessionTest, start_and_stop_give_positions_and_the_label) {
  auto session = BackupSession::start(live->connect(), "lifeboat test", CheckpointMode::fast);
  ASSERT_TRUE(session) << session.error().to_string();
  EXPECT_TRUE(session->started().start_lsn.valid());
  EXPECT_EQ(session->started().timeline.value, 1u);
  EXPECT_EQ(session->started().checkpoint_redo, session->started().start_lsn);
  EXPECT_FALSE(session->started().in_recovery);
  EXPECT_TRUE(session->check());
  const std::string label_file = live->data() + "/backup_label";
  struct stat st;
  EXPECT_NE(::stat(label_file.c_str(), &st), 0) << "T02: nothing is written into the live directory";

  auto stop = session->stop();
  ASSERT_TRUE(stop) << stop.error().to_string();
  EXPECT_GT(stop->stop_lsn, session->started().start_lsn);
  EXPECT_GE(stop->time, session->started().time);
  EXPECT_TRUE(stop->backup_label.starts_with("START WAL LOCATION: "));
  EXPECT_TRUE(stop->backup_label.ends_with("START TIMELINE: 1\n"));
  auto label = parse_backup_label(stop->backup_label);
  ASSERT_TRUE(label);
  EXPECT_EQ(label->label, "lifeboat test");
  EXPECT_EQ(label->start, session->started().start_lsn);
}

// T02: the map is kept in the server's own bytes, whatever the path.
TEST_F(BackupSessionTest, tablespace_map_holds_strange_paths) {
  const std::string location = live->root() + "/table\nspace \\ \xc3\xa9";
  ASSERT_EQ(::mkdir(location.c_str(), 0700), 0);
  live->give(location);
  PgClient admin = live->connect();
  ASSERT_TRUE(admin.exec(cat("CREATE TABLESPACE strange LOCATION ", sql_literal(location))));
  auto oid = admin.value("SELECT oid FROM pg_tablespace WHERE spcname = 'strange'");
  ASSERT_TRUE(oid);
  auto session = BackupSession::start(live->connect(), "map", CheckpointMode::fast);
  ASSERT_TRUE(session) << session.error().to_string();
  auto stop = session->stop();
  ASSERT_TRUE(admin.exec("DROP TABLESPACE strange"));
  ASSERT_TRUE(stop) << stop.error().to_string();
  auto map = parse_tablespace_map(stop->tablespace_map, *find_version(live->bin().major));
  ASSERT_TRUE(map) << map.error().to_string();
  ASSERT_EQ(map->size(), 1u);
  EXPECT_EQ(map->front().path, location);
  EXPECT_EQ(cat(map->front().oid), **oid);
}

TEST_F(BackupSessionTest, lost_session_makes_the_backup_void) {
  auto session = BackupSession::start(live->connect(), "lost", CheckpointMode::fast);
  ASSERT_TRUE(session);
  ASSERT_TRUE(live->connect().value("SELECT pg_terminate_backend($1::int)",
                                    {Param(cat(session->client().backend_pid()))}));
  Status checked = session->check();
  while (checked) checked = session->check();  // the signal takes a moment to arrive
  EXPECT_EQ(checked.error().kind, ErrorKind::unavailable);
  auto stop = session->stop();
  ASSERT_FALSE(stop);
  EXPECT_EQ(stop.error().kind, ErrorKind::unavailable);
}

// T05
TEST_F(BackupSessionTest, promotion_during_a_backup_from_a_standby_makes_it_void) {
  const std::string directory = live->base_backup("standby");
  live->write(directory + "/recovery.signal", "");
  RecoverySettings settings;
  settings.restore_command = "false";
  settings.target = TargetKind::immediate;
  live->write(directory + "/postgresql.auto.conf", with_recovery_settings("", settings));
  auto server = PgServer::start(live->launch(directory, 5498));
  ASSERT_TRUE(server) << server.error().to_string();
  auto state = server->wait({.read_only = false, .paused = true, .ready = true}, 30'000);
  ASSERT_TRUE(state) << state.error().to_string();
  ASSERT_EQ(state->phase, ServerPhase::paused);

  auto watching = server->connect();
  ASSERT_TRUE(watching);
  auto facts = read_facts(
      *watching,
      {.settings = {}, .databases = true, .tablespaces = true, .archiver = true, .replication = true});
  ASSERT_TRUE(facts) << facts.error().to_string();
  EXPECT_TRUE(facts->in_recovery);
  EXPECT_EQ(facts->current_lsn, state->replayed);

  auto good = BackupSession::start(*server->connect(), "from a standby", CheckpointMode::fast);
  ASSERT_TRUE(good) << good.error().to_string();
  EXPECT_TRUE(good->started().in_recovery);
  EXPECT_EQ(good->started().timeline.value, 1u);
  auto stop = good->stop();
  ASSERT_TRUE(stop) << stop.error().to_string();
  EXPECT_TRUE(parse_backup_label(stop->backup_label)->from_standby);

  auto session = BackupSession::start(*server->connect(), "from a standby", CheckpointMode::fast);
  ASSERT_TRUE(session) << session.error().to_string();
  ASSERT_TRUE(server->promote());
  Status checked = session->check();
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::precondition);
  stop = session->stop();
  ASSERT_FALSE(stop);
  EXPECT_EQ(stop.error().kind, ErrorKind::precondition);
}

TEST_F(BackupSessionTest, abandoned_session_is_closed) {
  std::string pid;
  {
    auto session = BackupSession::start(live->connect(), "abandoned", CheckpointMode::fast);
    ASSERT_TRUE(session);
    pid = cat(session->client().backend_pid());
  }
  PgClient admin = live->connect();
  auto count = admin.value("SELECT count(*) FROM pg_stat_activity WHERE pid = $1::int", {Param(pid)});
  while (count && *count != "0")
    count = admin.value("SELECT count(*) FROM pg_stat_activity WHERE pid = $1::int", {Param(pid)});
  EXPECT_TRUE(count) << count.error().to_string();
}

TEST_F(BackupSessionTest, role_without_the_right_is_told_which_grant_it_needs) {
  ASSERT_TRUE(live->connect().exec("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN"));
  auto session = BackupSession::start(live->connect("plain"), "refused", CheckpointMode::fast);
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().kind, ErrorKind::permission);
  EXPECT_NE(session.error().hint.find("GRANT EXECUTE ON FUNCTION pg_"), std::string::npos);
}

}  // namespace
}  // namespace lifeboat::pg
