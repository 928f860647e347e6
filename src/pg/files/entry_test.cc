#include "pg/files/entry.h"

#include <gtest/gtest.h>

namespace lifeboat::pg {
namespace {

TEST(RelationFileName, forks_and_segments_are_read) {
  struct Case {
    const char* name;
    uint32_t relfilenode;
    Fork fork;
    uint32_t segment;
  };
  for (const Case& c :
       {Case{"1259", 1259, Fork::main, 0}, Case{"4294967295.131071", 4294967295, Fork::main, 131071},
        Case{"16384_fsm", 16384, Fork::fsm, 0}, Case{"16384_vm.2", 16384, Fork::vm, 2},
        Case{"16384_init", 16384, Fork::init, 0}}) {
    auto parsed = RelationFileName::parse(c.name);
    ASSERT_TRUE(parsed) << c.name;
    EXPECT_EQ(parsed->relfilenode, c.relfilenode);
    EXPECT_EQ(parsed->fork, c.fork);
    EXPECT_EQ(parsed->segment, c.segment);
  }
}

TEST(RelationFileName, other_names_are_not_relations) {
  for (const char* name :
       {"", "0", "017", "4294967296", "16384.", "16384.0", "16384.01", "16384_", "16384_foo", "16384_fsmx",
        "16384.1.2", "t3_16384", "PG_VERSION", "16384 ", "_fsm", "99999999999"})
    EXPECT_FALSE(RelationFileName::parse(name)) << name;
}

TEST(RelationFileName, temporary_names_are_recognised) {
  for (const char* name : {"t3_16384", "t12_16384_fsm", "t3_16384.7", "t0_1_vm.1"})
    EXPECT_TRUE(is_temporary_relation_name(name)) << name;
  for (const char* name : {"16384", "t_16384", "t3_", "t3", "t3_16384x", "t3_16384_foo", "tt3_1"})
    EXPECT_FALSE(is_temporary_relation_name(name)) << name;
}

TEST(RelationDirectory, database_and_tablespace_come_from_the_path) {
  auto global = RelationDirectory::parse("global");
  ASSERT_TRUE(global);
  EXPECT_EQ(global->tablespace, 1664u);
  EXPECT_EQ(global->database, 0u);
  auto base = RelationDirectory::parse("base/5");
  ASSERT_TRUE(base);
  EXPECT_EQ(base->tablespace, 1663u);
  EXPECT_EQ(base->database, 5u);
  auto other = RelationDirectory::parse("pg_tblspc/16385/PG_15_202209061/16390");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->tablespace, 16385u);
  EXPECT_EQ(other->database, 16390u);
  for (const char* path : {"", "base", "base/", "base/x", "base/5/6", "pg_tblspc/16385",
                           "pg_tblspc/16385/PG_15_1", "pg_tblspc/16385/other/5", "pg_xact", "global/5"})
    EXPECT_FALSE(RelationDirectory::parse(path)) << path;
}

TEST(Entry, classes_follow_from_directory_and_name) {
  struct Case {
    const char* directory;
    const char* name;
    FileClass expected;
  };
  for (const Case& c :
       {Case{"", "postgresql.conf", FileClass::config}, Case{"", "PG_VERSION", FileClass::version},
        Case{"", "standby.signal", FileClass::recovery_signal}, Case{"", "1259", FileClass::other},
        Case{"global", "pg_control", FileClass::control}, Case{"base/5", "pg_control", FileClass::other},
        Case{"base/5", "PG_VERSION", FileClass::version},
        Case{"base/5", "pg_filenode.map", FileClass::filenode_map},
        Case{"base/5", "1259", FileClass::relation}, Case{"base/5", "1259x", FileClass::other},
        Case{"pg_xact", "0000", FileClass::slru}, Case{"pg_multixact/members", "0000", FileClass::slru},
        Case{"log", "1259", FileClass::other}}) {
    Entry entry;
    entry.name = c.name;
    classify(c.directory, entry);
    EXPECT_EQ(entry.file_class, c.expected) << c.directory << "/" << c.name;
  }
  Entry entry;
  entry.name = "16384.2";
  classify("base/5", entry);
  EXPECT_EQ(entry.first_block(131072), 262144u);
}

}  // namespace
}  // namespace lifeboat::pg
