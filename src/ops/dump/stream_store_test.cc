#include "ops/dump/stream_store.h"

#include <gtest/gtest.h>

#include "tests/support/repo_fixture.h"

namespace lifeboat::ops {
namespace {

Bytes noise(size_t size, uint64_t seed) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    bytes[i] = static_cast<uint8_t>(seed >> 56);
  }
  return bytes;
}

class StreamStoreTest : public ::testing::Test {
 protected:
  // Through the store in steps of `step`, and back.
  void expect_round_trip(size_t size, size_t step) {
    Bytes content = noise(size, size);
    StreamStore store(tiny_.repo.dumps(), tiny_.new_id(), {codec::Compression::zstd, 1}, 3);
    auto file = store.begin("databases/1/a");
    for (size_t at = 0; at < size; at += step) {
      ASSERT_TRUE(file->append(ByteView(content).subspan(at, std::min(step, size - at))));
    }
    auto entry = file->finish();
    ASSERT_TRUE(entry) << entry.error().to_string();
    EXPECT_EQ(entry->size, size);
    auto root = store.write_directory({{"a", *entry}});
    ASSERT_TRUE(root);
    ASSERT_TRUE(store.finish());

    repo::TreeReader tree(tiny_.repo.dumps());
    auto found = tree.find(*root, "a");
    ASSERT_TRUE(found);
    Bytes back;
    auto read = read_stream(tiny_.repo.dumps(), kStreamBlock, *found, stop_, [&](ByteView bytes) -> Status {
      back.insert(back.end(), bytes.begin(), bytes.end());
      return {};
    });
    ASSERT_TRUE(read) << read.error().to_string();
    EXPECT_TRUE(back == content);
  }

  repo::TinyRepo tiny_;
  StopToken stop_;
};

TEST_F(StreamStoreTest, streams_of_any_length_come_back) {
  for (size_t size :
       {size_t{0}, size_t{1}, size_t{kStreamBlock}, kStreamFrame, kStreamFrame + 1, 5 * kStreamFrame})
    expect_round_trip(size, 70'001);
}

TEST_F(StreamStoreTest, a_map_of_several_leaves_comes_back) {
  expect_round_trip(300 * kStreamFrame + 17, 3 << 20);
}

TEST_F(StreamStoreTest, packs_of_dumps_are_no_packs_of_backups) {
  expect_round_trip(10, 10);
  std::vector<std::string> names;
  ASSERT_TRUE(tiny_.memory.list(tiny_.repo.name("packs/"), [&](const storage::ObjectInfo& info) -> Status {
    names.push_back(info.name);
    return {};
  }));
  EXPECT_TRUE(names.empty());
}

}  // namespace
}  // namespace lifeboat::ops
