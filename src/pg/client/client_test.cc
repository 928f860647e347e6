#include "pg/client/client.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/live_cluster.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

using test::LiveCluster;
using ClientTest = test::LiveTest;

// `wal push` must not pay for libpq: it is not loaded by merely being linked against this library.
const bool loaded_before_main = libpq_loaded();

TEST(Client, libpq_is_not_loaded_before_it_is_needed) {
  EXPECT_FALSE(loaded_before_main);
}

TEST(Client, password_in_the_connection_string_is_refused_and_not_repeated) {
  for (const char* conninfo :
       {"host=h password=hunter2", "postgresql://u:hunter2@h/db", "sslpassword=hunter2"}) {
    auto client = PgClient::connect(conninfo);
    ASSERT_FALSE(client) << conninfo;
    EXPECT_EQ(client.error().kind, ErrorKind::config);
    EXPECT_NE(client.error().hint.find("pass file"), std::string::npos);
    EXPECT_EQ((client.error().to_string() + client.error().hint).find("hunter2"), std::string::npos);
  }
}

TEST(Client, malformed_connection_string_is_a_configuration_error_without_its_password) {
  for (const char* conninfo : {"password=one hunter2", "postgresql://u:%hunter2@h", "host"}) {
    Status checked = PgClient::check_conninfo(conninfo);
    ASSERT_FALSE(checked) << conninfo;
    EXPECT_EQ(checked.error().kind, ErrorKind::config);
    EXPECT_EQ(checked.error().to_string().find("hunter2"), std::string::npos);
  }
  EXPECT_TRUE(PgClient::check_conninfo("host=h user=u dbname=d"));
  EXPECT_TRUE(PgClient::check_conninfo(""));
}

TEST(Client, absent_server_is_unavailable) {
  auto client = PgClient::connect("host=/tmp/lifeboat-no-such-directory port=5432 user=postgres");
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::unavailable);
  EXPECT_NE(client.error().object.find("/tmp/lifeboat-no-such-directory"), std::string::npos);
}

TEST_F(ClientTest, parameters_nulls_and_types_round_trip) {
  PgClient client = live->connect();
  auto rows = client.query("SELECT $1::text, $2::bigint, $3::text, true, generate_series(1, 3)",
                           {Param("it's \"quoted\" \xc3\xa4"), Param("-42"), Param()});
  ASSERT_TRUE(rows) << rows.error().to_string();
  EXPECT_EQ(rows->size(), 3);
  EXPECT_EQ(rows->columns(), 5);
  EXPECT_EQ(rows->text(0, 0), "it's \"quoted\" \xc3\xa4");
  EXPECT_EQ(rows->i64(0, 1), -42);
  EXPECT_EQ(rows->u64(0, 1), std::nullopt);
  EXPECT_TRUE(rows->null(0, 2));
  EXPECT_EQ(rows->text(0, 2), "");
  EXPECT_TRUE(rows->truth(0, 3));
  EXPECT_EQ(rows->text(2, 4), "3");
}

TEST_F(ClientTest, binary_results_are_raw_bytes) {
  PgClient client = live->connect();
  auto rows = client.query("SELECT '\\x00ff10'::bytea", std::span<const Param>(), ResultFormat::binary);
  ASSERT_TRUE(rows);
  ByteView bytes = rows->bytes(0, 0);
  EXPECT_EQ(Bytes(bytes.begin(), bytes.end()), (Bytes{0x00, 0xff, 0x10}));
}

TEST_F(ClientTest, server_errors_carry_their_sqlstate_and_the_session_lives_on) {
  PgClient client = live->connect();
  auto rows = client.query("SELECT * FROM missing");
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().kind, ErrorKind::server);
  EXPECT_EQ(client.last_sqlstate(), "42P01");
  EXPECT_EQ(rows.error().cause, "relation \"missing\" does not exist (42P01)");
  auto value = client.value("SELECT 1");
  ASSERT_TRUE(value);
  EXPECT_EQ(*value, "1");
}

TEST_F(ClientTest, refused_function_is_a_permission_error) {
  ASSERT_TRUE(live->connect().exec("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN"));
  PgClient client = live->connect("plain");
  auto rows = client.query("SELECT pg_switch_wal()");
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().kind, ErrorKind::permission);
  EXPECT_EQ(client.last_sqlstate(), "42501");
}

TEST_F(ClientTest, unknown_role_is_a_permission_error) {
  auto client = PgClient::connect(live->conninfo("nobody_here"));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::permission);
}

TEST_F(ClientTest, statement_time_out_is_a_timeout) {
  ConnectOptions options;
  options.statement_timeout_ms = 20;
  PgClient client = live->connect("postgres", options);
  Status slept = client.exec("SELECT pg_sleep(100)");
  ASSERT_FALSE(slept);
  EXPECT_EQ(slept.error().kind, ErrorKind::timeout);
  ASSERT_TRUE(client.set_statement_timeout(0));
  EXPECT_TRUE(client.exec("SELECT pg_sleep(0.05)"));
}

TEST_F(ClientTest, stop_request_cancels_the_statement_on_the_server) {
  StopToken stop;
  ConnectOptions options;
  options.stop = &stop;
  PgClient client = live->connect("postgres", options);
  const std::string pid = cat(client.backend_pid());
  PgClient other = live->connect();
  std::thread stopper([&] {
    while (other.value("SELECT state FROM pg_stat_activity WHERE pid = $1::int", {Param(pid)}).value_or("") !=
           "active") {
    }
    stop.request();
  });
  auto slept = client.query("SELECT pg_sleep(1000)");
  stopper.join();
  ASSERT_FALSE(slept);
  EXPECT_EQ(slept.error().kind, ErrorKind::cancelled);
  auto state = other.value("SELECT state FROM pg_stat_activity WHERE pid = $1::int", {Param(pid)});
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_EQ(*state, "idle");
}

TEST_F(ClientTest, terminated_session_is_unavailable_and_stays_so) {
  PgClient client = live->connect();
  PgClient admin = live->connect();
  const std::string pid = cat(client.backend_pid());
  ASSERT_TRUE(admin.value("SELECT pg_terminate_backend($1::int)", {Param(pid)}));
  const std::string count = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1::int";
  while (admin.value(count, {Param(pid)}).value_or("0") != "0") {
  }
  auto value = client.value("SELECT 1");
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().kind, ErrorKind::unavailable);
  value = client.value("SELECT 1");
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().kind, ErrorKind::unavailable);
  EXPECT_FALSE(client.alive());
}

TEST_F(ClientTest, notices_are_kept_and_handed_over_once) {
  PgClient client = live->connect();
  ASSERT_TRUE(client.exec("DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second'; END $$"));
  EXPECT_EQ(client.take_notices(), (std::vector<std::string>{"NOTICE:  first", "WARNING:  second"}));
  EXPECT_TRUE(client.take_notices().empty());
}

TEST_F(ClientTest, foreign_functions_in_public_are_not_called_by_accident) {
  PgClient client = live->connect();
  EXPECT_EQ(*client.value("SELECT array_length(current_schemas(false), 1)"), std::nullopt);
  ConnectOptions options;
  options.names = NameLookup::as_configured;
  EXPECT_EQ(*live->connect("postgres", options).value("SELECT current_schema()"), "public");
}

TEST_F(ClientTest, copy_is_refused_and_closes_the_connection) {
  PgClient client = live->connect();
  Status copied = client.exec("COPY (SELECT 1) TO STDOUT");
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::unsupported);
  EXPECT_FALSE(client.alive());
}

TEST_F(ClientTest, one_failing_statement_of_several_is_the_error) {
  PgClient client = live->connect();
  Status done = client.exec("SELECT 1; SELECT 1/0; SELECT 2");
  ASSERT_FALSE(done);
  EXPECT_EQ(client.last_sqlstate(), "22012");
}

}  // namespace
}  // namespace lifeboat::pg
