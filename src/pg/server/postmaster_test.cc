#include "pg/server/postmaster.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/support/live_cluster.h"

namespace lifeboat::pg {
namespace {

using PostmasterTest = test::LiveTest;

TEST(PidFile, lines_are_read_as_far_as_they_are_there) {
  auto file = PidFile::parse(
      "1234\n/srv/data\n1700000000\n5432\n/run/postgresql\nlocalhost\n  54321 98305\nready   \n");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->pid, 1234);
  EXPECT_FALSE(file->standalone);
  EXPECT_EQ(file->data_directory, "/srv/data");
  EXPECT_EQ(file->start_time, 1700000000);
  EXPECT_EQ(file->port, 5432);
  EXPECT_EQ(file->socket_directory, "/run/postgresql");
  EXPECT_EQ(file->shmem_key, 54321u);
  EXPECT_EQ(file->shmem_id, 98305);
  EXPECT_EQ(file->status, "ready");
  file = PidFile::parse("-77\n");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->pid, 77);
  EXPECT_TRUE(file->standalone);
  EXPECT_EQ(file->shmem_id, -1);
  for (const char* text : {"", "\n", "abc\n", "0\n", "99999999999\n"})
    EXPECT_FALSE(PidFile::parse(text)) << text;
}

TEST(Postmaster, directory_without_a_pid_file_has_no_server) {
  TempDir temp = *TempDir::make();
  auto running = running_server(temp.path());
  ASSERT_TRUE(running);
  EXPECT_FALSE(running->has_value());
}

TEST(Postmaster, stale_pid_files_do_not_count) {
  TempDir temp = *TempDir::make();
  auto ended = ChildProcess::start({.argv = {"true"}});
  ASSERT_TRUE(ended);
  ASSERT_TRUE(ended->wait(-1));
  auto elsewhere = ChildProcess::start({.argv = {"sleep", "1000"}, .cwd = "/"});
  ASSERT_TRUE(elsewhere);
  for (pid_t pid : {ended->pid(), elsewhere->pid(), ::getpid()}) {
    std::ofstream(temp.path() + "/postmaster.pid") << pid << "\n" << temp.path() << "\n";
    auto running = running_server(temp.path());
    ASSERT_TRUE(running);
    EXPECT_FALSE(running->has_value()) << pid;
  }
}

// T35: an answer that cannot be trusted is not taken for "no".
TEST(Postmaster, live_process_in_the_directory_counts_and_an_empty_file_is_refused) {
  TempDir temp = *TempDir::make();
  auto inside = ChildProcess::start({.argv = {"sleep", "1000"}, .cwd = temp.path()});
  ASSERT_TRUE(inside);
  std::ofstream(temp.path() + "/postmaster.pid") << inside->pid() << "\n";
  auto running = running_server(temp.path());
  ASSERT_TRUE(running);
  EXPECT_TRUE(running->has_value());
  std::ofstream(temp.path() + "/postmaster.pid", std::ios::trunc) << "";
  running = running_server(temp.path());
  ASSERT_FALSE(running);
  EXPECT_EQ(running.error().kind, ErrorKind::precondition);
}

TEST_F(PostmasterTest, running_server_is_recognised) {
  auto running = running_server(live->data());
  ASSERT_TRUE(running) << running.error().to_string();
  ASSERT_TRUE(running->has_value());
  EXPECT_EQ((*running)->pid_file.pid, live->server().pid());
  EXPECT_EQ((*running)->by, RunningBy::process);
  EXPECT_EQ((*running)->pid_file.port, 5432);
  EXPECT_EQ((*running)->pid_file.status, "ready");
  EXPECT_GT((*running)->start_ticks, 0u);
  // The guard against a reused process number: one with another start time is not signalled.
  RunningServer other = **running;
  other.start_ticks += 1;
  Status stopped = stop_server(other, StopMode::immediate, 1000);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::not_found);
  EXPECT_TRUE(live->connect().value("SELECT 1"));
}

}  // namespace
}  // namespace lifeboat::pg
