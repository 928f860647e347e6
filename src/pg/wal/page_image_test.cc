#include "pg/wal/page_image.h"

#include <gtest/gtest.h>

#include <random>

#include "codec/codec.h"

namespace lifeboat::pg {
namespace {

constexpr uint32_t kPage = 8192;

Bytes text(std::string_view content) {
  return {content.begin(), content.end()};
}

WalBlock image_of(ByteView image, uint16_t hole_offset, uint16_t hole_length,
                  ImageCompression compression = ImageCompression::none) {
  WalBlock block;
  block.has_image = true;
  block.image = image;
  block.hole_offset = hole_offset;
  block.hole_length = hole_length;
  block.compression = compression;
  return block;
}

TEST(PageImage, gets_its_hole_back) {
  Bytes stored(kPage - 1000, 'x');
  auto page = restore_page_image(image_of(stored, 200, 1000), kPage);
  ASSERT_TRUE(page);
  ASSERT_EQ(page->size(), kPage);
  EXPECT_EQ((*page)[199], 'x');
  EXPECT_EQ((*page)[200], 0);
  EXPECT_EQ((*page)[1199], 0);
  EXPECT_EQ((*page)[1200], 'x');
}

TEST(PageImage, is_decompressed) {
  Bytes plain(kPage - 100, 'y');
  for (auto [ours, theirs] : {std::pair(codec::Compression::lz4, ImageCompression::lz4),
                              std::pair(codec::Compression::zstd, ImageCompression::zstd)}) {
    codec::Compressor compressor(ours, 1);
    Bytes stored(codec::Compressor::bound(plain.size()));
    auto done = compressor.compress(plain, stored);
    ASSERT_EQ(done.used, ours);
    stored.resize(done.size);
    auto page = restore_page_image(image_of(stored, 0, 100, theirs), kPage);
    ASSERT_TRUE(page) << page.error().to_string();
    EXPECT_EQ(page->back(), 'y');
  }
}

TEST(PageImage, that_makes_no_page_is_damaged) {
  Bytes stored(1000, 'x');
  EXPECT_FALSE(restore_page_image(WalBlock(), kPage));
  EXPECT_FALSE(restore_page_image(image_of(stored, 0, 0), kPage));
  EXPECT_FALSE(restore_page_image(image_of(stored, 8000, 1000), kPage));
  EXPECT_FALSE(restore_page_image(image_of(stored, 0, 0, ImageCompression::pglz), kPage));
}

// Control bytes say which of the eight items that follow are tags, lowest bit first.
TEST(Pglz, copies_what_was_before_and_what_is_being_copied) {
  Bytes stored = text(" abc");
  stored[0] = 0x08;  // three letters, then a tag: 3 back, 6 long
  stored.push_back(0x03);
  stored.push_back(0x03);
  EXPECT_EQ(pglz_decompress(stored, 9).value(), text("abcabcabc"));
  // One back and long: the length needs another byte.
  stored = {0x02, 'z', 0x0f, 0x01, 2};
  EXPECT_EQ(pglz_decompress(stored, 21).value(), Bytes(21, 'z'));
}

TEST(Pglz, hostile_bytes_are_refused_within_bounds) {
  EXPECT_FALSE(pglz_decompress(Bytes{0x01, 0x00, 0x05}, 10)) << "back before the beginning";
  EXPECT_FALSE(pglz_decompress(Bytes{0x01}, 10));
  EXPECT_FALSE(pglz_decompress(Bytes{0x00, 'a', 'b'}, 1)) << "more than a page";
  std::mt19937 random(5);
  for (int i = 0; i < 5000; ++i) {
    Bytes stored(random() % 300);
    for (uint8_t& byte : stored) byte = static_cast<uint8_t>(random());
    auto plain = pglz_decompress(stored, 500);
    EXPECT_TRUE(!plain || plain->size() == 500);
  }
}

}  // namespace
}  // namespace lifeboat::pg
