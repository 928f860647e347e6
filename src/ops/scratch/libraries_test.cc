#include "ops/scratch/libraries.h"

#include <gtest/gtest.h>

#include "util/files.h"

namespace lifeboat::ops {
namespace {

class PreloadLibraries : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text = "", mode_t mode = 0644) {
    ASSERT_TRUE(create_dirs(parent_path(path)));
    ASSERT_TRUE(write_file_durable(path, as_bytes(text), mode));
  }
  std::vector<std::string> missing(std::vector<std::string> wanted) {
    return look_for_libraries(wanted, bin_).missing;
  }
  TempDir root_ = std::move(*TempDir::make());
  pg::PgBin bin_{root_.path() + "/bin", "", 15};
};

TEST_F(PreloadLibraries, are_found_by_each_way_to_name_them) {
  put(root_.path() + "/lib/one.so");
  put(root_.path() + "/elsewhere/two.so");
  using Names = std::vector<std::string>;
  EXPECT_EQ(missing({"one", "one.so", "$libdir/one", "$libdir/one.so", root_.path() + "/elsewhere/two"}),
            Names());
  const Names absent = {"two", "$libdir/two", root_.path() + "/elsewhere/three"};
  EXPECT_EQ(missing(absent), absent) << "the canary";
}

TEST_F(PreloadLibraries, are_found_where_packages_of_others_put_them) {
  put(root_.path() + "/lib64/pgsql/one.so");
  EXPECT_TRUE(missing({"$libdir/one"}).empty());
  put(root_.path() + "/quite/elsewhere/two.so");
  EXPECT_FALSE(missing({"two"}).empty());
  put(root_.path() + "/bin/pg_config", "#!/bin/sh\necho " + root_.path() + "/quite/elsewhere\n", 0755);
  EXPECT_TRUE(missing({"two"}).empty()) << "pg_config says where";
}

}  // namespace
}  // namespace lifeboat::ops
