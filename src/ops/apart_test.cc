#include "ops/apart.h"

#include <gtest/gtest.h>

#include "util/files.h"

namespace lifeboat::ops {
namespace {

TEST(Apart, what_lies_in_a_cluster_or_in_a_repository_is_refused) {
  TempDir temp = TempDir::make("lifeboat-apart-test").value();
  const std::string root = temp.path();
  ASSERT_TRUE(create_dirs(root + "/data/base"));
  ASSERT_TRUE(create_dirs(root + "/data/global"));
  ASSERT_TRUE(write_file_durable(root + "/data/PG_VERSION", as_bytes("15\n"), 0600));
  ASSERT_TRUE(create_dirs(root + "/repo/clusters"));
  ASSERT_TRUE(write_file_durable(root + "/repo/lifeboat.json", as_bytes("{}"), 0600));

  for (const char* inside : {"/data/copy", "/data/base/copy", "/data/not/there/yet", "/repo/clusters/copy"}) {
    Status checked = check_apart_from_others(root + inside);
    ASSERT_FALSE(checked) << inside;
    EXPECT_EQ(checked.error().kind, ErrorKind::precondition);
  }
  for (const char* outside : {"/data", "/data.new", "/repo", "/copy"})
    EXPECT_TRUE(check_apart_from_others(root + outside)) << outside;
  EXPECT_TRUE(check_apart_from_others("/"));
}

}  // namespace
}  // namespace lifeboat::ops
