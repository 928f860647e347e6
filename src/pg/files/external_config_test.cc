#include "pg/files/external_config.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/live_cluster.h"

namespace lifeboat::pg {
namespace {

class ExternalConfigTest : public test::LiveTest {
 protected:
  Result<ConfigFiles> list(PgClient& client) {
    auto lister = DataDirLister::open({live->data(), "", client.major(), {}});
    CHECK(lister.has_value());
    LocalSource source(std::move(*lister));
    return list_config_files(client, live->data(), source);
  }
};

// T10
TEST_F(ExternalConfigTest, files_outside_the_data_directory_are_found_with_their_includes) {
  PgClient client = live->connect();
  auto found = list(client);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_TRUE(found->warnings.empty()) << found->warnings[0];
  std::map<std::string, ConfigFile> files;
  for (const ConfigFile& file : found->files)
    EXPECT_TRUE(files.emplace(file.path, file).second) << "once each";
  EXPECT_EQ(files.at(live->data() + "/postgresql.conf").role, ConfigRole::config);
  EXPECT_TRUE(files.at(live->data() + "/postgresql.conf").inside);
  EXPECT_EQ(files.at(live->outside() + "/pg_hba.conf").role, ConfigRole::hba);
  EXPECT_FALSE(files.at(live->outside() + "/pg_hba.conf").inside);
  EXPECT_EQ(files.at(live->data() + "/pg_ident.conf").role, ConfigRole::ident);
  EXPECT_EQ(files.at(live->outside() + "/conf.d/20-size.conf").role, ConfigRole::included);
  EXPECT_EQ(files.count(live->outside() + "/conf.d/10-empty.conf"), 1u)
      << "one that sets nothing must exist all the same";
  EXPECT_EQ(files.count(live->outside() + "/conf.d/ignored.txt"), 0u);
  for (const auto& [path, file] : files) EXPECT_TRUE(file.readable) << path;
}

TEST_F(ExternalConfigTest, role_without_the_right_is_told_so) {
  ASSERT_TRUE(live->connect().exec("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN"));
  PgClient client = live->connect("plain");
  auto found = list(client);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->warnings.size(), 3u);
}

}  // namespace
}  // namespace lifeboat::pg
