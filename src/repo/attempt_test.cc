#include "repo/attempt.h"

#include <gtest/gtest.h>

#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

Attempt sample(const BackupId& id) {
  return {id, {1'763'636'185'000'000}, {3}, {0x5000028}, kTinyBlock, true};
}

TEST(Attempt, comes_back_from_its_object) {
  TinyRepo tiny;
  BackupId id = tiny.new_id();
  ASSERT_TRUE(write_attempt(tiny.repo, sample(id)));
  auto read = read_attempt(tiny.repo, id);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->start_lsn, Lsn{0x5000028});
  EXPECT_EQ(read->timeline, Timeline{3});
  EXPECT_EQ(read->block_size, kTinyBlock);
  EXPECT_TRUE(read->data_checksums);
  EXPECT_EQ(*list_attempts(tiny.repo), std::vector<BackupId>{id});
  EXPECT_EQ(write_attempt(tiny.repo, sample(id)).error().kind, ErrorKind::conflict);
}

TEST(Attempt, what_is_no_record_is_damaged) {
  for (std::string_view text : {"", "{}", "[1]", R"({"id":"x"})"}) {
    EXPECT_EQ(decode_attempt("attempts/x", as_bytes(text)).error().kind, ErrorKind::damaged) << text;
  }
}

class AttemptFilesTest : public ::testing::Test {
 protected:
  // A frame of the runs' bytes, back to back.
  BlockRun run(uint64_t first, uint32_t count, int seed, size_t bytes) {
    Bytes content = tiny_content(static_cast<uint64_t>(seed), bytes);
    plain_.insert(plain_.end(), content.begin(), content.end());
    return {first, count, codec::hash128(content)};
  }
  void append(PackWriter& writer, std::string_view path, const std::vector<BlockRun>& runs, Lsn newest = {}) {
    ASSERT_TRUE(writer.append(plain_, {path, runs, newest}));
    plain_.clear();
  }
  TinyRepo tiny_;
  BackupId id_ = tiny_.new_id();
  PackNumbers numbers_{id_};
  Bytes plain_;
};

TEST_F(AttemptFilesTest, finds_the_blocks_of_a_file_in_all_packs) {
  PackWriter writer(tiny_.repo, numbers_, PackKind::data, {codec::Compression::none, 0},
                    {.bytes = 1, .frames = 1});
  append(writer, "pgdata/base/5/2", {run(8, 2, 1, 2 * kTinyBlock), run(12, 1, 2, kTinyBlock)}, Lsn{77});
  append(writer, "pgdata/base/5/1", {run(0, 1, 3, kTinyBlock)});
  append(writer, "pgdata/base/5/2", {run(0, 4, 4, 3 * kTinyBlock + 5)});
  ASSERT_TRUE(writer.finish());
  auto files = AttemptFiles::open(tiny_.repo, id_, kTinyBlock);
  ASSERT_TRUE(files) << files.error().to_string();
  EXPECT_EQ(files->blocks(), 8u);
  auto runs = files->find("pgdata/base/5/2");
  ASSERT_TRUE(runs);
  ASSERT_EQ(runs->size(), 3u);
  EXPECT_EQ((*runs)[0].first, 0u);
  EXPECT_EQ((*runs)[0].bytes, 3u * kTinyBlock + 5) << "the file ended inside its last block";
  EXPECT_EQ((*runs)[1].first, 8u);
  EXPECT_EQ((*runs)[1].ref.first_block, 0u);
  EXPECT_EQ((*runs)[2].first, 12u);
  EXPECT_EQ((*runs)[0].newest, Lsn{});
  EXPECT_EQ((*runs)[2].newest, Lsn{77});
  EXPECT_EQ((*runs)[2].ref.first_block, 2u) << "behind the first run in the same frame";
  PackReaders packs(tiny_.repo, PackKind::data);
  for (const StoredRun& found : *runs) {
    Frame frame;
    ASSERT_TRUE(packs.read(found.ref.frame, frame));
    ByteView bytes = ByteView(frame.plain).subspan(size_t{found.ref.first_block} * kTinyBlock, found.bytes);
    EXPECT_EQ(codec::hash128(bytes), found.ref.hash);
  }
  EXPECT_TRUE(files->find("pgdata/base/5/3")->empty());
}

TEST_F(AttemptFilesTest, blocks_that_were_stored_twice_are_given_once) {
  PackWriter writer(tiny_.repo, numbers_, PackKind::data, {codec::Compression::none, 0});
  append(writer, "f", {run(0, 4, 1, 4 * kTinyBlock)});
  append(writer, "f", {run(2, 2, 2, 2 * kTinyBlock)});
  ASSERT_TRUE(writer.finish());
  auto files = AttemptFiles::open(tiny_.repo, id_, kTinyBlock);
  EXPECT_EQ(files->find("f")->size(), 1u);
}

TEST_F(AttemptFilesTest, a_damaged_pack_is_as_if_it_had_not_been_stored) {
  PackWriter writer(tiny_.repo, numbers_, PackKind::data, {codec::Compression::none, 0},
                    {.bytes = 1, .frames = 1});
  append(writer, "f", {run(0, 1, 1, kTinyBlock)});
  append(writer, "g", {run(0, 1, 2, kTinyBlock)});
  ASSERT_TRUE(writer.finish());
  std::string name = tiny_.repo.name(pack_name({id_, 1}, PackKind::data));
  Bytes content = *tiny_.memory.get(name, 1 << 20);
  content[content.size() - 1] ^= 1;
  ASSERT_TRUE(tiny_.memory.remove(name));
  ASSERT_TRUE(tiny_.memory.put(name, content));
  auto files = AttemptFiles::open(tiny_.repo, id_, kTinyBlock);
  ASSERT_TRUE(files) << files.error().to_string();
  EXPECT_TRUE(files->find("f")->empty());
  EXPECT_EQ(files->find("g")->size(), 1u);
}

}  // namespace
}  // namespace lifeboat::repo
