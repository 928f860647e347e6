#include "ops/wal/incoming.h"

#include <gtest/gtest.h>

#include <random>

namespace lifeboat::ops {
namespace {

using repo::TailPiece;

TailPiece piece(uint32_t begin, uint32_t end) {
  return {{}, begin, end, {}, {}, 0};
}

IncomingSegment segment() {
  auto made = IncomingSegment::create({{1}, 0, 1}, {1 << 20});
  CHECK(made.has_value());
  return *std::move(made);
}

TEST(IncomingSegmentTest, what_is_appended_is_read_back_by_range) {
  IncomingSegment incoming = segment();
  ASSERT_TRUE(incoming.append(as_bytes("abc")));
  ASSERT_TRUE(incoming.append(as_bytes("def")));
  EXPECT_EQ(incoming.filled, 6u);
  Bytes out(3);
  ASSERT_TRUE(incoming.source(2, 5).read_at(0, out));
  EXPECT_EQ(as_text(out), "cde");
}

TEST(IncomingSegmentTest, other_wal_than_is_stored_is_a_conflict) {  // T46
  IncomingSegment incoming = segment();
  incoming.know({'a', 'b', 'c', 'd'});
  ASSERT_TRUE(incoming.append(as_bytes("ab")));
  EXPECT_EQ(incoming.append(as_bytes("xd")).error().kind, ErrorKind::conflict);
  IncomingSegment same = segment();
  same.know({'a', 'b'});
  EXPECT_TRUE(same.append(as_bytes("abcd")));
}

TEST(IncomingSegmentTest, a_place_has_the_segment_and_the_history_files_that_were_received) {
  IncomingSegment incoming = segment();
  ASSERT_TRUE(incoming.append(as_bytes("abc")));
  MemoryWal place(&incoming);
  place.add(*WalFileName::parse("00000002.history"), "1\t0/100\tx\n");
  EXPECT_EQ(place.open(*WalFileName::parse("000000010000000000000001"))->size, 3u);
  EXPECT_EQ(as_text(*place.head(*WalFileName::parse("00000002.history"), 3)), "1\t0");
  EXPECT_EQ(place.open(*WalFileName::parse("00000003.history")).error().kind, ErrorKind::not_found);
  EXPECT_EQ(place.open(*WalFileName::parse("000000010000000000000002")).error().kind, ErrorKind::not_found);
}

TEST(TailMergeTest, few_pieces_stay_as_they_are) {
  std::vector<TailPiece> pieces;
  for (uint32_t i = 0; i < kMostPieces; ++i) {
    EXPECT_FALSE(merge_from(pieces));
    pieces.push_back(piece(i, i + 1));
  }
  EXPECT_FALSE(merge_from(pieces));
  pieces.push_back(piece(kMostPieces, kMostPieces + 1));
  EXPECT_EQ(merge_from(pieces), 0u);
}

TEST(TailMergeTest, a_large_piece_is_not_stored_again_for_small_ones) {
  std::vector<TailPiece> pieces = {piece(0, 1'000'000)};
  for (uint32_t i = 0; i < kMostPieces; ++i) pieces.push_back(piece(1'000'000 + i, 1'000'001 + i));
  EXPECT_EQ(merge_from(pieces), 1u) << "of 17, the 16 small ones";
}

TEST(TailMergeTest, pieces_stay_few_and_bytes_are_stored_a_few_times_only) {
  std::mt19937 random(20261129);
  for (uint32_t longest : {64u, 8192u, 1u << 20}) {
    std::vector<TailPiece> pieces;
    uint64_t written = 0;
    uint32_t end = 0;
    size_t most = 0;
    while (end < (16u << 20)) {
      uint32_t next = std::min<uint32_t>(16u << 20, end + 1 + static_cast<uint32_t>(random() % longest));
      pieces.push_back(piece(end, next));
      written += next - end;
      end = next;
      most = std::max(most, pieces.size());
      if (auto from = merge_from(pieces)) {
        TailPiece merged = piece(pieces[*from].begin, end);
        pieces.resize(*from);
        pieces.push_back(merged);
        written += merged.size();
      }
    }
    EXPECT_LE(most, kMostPieces + 1);
    EXPECT_LE(written, uint64_t{12} * (16u << 20)) << longest;
    EXPECT_EQ(repo::covered(pieces), 16u << 20);
  }
}

TEST(TailCoverTest, overlapping_pieces_are_dropped_and_what_adjoins_nothing_is_left) {
  std::vector<TailPiece> dropped;
  auto cover = least_cover({piece(0, 10), piece(0, 4), piece(4, 10), piece(8, 20), piece(30, 40)}, dropped);
  ASSERT_EQ(cover.size(), 2u);
  EXPECT_EQ(cover[1].end, 20u);
  EXPECT_EQ(dropped.size(), 2u);
}

}  // namespace
}  // namespace lifeboat::ops
