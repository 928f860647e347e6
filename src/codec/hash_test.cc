#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>

#include "codec/codec.h"
#include "codec/crc32c.h"
#include "util/strings.h"

namespace lifeboat::codec {
namespace {

// The buffer over which xxHash's own sanity check publishes its answers (cli/xsum_sanity_check.c).
Bytes xxhash_sanity_buffer(size_t size) {
  Bytes bytes(size);
  uint64_t state = 2654435761u;
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(state >> 56);
    state *= 11400714785074694797ull;
  }
  return bytes;
}

TEST(Hash128, is_xxh3_with_128_bits_in_canonical_order) {
  EXPECT_EQ(to_hex(hash128({})), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(to_hex(hash128(as_bytes("a"))), "a96faf705af16834e6c632b61e964e1f");
  EXPECT_EQ(to_hex(hash128(as_bytes("abc"))), "06b05ab6733a618578af5f94892f3950");
  struct {
    size_t size;
    const char* hash;
  } const kVectors[] = {
      {1, "a6cd5e9392000f6ac44bdff4074eecdb"},   {9, "564ef6078950d457ed7ccbc501eb7501"},
      {17, "955fa78643ed3669abbc12d11973d7db"},  {129, "03815fc91f1b30b686c9e3bc8f0a3b5c"},
      {241, "99a80ecf0ecfc647c5a639ecd2030e5e"}, {512, "18d2d110dcc9bca1617e49599013cb6b"},
  };
  for (const auto& vector : kVectors) {
    EXPECT_EQ(to_hex(hash128(xxhash_sanity_buffer(vector.size))), vector.hash) << vector.size;
  }
}

TEST(Hash128, streaming_in_any_pieces_equals_one_shot) {
  Bytes bytes = xxhash_sanity_buffer(5000);
  Hasher128 hasher;
  for (size_t step : {1u, 7u, 63u, 64u, 1024u, 4999u, 5000u}) {
    hasher.reset();
    hasher.update({});
    for (size_t at = 0; at < bytes.size(); at += step) {
      hasher.update(ByteView(bytes).subspan(at, std::min(step, bytes.size() - at)));
    }
    EXPECT_EQ(hasher.digest(), hash128(bytes)) << step;
    EXPECT_EQ(hasher.digest(), hash128(bytes)) << "asking twice";
  }
}

// RFC 3720, B.4, and the usual check value.
TEST(Crc32c, known_answers_in_both_implementations) {
  Bytes zeros(32, 0);
  Bytes ones(32, 0xff);
  Bytes rising(32);
  Bytes falling(32);
  for (uint8_t i = 0; i < 32; ++i) {
    rising[i] = i;
    falling[i] = static_cast<uint8_t>(31 - i);
  }
  std::vector<std::pair<ByteView, uint32_t>> vectors = {
      {as_bytes("123456789"), 0xe3069283},
      {zeros, 0x8a9136aa},
      {ones, 0x62a8ab43},
      {rising, 0x46dd794e},
      {falling, 0x113fdb5c},
      {{}, 0},
  };
  for (const auto& [bytes, expected] : vectors) {
    EXPECT_EQ(crc32c(0xffffffff, bytes) ^ 0xffffffff, expected);
    EXPECT_EQ(internal::crc32c_table(0xffffffff, bytes) ^ 0xffffffff, expected);
    if (internal::crc32c_hardware_works()) {
      EXPECT_EQ(internal::crc32c_hardware(0xffffffff, bytes) ^ 0xffffffff, expected);
    }
  }
}

TEST(Crc32c, streams_are_joined_right) {
  if (!internal::crc32c_hardware_works()) GTEST_SKIP() << "no SSE 4.2";
  Bytes bytes = xxhash_sanity_buffer(20'000);
  for (size_t size : {size_t{3071}, size_t{3072}, size_t{3073}, size_t{6144}, size_t{9999}, size_t{20'000}}) {
    ByteView view = ByteView(bytes).first(size);
    EXPECT_EQ(internal::crc32c_hardware(0xffffffff, view), internal::crc32c_table(0xffffffff, view)) << size;
    EXPECT_EQ(internal::crc32c_hardware(0, view.subspan(1)), internal::crc32c_table(0, view.subspan(1)))
        << size;
  }
}

TEST(Hash128, wide_vectors_make_the_same_hash) {
  Bytes bytes = xxhash_sanity_buffer(300'000);
  for (size_t size :
       {size_t{1023}, size_t{1024}, size_t{1025}, size_t{4096}, size_t{100'003}, size_t{300'000}}) {
    XXH128_canonical_t expected;
    XXH128_canonicalFromHash(&expected, XXH3_128bits(bytes.data(), size));
    ByteView view = ByteView(bytes).first(size);
    Hash128 hash = hash128(view);
    EXPECT_TRUE(std::equal(hash.begin(), hash.end(), expected.digest)) << size;
    Hasher128 hasher;
    hasher.update(view.first(size / 3));
    hasher.update(view.subspan(size / 3));
    EXPECT_EQ(hasher.digest(), hash) << size;
  }
}

TEST(Crc32c, continues_over_pieces_at_any_alignment) {
  Bytes bytes = xxhash_sanity_buffer(4096);
  uint32_t whole = crc32c(0xffffffff, bytes);
  for (size_t cut = 0; cut < 40; ++cut) {
    uint32_t first = crc32c(0xffffffff, ByteView(bytes).first(cut));
    EXPECT_EQ(crc32c(first, ByteView(bytes).subspan(cut)), whole) << cut;
    uint32_t by_table = internal::crc32c_table(0xffffffff, ByteView(bytes).first(cut));
    EXPECT_EQ(internal::crc32c_table(by_table, ByteView(bytes).subspan(cut)), whole) << cut;
  }
}

TEST(Sha256, known_answers) {
  EXPECT_EQ(to_hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256(as_bytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Hasher256, pieces_of_any_size_give_the_hash_of_the_whole) {
  Bytes bytes(1000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7);
  for (size_t piece : {1u, 63u, 64u, 65u, 1000u}) {
    Hasher256 hasher;
    for (size_t at = 0; at < bytes.size(); at += piece)
      hasher.update(ByteView(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    EXPECT_EQ(hasher.digest(), sha256(bytes)) << piece;
  }
}

// RFC 4231: cases 1, 2 and 6 (a key longer than a block).
TEST(HmacSha256, known_answers) {
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(20, 0x0b), as_bytes("Hi There"))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(131, 0xaa),
                               as_bytes("Test Using Larger Than Block-Size Key - Hash Key First"))),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

}  // namespace
}  // namespace lifeboat::codec
