#include "repo/wal_tail.h"

#include <gtest/gtest.h>

#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

class WalTailTest : public ::testing::Test {
 protected:
  WalTailTest() : tails_(tiny_.repo) {}
  TailPiece put(const SegmentName& segment, uint32_t begin, const Bytes& bytes) {
    auto piece = tails_.put(segment, begin, WalSource::from_bytes(bytes));
    EXPECT_TRUE(piece) << piece.error().to_string();
    return piece ? *piece : TailPiece();
  }
  Bytes read(const TailPiece& piece) {
    Bytes content;
    Status read = tails_.read(piece, [&](ByteView bytes) -> Status {
      content.insert(content.end(), bytes.begin(), bytes.end());
      return {};
    });
    EXPECT_TRUE(read) << read.error().to_string();
    return content;
  }
  TinyRepo tiny_;
  TailStore tails_;
  const SegmentName segment_{{1}, 0, 5};
};

TEST_F(WalTailTest, a_piece_comes_back_and_its_name_says_what_it_is) {
  Bytes bytes = tiny_content(1, 3'000'000);
  TailPiece piece = put(segment_, 0x1000, bytes);
  EXPECT_EQ(piece.begin, 0x1000u);
  EXPECT_EQ(piece.size(), bytes.size());
  EXPECT_TRUE(tiny_.names("tails/").front().starts_with(
      "tails/00000001/00000000/000000010000000000000005-00001000-"));
  EXPECT_EQ(read(piece), bytes);
  auto listed = tails_.find(segment_);
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().end, piece.end);
  EXPECT_EQ(listed->front().stored_bytes, piece.stored_bytes);
}

TEST_F(WalTailTest, the_same_again_is_success_and_one_object) {
  put(segment_, 0, tiny_content(1, 100));
  put(segment_, 0, tiny_content(1, 100));
  EXPECT_EQ(tiny_.names("tails/").size(), 1u);
  put(segment_, 0, tiny_content(2, 100));  // another server's
  EXPECT_EQ(tiny_.names("tails/").size(), 2u);
}

TEST_F(WalTailTest, a_flipped_bit_is_damage) {
  TailPiece piece = put(segment_, 0, tiny_content(1, 1000));
  Bytes bytes = *tiny_.memory.get(piece.object, 1 << 20);
  bytes[bytes.size() / 2 + 20] ^= 1;
  ASSERT_TRUE(tiny_.memory.overwrite(piece.object, bytes));
  EXPECT_EQ(tails_.read(piece, [](ByteView) -> Status { return {}; }).error().kind, ErrorKind::damaged);
}

TEST_F(WalTailTest, a_removed_piece_is_not_found) {
  TailPiece piece = put(segment_, 0, tiny_content(1, 1000));
  ASSERT_TRUE(tails_.remove(piece));
  ASSERT_TRUE(tails_.remove(piece)) << "somebody else may have been faster";
  EXPECT_EQ(tails_.read(piece, [](ByteView) -> Status { return {}; }).error().kind, ErrorKind::not_found);
}

TEST_F(WalTailTest, listing_is_by_timeline_and_range) {
  for (uint32_t log_id : {0, 1, 2}) put({{1}, log_id, 3}, 0, tiny_content(1, 10));
  put({{3}, 1, 4}, 0, tiny_content(1, 10));
  EXPECT_EQ(*tails_.timelines(), (std::vector<Timeline>{{1}, {3}}));
  EXPECT_EQ(tails_.list({1})->size(), 3u);
  std::vector<SegmentName> found;
  ASSERT_TRUE(tails_.list({1}, {SegmentName{{1}, 1, 0}, SegmentName{{1}, 2, 0}},
                          [&](const TailPiece& piece) -> Status {
                            found.push_back(piece.segment);
                            return {};
                          }));
  EXPECT_EQ(found, (std::vector<SegmentName>{{{1}, 1, 3}}));
}

TEST(WalTailNameTest, other_names_are_refused) {
  const std::string hash(32, 'a');
  const std::string folder = "tails/00000001/00000000/";
  const std::string segment = "000000010000000000000005";
  EXPECT_TRUE(parse_tail_object_name(cat(folder, segment, "-00000000-00000010-", hash)));
  for (const std::string& name :
       {cat(folder, segment, "-00000010-00000010-", hash), cat(folder, segment, "-0000000a-00000010-", hash),
        cat(folder, segment, "-00000000-", hash), cat(folder, segment, "-", hash),
        cat("tails/00000002/00000000/", segment, "-00000000-00000010-", hash),
        cat("wal/00000001/00000000/", segment, "-00000000-00000010-", hash), std::string("tails/x")}) {
    EXPECT_FALSE(parse_tail_object_name(name)) << name;
  }
}

TEST(WalTailCoverTest, pieces_cover_as_far_as_they_adjoin) {
  auto piece = [](uint32_t begin, uint32_t end) { return TailPiece{{}, begin, end, {}, {}, 0}; };
  EXPECT_EQ(covered({}), 0u);
  EXPECT_EQ(covered({piece(0, 10), piece(10, 20)}), 20u);
  EXPECT_EQ(covered({piece(10, 20), piece(0, 10)}), 20u);
  EXPECT_EQ(covered({piece(0, 10), piece(5, 30), piece(10, 20)}), 30u);
  EXPECT_EQ(covered({piece(0, 10), piece(11, 20)}), 10u);
  EXPECT_EQ(covered({piece(5, 10)}), 0u);
}

}  // namespace
}  // namespace lifeboat::repo
