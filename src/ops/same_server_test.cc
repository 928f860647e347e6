#include "ops/same_server.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace lifeboat::ops {
namespace {

constexpr int64_t kStart = 1'800'000'000;

pg::PidFile here() {
  pg::PidFile file;
  file.pid = 4000;
  file.port = 5432;
  file.start_time = kStart;
  return file;
}

ServerTrace asked() {
  ServerTrace server;
  server.backend = 4711;
  server.backend_parent = 4000;
  server.port = 5432;
  server.start = Timestamp::from_seconds(kStart);
  return server;
}

TEST(SameServer, a_child_of_the_postmaster_proves_it_however_slow_the_start_was) {
  ServerTrace server = asked();
  server.start = Timestamp::from_seconds(kStart + 300);
  EXPECT_EQ(judge_same_server(server, here(), true, true), SameServer::yes);
  EXPECT_EQ(judge_same_server(server, here(), true, std::nullopt), SameServer::yes);
}

TEST(SameServer, two_servers_that_were_started_together_are_two) {
  ServerTrace standby = asked();
  standby.backend_parent = 4001;
  EXPECT_EQ(judge_same_server(standby, here(), true, std::nullopt), SameServer::no);
  standby.backend_parent.reset();  // on another host
  EXPECT_EQ(judge_same_server(standby, here(), true, std::nullopt), SameServer::no);
  standby = asked();
  standby.port = 5433;
  EXPECT_EQ(judge_same_server(standby, here(), true, std::nullopt), SameServer::no);
  EXPECT_EQ(judge_same_server(standby, here(), false, std::nullopt), SameServer::no);
  EXPECT_EQ(judge_same_server(asked(), here(), false, false), SameServer::no);
}

TEST(SameServer, where_processes_are_hidden_the_start_decides_within_seconds) {
  ServerTrace server = asked();
  server.backend_parent.reset();
  server.start = Timestamp::from_seconds(kStart + 2);
  EXPECT_EQ(judge_same_server(server, here(), false, std::nullopt), SameServer::yes);
  server.start = Timestamp::from_seconds(kStart + 60);
  EXPECT_EQ(judge_same_server(server, here(), false, std::nullopt), SameServer::no);
  server.start = Timestamp::from_seconds(kStart - 10);
  EXPECT_EQ(judge_same_server(server, here(), false, true), SameServer::no);
}

TEST(SameServer, the_parent_of_a_process_is_read) {
  EXPECT_EQ(parent_process(::getpid()), ::getppid());
  EXPECT_FALSE(parent_process(0));
}

}  // namespace
}  // namespace lifeboat::ops
