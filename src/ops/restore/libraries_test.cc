#include "ops/restore/libraries.h"

#include <gtest/gtest.h>

#include "ops/scratch/libraries.h"
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

TEST_F(PreloadLibraries, are_named_as_a_list_of_identifiers) {
  EXPECT_EQ(library_names(" a, \"b\",$libdir/c ,, "), (std::vector<std::string>{"a", "b", "$libdir/c"}));
  EXPECT_TRUE(library_names("").empty());
}

TEST_F(PreloadLibraries, of_a_plain_name_are_looked_for_in_the_search_path_alone) {
  put(root_.path() + "/lib/one.so");
  put(root_.path() + "/more/two.so");
  const std::vector<std::string> libdir = {root_.path() + "/lib"};
  const std::vector<std::string> path = {root_.path() + "/more"};
  EXPECT_TRUE(library_is_there("two", libdir, path));
  EXPECT_FALSE(library_is_there("one", libdir, path));
  EXPECT_TRUE(library_is_there("$libdir/one", libdir, path));
  EXPECT_FALSE(library_is_there("$libdir/two", libdir, path));
}

TEST_F(PreloadLibraries, are_missing_for_certain_only_where_the_server_has_its_own) {
  EXPECT_FALSE(library_places(bin_).certain);
  put(root_.path() + "/lib/libpqwalreceiver.so");
  EXPECT_TRUE(library_places(bin_).certain);
}

TEST_F(PreloadLibraries, are_told_with_the_way_out_that_there_is) {
  MissingLibrary missing{"one", "shared_preload_libraries", "/etc/pg/postgresql.conf", true, {"/lib"}};
  Error error = missing_library_error(missing);
  EXPECT_EQ(error.kind, ErrorKind::precondition);
  EXPECT_NE(error.hint.find("take it out of shared_preload_libraries in /etc/pg/postgresql.conf"),
            std::string::npos);
  missing.stays = false;
  EXPECT_NE(missing_library_error(missing).hint.find("without --start"), std::string::npos);
}

}  // namespace
}  // namespace lifeboat::ops
