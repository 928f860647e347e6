#include "pg/client/conninfo.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// libpq's environment as one test wants it; what was there comes back.
class ConninfoTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD",
                             "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGSSLMODE", "PGOPTIONS"}) {
      const char* value = std::getenv(name);
      before_[name] = value != nullptr ? std::optional<std::string>(value) : std::nullopt;
      ::unsetenv(name);
    }
  }
  void TearDown() override {
    for (const auto& [name, value] : before_) {
      if (value)
        ::setenv(name.c_str(), value->c_str(), 1);
      else
        ::unsetenv(name.c_str());
    }
  }
  static std::string text_of(const std::string& conninfo) {
    auto made = explicit_conninfo(conninfo);
    EXPECT_TRUE(made) << made.error().to_string();
    return made ? made->text : "";
  }
  std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(ConninfoTest, without_an_environment_nothing_is_added) {
  for (const char* text : {"", "host=db1 dbname='a b'", "postgresql://u@h:5433/db?sslmode=require"})
    EXPECT_EQ(text_of(text), text);
}

TEST_F(ConninfoTest, the_environment_is_spelt_out_and_what_was_given_wins) {
  ::setenv("PGHOST", "/run/my sockets", 1);
  ::setenv("PGPORT", "5544", 1);
  ::setenv("PGUSER", "backup", 1);
  ::setenv("PGDATABASE", "shop", 1);
  ::setenv("PGPASSFILE", "/etc/pgpass", 1);
  EXPECT_EQ(text_of(""), "user=backup passfile=/etc/pgpass dbname=shop host='/run/my sockets' port=5544");
  const std::string mixed = text_of("postgresql://other@db2/x%20y");
  EXPECT_NE(mixed.find("user=other"), std::string::npos) << mixed;
  EXPECT_NE(mixed.find("host=db2"), std::string::npos) << mixed;
  EXPECT_NE(mixed.find("dbname='x y'"), std::string::npos) << mixed;
  EXPECT_NE(mixed.find("port=5544"), std::string::npos) << mixed;
}

TEST_F(ConninfoTest, a_password_is_never_written_and_its_presence_is_told) {
  ::setenv("PGPASSWORD", "hunter2", 1);
  ::setenv("PGHOST", "db1", 1);
  auto made = explicit_conninfo("");
  ASSERT_TRUE(made);
  EXPECT_EQ(made->text, "host=db1");
  EXPECT_TRUE(made->password_in_environment);
}

TEST_F(ConninfoTest, a_service_of_the_environment_is_looked_up_and_one_that_is_named_stays) {
  const std::string file = cat("/tmp/lifeboat-conninfo-test-", ::getpid());
  ASSERT_TRUE(write_file_durable(
      file, as_bytes("[shop]\nhost=db7\nport=5433\nuser=reader\npassword=hunter2\n"), 0600));
  ::setenv("PGSERVICEFILE", file.c_str(), 1);
  ::setenv("PGSERVICE", "shop", 1);
  auto made = explicit_conninfo("");
  ASSERT_TRUE(made) << made.error().to_string();
  EXPECT_EQ(made->text, "user=reader host=db7 port=5433");
  EXPECT_TRUE(made->password_in_environment);
  EXPECT_EQ(text_of("service=shop"), "service=shop");
  ::unlink(file.c_str());
}

}  // namespace
}  // namespace lifeboat::pg
