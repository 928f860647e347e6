// wal_oracle_test.cc verifies every page of live clusters; here are the rules one by one.
#include "pg/format/page.h"

#include <gtest/gtest.h>

#include <random>

#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// Block 0 of a table with two rows, written by PostgreSQL 15 with checksums: the bytes that are not zero.
Bytes golden_page() {
  Bytes page(8192);
  for (auto [offset, hex] : std::vector<std::pair<size_t, const char*>>{
           {0, "00000000e8910203607f00002000c01f0020042000000000e09f4000c09f40"},
           {8121, "00000000000000d802"},
           {8137, "000000000000000200020002081800020000000974776fd802"},
           {8169, "00000000000000010002000208180001000000096f6e65"}}) {
    Bytes bytes = from_hex(hex).value();
    std::copy(bytes.begin(), bytes.end(), page.begin() + static_cast<ptrdiff_t>(offset));
  }
  return page;
}

// The algorithm as its description reads, one word at a time.
uint16_t plain_checksum(Bytes page, uint32_t block) {
  page[8] = page[9] = 0;
  uint32_t sums[32] = {0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2,
                       0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C,
                       0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979,
                       0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
                       0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};
  auto mix = [&](size_t i, uint32_t value) {
    uint32_t mixed = sums[i] ^ value;
    sums[i] = mixed * 16777619u ^ (mixed >> 17);
  };
  for (size_t word = 0; word < page.size() / 4; ++word)
    mix(word % 32, load_le<uint32_t>(page.data() + word * 4));
  for (size_t i = 0; i < 64; ++i) mix(i % 32, 0);
  uint32_t result = block;
  for (uint32_t sum : sums) result ^= sum;
  return static_cast<uint16_t>(result % 65535 + 1);
}

TEST(Page, written_by_postgresql_verifies) {
  Bytes page = golden_page();
  EXPECT_EQ(verify_page(page, 0), PageState::ok);
  PageHeader header = read_page_header(page);
  EXPECT_EQ(header.lsn, Lsn::parse("0/30291E8"));
  EXPECT_EQ(header.checksum, page_checksum(page, 0));
  EXPECT_EQ(header.lower, 32);
  EXPECT_EQ(header.upper, 8128);
  EXPECT_EQ(header.special, 8192);
  EXPECT_EQ(header.size, 8192);
  EXPECT_EQ(header.layout_version, 4);
}

TEST(Page, at_another_block_number_is_a_bad_checksum) {
  EXPECT_EQ(verify_page(golden_page(), 1), PageState::bad_checksum);
}

// The checksum has 16 bits, so one flip in 65,535 goes unseen; this page has 65,536 bits. Missed flips must
// be such collisions, which the plain algorithm has too.
TEST(Page, nearly_any_flipped_bit_is_found) {
  size_t missed = 0;
  for (size_t bit = 0; bit < 8192 * 8; ++bit) {
    Bytes page = golden_page();
    page[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    PageState state = verify_page(page, 0);
    ASSERT_NE(state, PageState::zero) << bit;
    if (state != PageState::ok) continue;
    ++missed;
    ASSERT_EQ(plain_checksum(page, 0), read_page_header(page).checksum) << bit;
  }
  EXPECT_LE(missed, 5u);
}

TEST(Page, a_torn_page_is_found) {  // T06
  Bytes old_page = golden_page();
  Bytes new_page = golden_page();
  store_le<uint32_t>(new_page.data() + 4, 0x04000000);  // a later LSN
  new_page[8191] ^= 1;
  store_le<uint16_t>(new_page.data() + 8, page_checksum(new_page, 0));
  ASSERT_EQ(verify_page(new_page, 0), PageState::ok);
  Bytes torn = new_page;
  std::copy(old_page.begin() + 4096, old_page.end(), torn.begin() + 4096);
  EXPECT_EQ(verify_page(torn, 0), PageState::bad_checksum);
  EXPECT_EQ(page_lsn(torn), page_lsn(new_page));
}

TEST(Page, all_zeros_is_valid_and_nearly_zeros_is_not) {  // T06
  Bytes page(8192);
  EXPECT_EQ(verify_page(page, 5), PageState::zero);
  EXPECT_EQ(verify_page_header(page), PageState::zero);
  for (size_t at : {0, 7, 20, 24, 4000, 8184, 8191}) {
    Bytes nearly = page;
    nearly[at] = 1;
    EXPECT_EQ(verify_page(nearly, 5), PageState::bad_header) << at;
    EXPECT_EQ(verify_page_header(nearly), PageState::bad_header) << at;
  }
}

TEST(Page, contradicting_header_fields_are_a_bad_header_although_the_checksum_is_right) {
  struct Case {
    size_t offset;
    uint16_t value;
  };
  for (Case c :
       {Case{10, 0x0008}, Case{12, 8129}, Case{14, 8193}, Case{16, 8120}, Case{16, 8200}, Case{16, 8190}}) {
    Bytes page = golden_page();
    store_le(page.data() + c.offset, c.value);
    store_le<uint16_t>(page.data() + 8, page_checksum(page, 0));
    EXPECT_EQ(verify_page(page, 0), PageState::bad_header) << c.offset;
    EXPECT_EQ(verify_page_header(page), PageState::bad_header) << c.offset;
  }
}

TEST(Page, without_checksums_only_the_header_counts) {
  Bytes page = golden_page();
  page[5000] ^= 4;
  EXPECT_EQ(verify_page(page, 0), PageState::bad_checksum);
  EXPECT_EQ(verify_page_header(page), PageState::ok);
}

TEST(Page, checksum_of_every_page_size_and_alignment_is_as_described) {  // T12
  std::mt19937 random(7);
  for (size_t size : {1024, 2048, 4096, 8192, 16384, 32768}) {
    ASSERT_TRUE(valid_page_size(size));
    for (int round = 0; round < 20; ++round) {
      Bytes page(size);
      for (uint8_t& byte : page) byte = static_cast<uint8_t>(random());
      auto block = static_cast<uint32_t>(random());
      Bytes shifted(1 + size);
      std::copy(page.begin(), page.end(), shifted.begin() + 1);
      ASSERT_EQ(page_checksum(page, block), plain_checksum(page, block)) << size;
      ASSERT_EQ(page_checksum(ByteView(shifted).subspan(1), block), plain_checksum(page, block)) << size;
    }
  }
  for (size_t size : {0, 512, 1000, 8191, 65536}) EXPECT_FALSE(valid_page_size(size));
}

TEST(IsAllZero, finds_a_single_bit_anywhere) {
  for (size_t size : {0, 1, 63, 64, 65, 200}) {
    Bytes bytes(size);
    EXPECT_TRUE(is_all_zero(bytes)) << size;
    for (size_t i = 0; i < size; ++i) {
      bytes[i] = 0x80;
      ASSERT_FALSE(is_all_zero(bytes)) << size << " " << i;
      bytes[i] = 0;
    }
  }
}

}  // namespace
}  // namespace lifeboat::pg
