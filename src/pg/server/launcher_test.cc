#include "pg/server/launcher.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "model/wal_name.h"
#include "pg/server/recovery_settings.h"
#include "tests/support/live_cluster.h"

namespace lifeboat::pg {
namespace {

class LauncherTest : public test::LiveTest {
 protected:
  // A copy of the live cluster that is about to recover as asked. Its WAL is in its pg_wal.
  std::string copy(const std::string& name, RecoverySettings settings) {
    std::string directory = live->base_backup(name);
    if (settings.restore_command.empty()) settings.restore_command = "false";
    auto before = read_text(directory + "/postgresql.auto.conf", 1 << 20);
    if (!before) {
      ADD_FAILURE() << before.error().to_string();
      return directory;
    }
    live->write(directory + "/postgresql.auto.conf", with_recovery_settings(*before, settings));
    live->write(directory + "/recovery.signal", "");
    return directory;
  }
  LaunchOptions launch(const std::string& directory) { return live->launch(directory, 5499); }
};

// T43: leftovers of every kind in the source's own files are overruled.
TEST_F(LauncherTest, recovery_pauses_at_its_target_and_is_promoted) {
  RecoverySettings settings;
  settings.target = TargetKind::immediate;
  settings.timeline = Timeline{1};
  std::string directory = copy("paused", settings);
  std::ofstream(directory + "/postgresql.conf", std::ios::app)
      << "recovery_target_name = 'forgotten'\nsynchronous_standby_names = 'gone'\nprimary_slot_name = "
         "'old'\n";
  auto server = PgServer::start(launch(directory));
  ASSERT_TRUE(server) << server.error().to_string();
  auto state = server->wait({.read_only = false, .paused = true, .ready = true}, 120'000);
  ASSERT_TRUE(state) << state.error().to_string();
  ASSERT_EQ(state->phase, ServerPhase::paused) << state->last_error;
  EXPECT_TRUE(state->replayed.valid());
  auto target = server->connect()->value("SHOW recovery_target");
  EXPECT_EQ(*target, "immediate");
  Status promoted = server->promote();
  ASSERT_TRUE(promoted) << promoted.error().to_string();
  state = server->state();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->phase, ServerPhase::ready);
  EXPECT_EQ(state->timeline.value, 2u);
  auto client = server->connect();
  ASSERT_TRUE(client);
  EXPECT_TRUE(
      client->exec("CREATE TABLE public.written (n int)"));  // hangs where a leftover standby is waited for
  client->close();
  Status stopped = server->stop(StopMode::fast);
  EXPECT_TRUE(stopped) << stopped.error().to_string();
  EXPECT_EQ(server->state()->phase, ServerPhase::ended);
}

TEST_F(LauncherTest, progress_is_seen_before_queries_are_answered) {
  RecoverySettings settings;
  settings.target = TargetKind::immediate;
  settings.restore_command = "sleep 0.3; exit 1";  // an archive that is slow to say no
  auto server = PgServer::start(launch(copy("slow", settings)));
  ASSERT_TRUE(server) << server.error().to_string();
  std::string replaying;
  auto state =
      server->wait({.read_only = true, .paused = true, .ready = true}, 60'000, [&](const ServerState& seen) {
        if (seen.phase == ServerPhase::recovering) replaying = seen.replaying_wal;
      });
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_TRUE(SegmentName::parse(replaying)) << "seen: \"" << replaying << "\"";
}

TEST_F(LauncherTest, shutdown_at_the_target_is_told_apart_from_failure) {
  RecoverySettings settings;
  settings.target = TargetKind::immediate;
  settings.action = TargetAction::shutdown;
  auto server = PgServer::start(launch(copy("shutdown", settings)));
  ASSERT_TRUE(server) << server.error().to_string();
  auto state = server->wait({}, 120'000);
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_EQ(state->phase, ServerPhase::ended);
  EXPECT_TRUE(state->stopped_at_target);
  EXPECT_TRUE(state->outcome->ok()) << state->outcome->describe();
  EXPECT_EQ(state->last_error, "");
}

TEST_F(LauncherTest, failed_recovery_ends_with_its_reason) {
  RecoverySettings settings;
  settings.target = TargetKind::name;
  settings.target_value = "never_set";
  auto server = PgServer::start(launch(copy("failed", settings)));
  ASSERT_TRUE(server) << server.error().to_string();
  auto state = server->wait({}, 120'000);
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_EQ(state->phase, ServerPhase::ended);
  EXPECT_FALSE(state->stopped_at_target);
  EXPECT_FALSE(state->outcome->ok());
  EXPECT_NE(state->last_error.find("recovery ended before configured recovery target was reached"),
            std::string::npos)
      << state->last_error;
  Status stopped = server->stop(StopMode::fast);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().cause, state->last_error);
}

TEST_F(LauncherTest, destructor_ends_the_server_and_release_leaves_it) {
  RecoverySettings settings;
  settings.target = TargetKind::immediate;
  std::string directory = copy("owned", settings);
  {
    auto server = PgServer::start(launch(directory));
    ASSERT_TRUE(server);
    ASSERT_TRUE(server->wait({.read_only = true, .paused = true, .ready = true}, 120'000));
    ASSERT_TRUE(running_server(directory)->has_value());
    auto second = PgServer::start(launch(directory));
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().kind, ErrorKind::precondition);
  }
  EXPECT_FALSE(running_server(directory)->has_value());
  {
    auto server = PgServer::start(launch(directory));
    ASSERT_TRUE(server);
    ASSERT_TRUE(server->wait({.read_only = true, .paused = true, .ready = true}, 120'000));
    server->release();
  }
  auto running = running_server(directory);
  ASSERT_TRUE(running && running->has_value());
  Status stopped = stop_server(**running, StopMode::fast, 120'000);
  EXPECT_TRUE(stopped) << stopped.error().to_string();
  EXPECT_FALSE(running_server(directory)->has_value());
}

TEST_F(LauncherTest, socket_path_that_is_too_long_is_refused_before_the_start) {
  LaunchOptions options = launch(live->root() + "/nowhere");
  ASSERT_EQ(::mkdir(options.data_directory.c_str(), 0700), 0);
  live->give(options.data_directory);
  options.socket_directory = "/tmp/" + std::string(100, 'x');
  auto server = PgServer::start(options);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().kind, ErrorKind::precondition);
}

TEST_F(LauncherTest, directory_that_is_no_data_directory_ends_with_the_servers_own_message) {
  std::string directory = live->root() + "/empty";
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  live->give(directory);
  auto server = PgServer::start(launch(directory));
  ASSERT_TRUE(server) << server.error().to_string();
  auto state = server->wait({}, 120'000);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->phase, ServerPhase::ended);
  EXPECT_NE(state->last_error, "");
}

// What is stored for a database or a role ranks above -c on the server's command line (T44).
TEST_F(LauncherTest, session_settings_rank_above_those_of_database_and_role) {
  RecoverySettings settings;
  settings.target = TargetKind::immediate;
  settings.timeline = Timeline{1};
  settings.action = TargetAction::promote;
  LaunchOptions options = launch(copy("sessions", settings));
  options.settings.emplace_back("default_transaction_read_only", "off");
  auto server = PgServer::start(options);
  ASSERT_TRUE(server) << server.error().to_string();
  ASSERT_TRUE(server->wait({}, 120'000));
  ASSERT_TRUE(server->connect()->exec("ALTER DATABASE postgres SET default_transaction_read_only = on"));
  EXPECT_FALSE(server->connect()->exec("CREATE TABLE public.made (n int)")) << "the canary";
  ASSERT_TRUE(server->stop(StopMode::fast));
  options.session_settings = {{"default_transaction_read_only", "off"}, {"application_name", "a b\\c"}};
  server = PgServer::start(options);
  ASSERT_TRUE(server) << server.error().to_string();
  ASSERT_TRUE(server->wait({}, 120'000));
  Status made = server->connect()->exec("CREATE TABLE public.made (n int)");
  EXPECT_TRUE(made) << made.error().to_string();
  EXPECT_EQ(*server->connect()->value(
                "SELECT setting FROM pg_settings WHERE name = 'default_transaction_read_only'"),
            "off");
}

}  // namespace
}  // namespace lifeboat::pg
