#include "pg/server/running_conninfo.h"

#include <gtest/gtest.h>

namespace lifeboat::pg {
namespace {

TEST(RunningConninfo, a_server_is_reached_by_its_socket_else_where_it_listens) {
  PidFile file;
  EXPECT_EQ(conninfo_of(file), "");
  file.port = 5433;
  EXPECT_EQ(conninfo_of(file), "");
  file.listen_address = "*";
  EXPECT_EQ(conninfo_of(file), "host=localhost port=5433");
  file.listen_address = "10.0.0.1";
  EXPECT_EQ(conninfo_of(file), "host=10.0.0.1 port=5433");
  file.socket_directory = "/run/o'clock";
  EXPECT_EQ(conninfo_of(file), "host='/run/o\\'clock' port=5433");
}

TEST(RunningConninfo, without_a_server_there_is_none) {
  EXPECT_EQ(running_conninfo("/nowhere"), "");
}

}  // namespace
}  // namespace lifeboat::pg
