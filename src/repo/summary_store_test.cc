#include "repo/summary_store.h"

#include <gtest/gtest.h>

#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

class SummaryStoreTest : public ::testing::Test {
 protected:
  SummaryStoreTest() : summaries_(tiny_.repo) {}
  WalObject segment(uint32_t timeline, uint32_t log_id, uint32_t number, uint8_t content = 1) {
    auto file = WalFileName::parse(SegmentName{{timeline}, log_id, number}.to_string());
    CHECK(file.has_value());
    WalObject object{*file, {}, {}, 0, {}};
    object.name_hash.fill(content);
    return object;
  }
  TinyRepo tiny_;
  SummaryStore summaries_;
};

TEST_F(SummaryStoreTest, what_was_put_is_got_and_belongs_to_one_content) {
  Bytes summary = tiny_content(1, 3'000'000);
  EXPECT_EQ(*summaries_.get(segment(1, 0, 5), 1 << 24), std::nullopt);
  ASSERT_TRUE(summaries_.put(segment(1, 0, 5), summary));
  EXPECT_EQ(*summaries_.get(segment(1, 0, 5), 1 << 24), summary);
  EXPECT_EQ(*summaries_.get(segment(1, 0, 5, 2), 1 << 24), std::nullopt);
  EXPECT_EQ(*summaries_.get(segment(2, 0, 5), 1 << 24), std::nullopt);
  EXPECT_EQ(tiny_.names("summaries/"),
            std::vector<std::string>{"summaries/00000001/00000000/000000010000000000000005-"
                                     "01010101010101010101010101010101"});
}

TEST_F(SummaryStoreTest, the_second_to_put_one_succeeds_and_changes_nothing) {
  ASSERT_TRUE(summaries_.put(segment(1, 0, 5), as_bytes("first")));
  ASSERT_TRUE(summaries_.put(segment(1, 0, 5), as_bytes("second")));
  EXPECT_EQ(as_text(**summaries_.get(segment(1, 0, 5), 100)), "first");
}

TEST_F(SummaryStoreTest, a_damaged_one_is_damaged_and_not_absent) {
  ASSERT_TRUE(summaries_.put(segment(1, 0, 5), as_bytes("what changed")));
  std::string name = tiny_.repo.name(tiny_.names("summaries/").front());
  Bytes bytes = *tiny_.memory.get(name, 1000);
  bytes[bytes.size() / 2 + 20] ^= 1;
  ASSERT_TRUE(tiny_.memory.overwrite(name, bytes));
  EXPECT_EQ(summaries_.get(segment(1, 0, 5), 100).error().kind, ErrorKind::damaged);
}

TEST_F(SummaryStoreTest, listing_is_by_timeline_and_range) {
  for (uint32_t log_id : {0, 1, 2}) {
    for (uint32_t number : {3, 4}) ASSERT_TRUE(summaries_.put(segment(1, log_id, number), as_bytes("x")));
  }
  ASSERT_TRUE(summaries_.put(segment(3, 1, 4), as_bytes("x")));
  std::vector<SegmentName> found;
  auto collect = [&](const WalObject& object) -> Status {
    EXPECT_TRUE(object.object.starts_with(tiny_.repo.name("summaries/")));
    found.push_back(object.file.segment);
    return {};
  };
  ASSERT_TRUE(summaries_.list({1}, {SegmentName{{1}, 0, 4}, SegmentName{{1}, 2, 4}}, collect));
  EXPECT_EQ(found, (std::vector<SegmentName>{{{1}, 0, 4}, {{1}, 1, 3}, {{1}, 1, 4}, {{1}, 2, 3}}));
  EXPECT_EQ(*summaries_.timelines(), (std::vector<Timeline>{{1}, {3}}));
}

TEST(SummaryName, is_that_of_a_whole_segment_and_nothing_else) {
  std::string hash(32, 'a');
  EXPECT_TRUE(parse_summary_object_name("summaries/00000001/00000000/000000010000000000000005-" + hash));
  for (const char* name :
       {"wal/00000001/00000000/000000010000000000000005-", "summaries/00000001/000000010000000000000005-",
        "summaries/00000001/00000000/000000010000000000000005.partial-",
        "summaries/00000002/00000002.history-", "summaries/00000001/00000001/000000010000000000000005-"}) {
    EXPECT_FALSE(parse_summary_object_name(name + hash)) << name;
  }
}

}  // namespace
}  // namespace lifeboat::repo
