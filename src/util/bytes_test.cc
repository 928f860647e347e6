#include "util/bytes.h"

#include <gtest/gtest.h>

#include <limits>

namespace lifeboat {
namespace {

TEST(ByteWriter, writes_little_endian_and_reader_reads_it_back) {
  Bytes out;
  ByteWriter writer(out);
  writer.u8(0x01);
  writer.u16(0x0302);
  writer.u32(0x07060504);
  writer.u64(0x0f0e0d0c0b0a0908);
  writer.text("hi");
  EXPECT_EQ(out, (Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 2, 'h', 'i'}));

  ByteReader reader(out);
  EXPECT_EQ(reader.u8(), 0x01);
  EXPECT_EQ(reader.u16(), 0x0302);
  EXPECT_EQ(reader.u32(), 0x07060504u);
  EXPECT_EQ(reader.u64(), 0x0f0e0d0c0b0a0908u);
  EXPECT_EQ(reader.text(), "hi");
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.at_end());
}

TEST(Varint, round_trips_at_every_length) {
  for (int bits = 0; bits <= 64; ++bits) {
    for (uint64_t around : {0, 1, 2}) {
      uint64_t value = (bits == 64 ? 0 : uint64_t{1} << bits) - around;
      Bytes out;
      ByteWriter(out).varint(value);
      EXPECT_LE(out.size(), 10u);
      ByteReader reader(out);
      EXPECT_EQ(reader.varint(), value);
      EXPECT_TRUE(reader.ok() && reader.at_end());
    }
  }
}

TEST(Varint, known_bytes) {
  Bytes out;
  ByteWriter(out).varint(300);
  EXPECT_EQ(out, (Bytes{0xac, 0x02}));
}

TEST(Varint, that_does_not_fit_or_end_is_refused) {
  const Bytes too_large = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
  const Bytes too_long = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
  const Bytes cut_off = {0x80, 0x80};
  for (const Bytes& bytes : {too_large, too_long, cut_off, Bytes{}}) {
    ByteReader reader(bytes);
    EXPECT_EQ(reader.varint(), 0u);
    EXPECT_FALSE(reader.ok());
  }
  const Bytes largest = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
  ByteReader reader(largest);
  EXPECT_EQ(reader.varint(), std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReader, failure_is_sticky_and_reads_zero) {
  const Bytes three = {1, 2, 3};
  ByteReader reader(three);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u32(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.u8(), 0) << "although bytes were left";
  EXPECT_TRUE(reader.bytes(1).empty());
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, text_longer_than_what_is_left_fails) {
  const Bytes claims_five = {5, 'a', 'b'};
  ByteReader reader(claims_five);
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.ok());
  const Bytes claims_all = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a'};
  ByteReader greedy(claims_all);
  EXPECT_EQ(greedy.text(), "");
  EXPECT_FALSE(greedy.ok());
}

TEST(ByteReader, empty_takes_are_fine_at_the_end) {
  ByteReader reader(ByteView{});
  EXPECT_TRUE(reader.bytes(0).empty());
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.at_end());
}

}  // namespace
}  // namespace lifeboat
