// What is brought first: what is small, then what is in use, then the rest.
#include "ops/mount/hydrate.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "ops/mount/fetch_pool.h"
#include "tests/support/repo_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

constexpr uint32_t kBlock = 8192;
constexpr size_t kFrame = 32 * kBlock;
constexpr size_t kLarge = 2 << 20;
constexpr size_t kRecent = 4;
constexpr const char* kMount = "0123456789abcdef";

// Hears of each piece that was brought and looks which files have begun since the last one.
class FirstBlocks : public SilentReporter {
 public:
  FirstBlocks(const std::map<std::string, Bytes>& files, const TempDir& dir) : dir_(dir) {
    for (const auto& [path, content] : files) waiting_.emplace(path, content.front());
  }
  void progress(std::string_view, uint64_t, uint64_t, ProgressUnit) override {
    std::erase_if(waiting_, [&](const auto& file) {
      if (first_byte(file.first) != file.second) return false;
      order.push_back(file.first);
      return true;
    });
  }
  std::vector<std::string> order;

 private:
  uint8_t first_byte(const std::string& path) const {
    uint8_t byte = 0;
    auto fd = open_file(dir_ / path, O_RDONLY);
    EXPECT_TRUE(fd && pread(fd->get(), &byte, 1, 0) == 1) << path;
    return byte;
  }
  const TempDir& dir_;
  std::map<std::string, uint8_t> waiting_;
};

class HydrateTest : public ::testing::Test {
 protected:
  HydrateTest() : dir_(*TempDir::make()) {}

  void add(const std::string& path, size_t size) {
    Bytes content = repo::tiny_content(files_.size() + 1, size);
    content.front() = 1;  // a hole has a zero there
    files_.emplace(path, std::move(content));
  }

  // A backup of the files, and their sparse targets.
  void prepare() {
    repo::PackNumbers numbers(tiny_.new_id());
    repo::PackWriter packs(tiny_.repo, numbers, repo::PackKind::data, tiny_.repo.compression());
    repo::PackNodeSink nodes(tiny_.repo, numbers);
    auto table = FileTableWriter::create(dir_ / "files");
    ASSERT_TRUE(table);
    for (const auto& [path, content] : files_) {
      std::vector<repo::BlockRef> refs;
      for (size_t at = 0; at < content.size(); at += kFrame) {
        ByteView run = ByteView(content).subspan(at, std::min(kFrame, content.size() - at));
        repo::BlockRun blocks{at / kBlock, static_cast<uint32_t>((run.size() + kBlock - 1) / kBlock),
                              codec::hash128(run)};
        auto frame = packs.append(run, {path, {&blocks, 1}});
        ASSERT_TRUE(frame);
        refs.push_back({*frame, 0, blocks.count, blocks.hash});
      }
      repo::Entry entry;
      entry.name = path.substr(path.rfind('/') + 1);
      entry.size = content.size();
      ASSERT_TRUE(repo::write_block_map(nodes, refs, entry));
      auto number = table->add(path, entry);
      ASSERT_TRUE(number);
      auto target = open_file(dir_ / path, O_RDWR | O_CREAT, 0600);
      ASSERT_TRUE(target);
      ASSERT_EQ(ftruncate(target->get(), static_cast<off_t>(content.size())), 0);
      ASSERT_TRUE(write_mark(target->get(), {kMount, *number, (content.size() + kBlock - 1) / kBlock}, path));
    }
    ASSERT_TRUE(packs.finish());
    ASSERT_TRUE(nodes.finish());
    auto hash = table->finish();
    ASSERT_TRUE(hash);
    map_ = std::make_unique<BlockMap>(*FileTable::open(dir_ / "files", *hash), kBlock);
    base_ = std::make_unique<BaseFiles>(kMount, *map_, kRecent);
  }

  // As the server does, which closes it again.
  void use(const std::string& path) {
    auto fd = open_file(dir_ / path, O_RDWR);
    ASSERT_TRUE(fd);
    auto file = base_->of(fd->get(), path, [&] { return open_file(dir_ / path, O_RDWR); });
    ASSERT_TRUE(file && *file);
  }

  // The order in which they were begun.
  std::vector<std::string> hydrate() {
    FirstBlocks told(files_, dir_);
    FetchThreads pool(tiny_.repo, kBlock, 1);
    HydrateOptions options;
    options.roots = {dir_ / "base"};
    options.threads = 1;
    Status done = hydrate_trees(tiny_.repo, kBlock, *base_, pool, options, told, StopToken());
    EXPECT_TRUE(done) << done.error().to_string();
    return told.order;
  }

  repo::TinyRepo tiny_;
  TempDir dir_;
  std::map<std::string, Bytes> files_;
  std::unique_ptr<BlockMap> map_;
  std::unique_ptr<BaseFiles> base_;
};

TEST_F(HydrateTest, small_files_come_first_then_those_in_use_then_the_rest) {
  ASSERT_TRUE(create_dirs(dir_ / "base"));
  for (const char* name : {"base/1", "base/2", "base/3", "base/4"}) add(name, kLarge);
  // More than stay loaded: bringing them does not make it forgotten what the server used.
  constexpr size_t kSmallFiles = 3 * kRecent;
  for (size_t i = 0; i < kSmallFiles; ++i) add(cat("base/small", i), 100 + i);
  prepare();
  use("base/3");
  const std::vector<std::string> order = hydrate();
  ASSERT_EQ(order.size(), files_.size());
  for (size_t i = 0; i < kSmallFiles; ++i) ASSERT_TRUE(order[i].starts_with("base/small")) << i << order[i];
  EXPECT_EQ(std::vector<std::string>(order.begin() + kSmallFiles, order.end()),
            (std::vector<std::string>{"base/3", "base/1", "base/2", "base/4"}));
  for (const auto& [path, content] : files_) {
    auto fd = open_file(dir_ / path, O_RDONLY);
    ASSERT_TRUE(fd);
    Bytes bytes(content.size());
    ASSERT_EQ(*pread_some(fd->get(), 0, bytes, path), content.size());
    ASSERT_EQ(bytes, content) << path;
    ASSERT_FALSE(*read_mark(fd->get(), path)) << path;
  }
}

}  // namespace
}  // namespace lifeboat::ops
