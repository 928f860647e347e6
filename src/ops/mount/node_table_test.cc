#include "ops/mount/node_table.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

// Counts what is open.
class CountingMounter : public Mounter {
 public:
  Status available() override { return {}; }
  Result<Fd> mount(const std::string&, MountAccess) override { return Fd(); }
  Status unmount(const std::string&) override { return {}; }
  void read_ahead(const std::string&, uint64_t) override {}
  std::optional<uint32_t> open_backing(int, int) override {
    ++open;
    return ++last;
  }
  void close_backing(int, uint32_t) override { --open; }
  int open = 0;
  uint32_t last = 0;
};

std::shared_ptr<OpenNode> passed(Mounter& mounter) {
  auto node = std::make_shared<OpenNode>();
  node->writable = true;
  node->backing.emplace(*Backing::open(mounter, 3, 4));
  return node;
}

constexpr uint64_t kRoot = NodeTable::kRoot;

TEST(NodeTableTest, paths_follow_renames_of_directories) {
  NodeTable table;
  uint64_t base = table.remember(kRoot, "base", {1, 10});
  uint64_t file = table.remember(base, "1259", {1, 11});
  EXPECT_EQ(table.path(file), "base/1259");
  EXPECT_EQ(table.path(base, "1260"), "base/1260");
  EXPECT_EQ(table.path(kRoot), "");
  table.renamed(kRoot, "base", kRoot, "other");
  EXPECT_EQ(table.path(file), "other/1259");
}

TEST(NodeTableTest, an_inode_that_is_used_again_is_another_file) {
  NodeTable table;
  uint64_t first = table.remember(kRoot, "a", {1, 10});
  table.removed(kRoot, "a", true);
  EXPECT_FALSE(table.path(first)) << "still known to the kernel, but without a name";
  uint64_t second = table.remember(kRoot, "b", {1, 10});
  EXPECT_NE(first, second);
  table.forget(first, 1);
  EXPECT_EQ(table.path(second), "b");
}

TEST(NodeTableTest, two_names_of_one_file_are_one_node) {
  NodeTable table;
  uint64_t first = table.remember(kRoot, "a", {1, 10});
  EXPECT_EQ(table.remember(kRoot, "b", {1, 10}), first);
  table.removed(kRoot, "a", false);
  EXPECT_EQ(table.path(first), "b");
  EXPECT_EQ(table.remember(kRoot, "b", {1, 10}), first);
  table.forget(first, 3);
  EXPECT_EQ(table.size(), 1u);
}

TEST(NodeTableTest, what_replaces_a_name_takes_its_place) {
  NodeTable table;
  uint64_t fresh = table.remember(kRoot, "new", {1, 10});
  uint64_t old = table.remember(kRoot, "old", {1, 11});
  table.removed(kRoot, "old", true);
  table.renamed(kRoot, "new", kRoot, "old");
  EXPECT_EQ(table.path(fresh), "old");
  EXPECT_FALSE(table.path(old));
}

TEST(NodeTableTest, a_directory_stays_while_something_in_it_is_known) {
  NodeTable table;
  uint64_t base = table.remember(kRoot, "base", {1, 10});
  uint64_t file = table.remember(base, "1259", {1, 11});
  table.forget(base, 1);
  EXPECT_EQ(table.path(file), "base/1259");
  table.forget(file, 1);
  EXPECT_EQ(table.size(), 1u);
}

TEST(NodeTableTest, an_open_file_stays_after_its_last_name) {
  NodeTable table;
  uint64_t file = table.remember(kRoot, "a", {1, 10});
  auto open = std::make_shared<OpenNode>();
  EXPECT_EQ(table.opened(file, open), open);
  EXPECT_EQ(table.opened(file, nullptr), open);
  table.removed(kRoot, "a", true);
  table.forget(file, 1);
  EXPECT_EQ(table.open_node(file), open);
  table.closed(file);
  EXPECT_EQ(table.open_node(file), open);
  table.closed(file);
  EXPECT_EQ(table.open_node(file), nullptr);
  EXPECT_EQ(table.size(), 1u);
}

TEST(NodeTableTest, a_file_is_passed_through_until_its_last_closing) {
  CountingMounter mounter;
  NodeTable table;
  uint64_t file = table.remember(kRoot, "a", {1, 10});
  auto first = table.opened(file, passed(mounter));
  // Somebody else opened it at the same time: there is one backing for all.
  auto second = table.opened(file, passed(mounter));
  EXPECT_EQ(first, second);
  EXPECT_EQ(second->backing->id(), 1u);
  EXPECT_EQ(mounter.open, 1);
  first.reset();
  second.reset();
  table.closed(file);
  EXPECT_EQ(mounter.open, 1);
  table.closed(file);
  EXPECT_EQ(mounter.open, 0);
}

TEST(NodeTableTest, openings_of_one_time_are_of_one_kind) {
  CountingMounter mounter;
  NodeTable table;
  uint64_t file = table.remember(kRoot, "a", {1, 10});
  auto reader = std::make_shared<OpenNode>();  // may not write, so it goes through us
  table.opened(file, reader);
  auto writer = table.opened(file, passed(mounter));
  EXPECT_TRUE(writer->writable);
  EXPECT_FALSE(writer->backing);
  EXPECT_EQ(mounter.open, 0);
}

}  // namespace
}  // namespace lifeboat::ops
