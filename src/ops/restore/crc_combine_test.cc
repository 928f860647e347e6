#include "ops/restore/crc_combine.h"

#include <gtest/gtest.h>

#include <random>

#include "codec/codec.h"

namespace lifeboat::ops {
namespace {

uint32_t crc_of(ByteView bytes) {
  return codec::crc32c(0xffffffff, bytes) ^ 0xffffffff;
}

TEST(Crc32cCombine, parts_of_any_length_give_the_checksum_of_the_whole) {
  std::mt19937 chance(1);
  for (int round = 0; round < 200; ++round) {
    Bytes whole(chance() % 5000);
    for (uint8_t& byte : whole) byte = static_cast<uint8_t>(chance());
    size_t cut = whole.empty() ? 0 : chance() % (whole.size() + 1);
    ByteView a = ByteView(whole).first(cut);
    ByteView b = ByteView(whole).subspan(cut);
    EXPECT_EQ(crc32c_combine(crc_of(a), crc_of(b), b.size()), crc_of(whole));
  }
}

TEST(Crc32cCombine, nothing_is_neutral_on_both_sides) {
  Bytes text = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
  ASSERT_EQ(crc_of(text), 0xE3069283u);  // the check value of CRC-32C
  EXPECT_EQ(crc32c_combine(crc_of({}), crc_of(text), text.size()), crc_of(text));
  EXPECT_EQ(crc32c_combine(crc_of(text), crc_of({}), 0), crc_of(text));
}

TEST(Crc32cCombine, lengths_past_32_bits_wrap_nothing) {
  // 2^33 zero bytes, added in two ways.
  uint32_t one = 0x12345678;
  uint32_t zeros = crc_of(Bytes(4096));
  uint64_t length = 4096;
  for (; length < (uint64_t{1} << 33); length *= 2) zeros = crc32c_combine(zeros, zeros, length);
  uint32_t at_once = crc32c_combine(one, zeros, length);
  uint32_t half = 0;
  {
    uint32_t z = crc_of(Bytes(4096));
    uint64_t n = 4096;
    for (; n < (uint64_t{1} << 32); n *= 2) z = crc32c_combine(z, z, n);
    half = crc32c_combine(crc32c_combine(one, z, n), z, n);
  }
  EXPECT_EQ(at_once, half);
}

}  // namespace
}  // namespace lifeboat::ops
