#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "codec/codec.h"
#include "codec/openssl.h"
#include "util/strings.h"

namespace lifeboat::codec {
namespace {

using Tag = std::array<uint8_t, kTagSize>;

Bytes counting(size_t count) {
  Bytes bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(i);
  return bytes;
}

Bytes bytes_of(std::string_view text) {
  ByteView view = as_bytes(text);
  return {view.begin(), view.end()};
}

// Test cases 13 and 14 of the GCM specification (McGrew and Viega), 256-bit zero key and zero nonce.
TEST(SealerWithKey, gcm_specification_vectors) {
  Sealer sealer{SecretKey()};
  Tag tag;
  sealer.seal(0, {}, {}, tag);
  EXPECT_EQ(to_hex(tag), "530f8afbc74536b9a963b4f1c4cb738b");
  Bytes text(16, 0);
  sealer.seal(0, {}, text, tag);
  EXPECT_EQ(to_hex(text), "cea7403d4d606b6e074ec5d3baf39d18");
  EXPECT_EQ(to_hex(tag), "d0d1c8a799996bf0265b98b5d48ab919");
}

// Long texts may go another way (wide_gcm.h). OpenSSL is asked for the same at one go, whatever the
// alignment.
TEST(SealerWithKey, long_texts_are_what_openssl_makes_of_them) {
  SecretKey key{counting(32)};
  Sealer sealer{key};
  Bytes associated = counting(64);
  for (size_t size : {size_t{100}, size_t{32767}, size_t{32768}, size_t{100'001}, size_t{1 << 20}}) {
    Bytes room = counting(size + 1);
    MutableBytes text = MutableBytes(room).subspan(1);
    Bytes plain(text.begin(), text.end());
    Tag tag;
    sealer.seal(7, associated, text, tag);

    std::array<uint8_t, 12> nonce{7};
    Bytes expected(size);
    Tag expected_tag;
    int length = 0;
    internal::CipherContext cipher(EVP_CIPHER_CTX_new());
    ASSERT_EQ(
        EVP_EncryptInit_ex(cipher.get(), internal::aes_256_gcm(), nullptr, key.view().data(), nonce.data()),
        1);
    ASSERT_EQ(EVP_EncryptUpdate(cipher.get(), nullptr, &length, associated.data(), 64), 1);
    ASSERT_EQ(EVP_EncryptUpdate(cipher.get(), expected.data(), &length, plain.data(), static_cast<int>(size)),
              1);
    uint8_t none[16];
    ASSERT_EQ(EVP_EncryptFinal_ex(cipher.get(), none, &length), 1);
    ASSERT_EQ(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, 16, expected_tag.data()), 1);
    EXPECT_TRUE(std::equal(text.begin(), text.end(), expected.begin())) << size;
    EXPECT_EQ(tag, expected_tag) << size;

    Bytes damaged(text.begin(), text.end());
    damaged[size / 2] ^= 1;
    EXPECT_FALSE(sealer.open(7, associated, damaged, tag)) << size;
    ASSERT_TRUE(sealer.open(7, associated, text, tag)) << size;
    EXPECT_TRUE(std::equal(text.begin(), text.end(), plain.begin())) << size;
  }
}

// Computed with Node's crypto module: nonce 08 07 06 05 04 03 02 01 00 00 00 00. Pins the nonce's byte order.
TEST(SealerWithKey, number_is_the_nonce_in_little_endian) {
  Sealer sealer{SecretKey(counting(32))};
  Bytes text = bytes_of("the quick brown fox jumps over the lazy dog");
  Tag tag;
  sealer.seal(0x0102030405060708, as_bytes("lifeboat"), text, tag);
  EXPECT_EQ(to_hex(text),
            "c3d71445e3330b097ebb8959b1e2f2ea5f2be1eea35e7995a90e1ce65b39251641689051339b3f72aa1d5d");
  EXPECT_EQ(to_hex(tag), "07026ddc5dde5c944f99c1d9ea3e02b2");
}

// associated ‖ number (u64 LE) ‖ text.
TEST(SealerWithoutKey, tag_is_the_hash_of_everything_and_text_stays_plain) {
  Sealer sealer;
  Bytes text = bytes_of("text");
  Tag tag;
  sealer.seal(0x0102030405060708, as_bytes("associated"), text, tag);
  EXPECT_EQ(as_text(text), "text");
  EXPECT_EQ(tag, hash128(as_bytes("associated\x08\x07\x06\x05\x04\x03\x02\x01text")));
}

class EverySealer : public testing::TestWithParam<bool> {
 protected:
  static Sealer make() { return GetParam() ? Sealer(SecretKey(counting(32))) : Sealer(); }
};
INSTANTIATE_TEST_SUITE_P(Keys, EverySealer, testing::Bool(),
                         [](const auto& suite) { return suite.param ? "with_key" : "without_key"; });

TEST_P(EverySealer, opens_what_it_sealed_in_any_order) {
  Sealer sealer = make();
  std::vector<Bytes> texts;
  std::vector<Tag> tags(5);
  for (size_t i = 0; i < 5; ++i) {
    texts.push_back(counting(i * 1000 + i));
    sealer.seal(i, as_bytes("frame"), texts[i], tags[i]);
  }
  for (size_t i : {4u, 0u, 2u, 2u, 1u, 3u}) {
    Bytes text = texts[i];
    ASSERT_TRUE(sealer.open(i, as_bytes("frame"), text, tags[i])) << i;
    EXPECT_EQ(text, counting(i * 1000 + i)) << i;
    sealer.seal(i, as_bytes("frame"), text, tags[i]);
    EXPECT_EQ(text, texts[i]) << "sealing again after opening";
  }
}

TEST_P(EverySealer, any_flipped_bit_is_found) {
  Sealer sealer = make();
  Bytes sealed = counting(67);
  Bytes associated = bytes_of("object 17");
  Tag tag;
  sealer.seal(9, associated, sealed, tag);

  auto opens = [&](uint64_t number, const Bytes& with, Bytes text, const Tag& expected) {
    return sealer.open(number, with, text, expected);
  };
  ASSERT_TRUE(opens(9, associated, sealed, tag));
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    Bytes damaged = sealed;
    damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(opens(9, associated, damaged, tag)) << "text bit " << bit;
  }
  for (size_t bit = 0; bit < tag.size() * 8; ++bit) {
    Tag damaged = tag;
    damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(opens(9, associated, sealed, damaged)) << "tag bit " << bit;
  }
  for (size_t bit = 0; bit < associated.size() * 8; ++bit) {
    Bytes damaged = associated;
    damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(opens(9, damaged, sealed, tag)) << "associated bit " << bit;
  }
  for (int bit = 0; bit < 64; ++bit) {
    EXPECT_FALSE(opens(9 ^ (uint64_t{1} << bit), associated, sealed, tag)) << "number bit " << bit;
  }
  EXPECT_FALSE(opens(9, associated, Bytes(sealed.begin(), sealed.end() - 1), tag));
  EXPECT_TRUE(opens(9, associated, sealed, tag)) << "a failure does not spoil the sealer";
}

TEST_P(EverySealer, can_be_moved) {
  Sealer sealer = make();
  Sealer moved = std::move(sealer);
  sealer = std::move(moved);
  Bytes text = counting(10);
  Tag tag;
  sealer.seal(1, {}, text, tag);
  EXPECT_TRUE(sealer.open(1, {}, text, tag));
}

TEST(SealerWithKey, other_key_does_not_open) {
  Sealer one{SecretKey::random()};
  Sealer two{SecretKey::random()};
  Bytes text = counting(100);
  Tag tag;
  one.seal(1, {}, text, tag);
  EXPECT_NE(text, counting(100));
  EXPECT_FALSE(two.open(1, {}, text, tag));
}

}  // namespace
}  // namespace lifeboat::codec
