#include "ops/backup/incremental.h"

#include <gtest/gtest.h>

#include <map>

#include "util/bytes.h"

namespace lifeboat::ops {
namespace {

constexpr uint32_t kBlock = 8192;
constexpr uint64_t kSegmentBlocks = 131072;
const pg::RelationLocator kTable{1663, 5, 16384};

class IncrementalTest : public ::testing::Test {
 protected:
  IncrementalTest() { reference_.block_size = kBlock; }

  static pg::Entry file(const std::string& name, uint64_t bytes) {
    pg::Entry entry;
    entry.name = name;
    entry.size = bytes;
    pg::classify("base/5", entry);
    return entry;
  }
  struct Decided {
    bool unchanged = false;
    FileBefore before;
  };
  Decided decide(const pg::Entry& now, uint64_t old_bytes, const pg::ChangeMap* map) {
    repo::Entry before;
    before.name = now.name;
    before.size = old_bytes;
    IncrementalSources sources;
    sources.reference = &reference_;
    sources.map = map;
    sources.segment_blocks = kSegmentBlocks;
    sources.sample = &sample_;
    auto decision = Incremental(sources).decide("base/5", now, before);
    EXPECT_TRUE(decision && decision->before);
    return {decision->unchanged, *decision->before};
  }

  repo::Manifest reference_;
  ProofSample sample_{1};
  pg::ChangeMap map_;
};

TEST_F(IncrementalTest, what_no_record_speaks_of_is_not_read) {
  auto decision = decide(file("16384", 10 * kBlock), 10 * kBlock, &map_);
  EXPECT_TRUE(decision.unchanged);
  EXPECT_EQ(decision.before.mapped_blocks, 10u);
}

TEST_F(IncrementalTest, without_a_map_everything_is_read) {
  auto decision = decide(file("16384", 10 * kBlock), 10 * kBlock, nullptr);
  EXPECT_FALSE(decision.unchanged);
  EXPECT_EQ(decision.before.mapped_blocks, 0u);
}

TEST_F(IncrementalTest, maps_of_free_space_and_visibility_and_other_files_are_read) {  // T15
  for (const char* name : {"16384_fsm", "16384_vm", "pg_filenode.map", "PG_VERSION"}) {
    EXPECT_EQ(decide(file(name, 3 * kBlock), 3 * kBlock, &map_).before.mapped_blocks, 0u) << name;
  }
  EXPECT_TRUE(decide(file("16384_init", 3 * kBlock), 3 * kBlock, &map_).unchanged);
}

TEST_F(IncrementalTest, changed_blocks_and_what_is_past_the_shorter_length_are_read) {
  map_.changed({kTable, pg::Fork::main}, 4);
  auto decision = decide(file("16384", 12 * kBlock), 10 * kBlock, &map_);
  EXPECT_FALSE(decision.unchanged);
  EXPECT_EQ(decision.before.mapped_blocks, 10u);
  EXPECT_TRUE(decision.before.changed->contains(4));
  EXPECT_EQ(decide(file("16384", 7 * kBlock), 10 * kBlock, &map_).before.mapped_blocks, 7u);
  pg::ChangeMap other;
  other.changed({kTable, pg::Fork::main}, 11);  // past the end of both
  EXPECT_TRUE(decide(file("16384", 10 * kBlock), 10 * kBlock, &other).unchanged);
  EXPECT_FALSE(decide(file("16384", 11 * kBlock), 10 * kBlock, &other).unchanged) << "it grew";
}

TEST_F(IncrementalTest, nothing_past_a_limit_is_believed) {
  map_.cut({kTable, pg::Fork::main}, 6);
  auto decision = decide(file("16384", 10 * kBlock), 10 * kBlock, &map_);
  EXPECT_EQ(decision.before.mapped_blocks, 6u);
  EXPECT_FALSE(decision.unchanged);
  map_.cut({kTable, pg::Fork::main}, 0);
  EXPECT_EQ(decide(file("16384", 10 * kBlock), 10 * kBlock, &map_).before.mapped_blocks, 0u);
}

TEST_F(IncrementalTest, blocks_are_counted_over_segment_files) {
  map_.changed({kTable, pg::Fork::main}, kSegmentBlocks + 3);
  EXPECT_TRUE(decide(file("16384", kSegmentBlocks * kBlock), kSegmentBlocks * kBlock, &map_).unchanged);
  EXPECT_FALSE(decide(file("16384.1", 10 * kBlock), 10 * kBlock, &map_).unchanged);
  map_.cut({kTable, pg::Fork::main}, kSegmentBlocks + 5);
  EXPECT_EQ(decide(file("16384.1", 10 * kBlock), 10 * kBlock, &map_).before.mapped_blocks, 5u);
  EXPECT_EQ(decide(file("16384.2", 10 * kBlock), 10 * kBlock, &map_).before.mapped_blocks, 0u);
}

TEST_F(IncrementalTest, a_directory_that_was_made_anew_is_read) {  // T14
  map_.rewritten({1663, 5});
  EXPECT_EQ(decide(file("16384", 10 * kBlock), 10 * kBlock, &map_).before.mapped_blocks, 0u);
}

TEST_F(IncrementalTest, a_length_that_is_no_number_of_blocks_is_read_whole) {  // T15
  EXPECT_EQ(decide(file("16384", 10 * kBlock - 1), 10 * kBlock, &map_).before.mapped_blocks, 0u);
  EXPECT_EQ(decide(file("16384", 10 * kBlock), 10 * kBlock + 1, &map_).before.mapped_blocks, 0u);
}

// --- the sample

class Pages : public pg::FileSource {
 public:
  std::map<std::string, Bytes> files;
  Result<pg::DirectoryListing> list(std::string_view) override { return pg::DirectoryListing(); }
  Result<std::vector<std::string>> names(const std::string&) override { return std::vector<std::string>(); }
  std::string absolute(std::string_view path) const override { return std::string(path); }
  Result<std::unique_ptr<pg::SourceFile>> open(std::string_view path) override {
    auto found = files.find(std::string(path));
    std::unique_ptr<pg::SourceFile> file;
    if (found != files.end()) file = std::make_unique<File>(found->second);
    return file;
  }
  void set_lsn(const std::string& path, uint64_t block, uint64_t lsn) {
    Bytes& file = files[path];
    if (file.size() < (block + 1) * kBlock) file.resize((block + 1) * kBlock);
    store_le<uint32_t>(file.data() + block * kBlock, static_cast<uint32_t>(lsn >> 32));
    store_le<uint32_t>(file.data() + block * kBlock + 4, static_cast<uint32_t>(lsn));
    file[block * kBlock + 100] = 1;
  }

 private:
  class File : public pg::SourceFile {
   public:
    explicit File(const Bytes& bytes) : bytes_(bytes) {}
    Result<size_t> read(uint64_t offset, MutableBytes into) override {
      if (offset >= bytes_.size()) return size_t{0};
      size_t size = std::min<size_t>(into.size(), bytes_.size() - offset);
      std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), size, into.begin());
      return size;
    }
    void will_read(std::span<const pg::FileRange>) override {}

   private:
    const Bytes& bytes_;
  };
};

class ProofSampleTest : public ::testing::Test {
 protected:
  ProofSample::Verdict judge(const ProofSample& sample) {
    StopToken stop;
    auto verdict = sample.judge(pages_, kBlock, {0x2000}, stop);
    EXPECT_TRUE(verdict);
    return *verdict;
  }
  Pages pages_;
};

TEST_F(ProofSampleTest, a_page_from_in_between_that_the_map_does_not_know_is_found) {
  for (uint64_t lsn : {uint64_t{0x1000}, uint64_t{0x1fff}}) {
    pages_.set_lsn("base/5/16384", 0, lsn);
    ProofSample sample(1);
    sample.offer("base/5/16384", 0, 1, nullptr, {0x1000});
    auto verdict = judge(sample);
    ASSERT_TRUE(verdict.missed) << lsn;
    EXPECT_EQ(verdict.missed->block, 0u);
    EXPECT_EQ(verdict.missed->lsn.value, lsn);
  }
}

TEST_F(ProofSampleTest, older_and_newer_pages_and_known_ones_are_right) {
  for (uint64_t lsn : {uint64_t{0xfff}, uint64_t{0x2000}}) {
    pages_.set_lsn("base/5/16384", 0, lsn);
    ProofSample sample(1);
    sample.offer("base/5/16384", 0, 1, nullptr, {0x1000});
    EXPECT_FALSE(judge(sample).missed) << lsn;
    EXPECT_EQ(judge(sample).blocks, 1u);
  }
  pages_.set_lsn("base/5/16384", 0, 0x1500);
  pg::BlockSet known;
  known.add(0);
  ProofSample sample(1);
  sample.offer("base/5/16384", 0, 1, &known, {0x1000});
  EXPECT_FALSE(judge(sample).missed);
  sample.offer("base/5/1", 0, 1, nullptr, {0x1000});  // went away since
  EXPECT_FALSE(judge(sample).missed);
}

TEST_F(ProofSampleTest, stays_small_and_looks_everywhere) {
  for (int file = 0; file < 500; ++file) pages_.set_lsn("base/5/" + std::to_string(file), 0, 1);
  ProofSample sample(7, 100);
  for (int file = 0; file < 500; ++file)
    sample.offer("base/5/" + std::to_string(file), 0, 1, nullptr, {0x1000});
  EXPECT_EQ(judge(sample).blocks, 100u);
}

}  // namespace
}  // namespace lifeboat::ops
