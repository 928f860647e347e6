#include <gtest/gtest.h>
#include <lz4.h>
#include <zstd.h>

#include <random>

#include "codec/codec.h"
#include "util/strings.h"

namespace lifeboat::codec {
namespace {

Bytes random_of(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

Bytes text_of(size_t size) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<uint8_t>("the boat on the lake "[(i * i / 7) % 21]);
  return bytes;
}

struct Stored {
  Compression used;
  Bytes bytes;
};

Stored compress(Compressor& compressor, const Bytes& plain) {
  Bytes out(Compressor::bound(plain.size()));
  auto [used, size] = compressor.compress(plain, out);
  out.resize(size);
  return {used, out};
}

bool comes_back(const Stored& stored, const Bytes& plain) {
  Bytes out(plain.size());
  return Decompressor().decompress(stored.used, stored.bytes, out).has_value() && out == plain;
}

ErrorKind kind_of(Compression compression, ByteView stored, size_t size) {
  Bytes out(size);
  Status status = Decompressor().decompress(compression, stored, out);
  return status ? ErrorKind::failed : status.error().kind;
}

TEST(Compression, names_round_trip) {
  for (auto compression : {Compression::none, Compression::zstd, Compression::lz4}) {
    EXPECT_EQ(parse_compression(to_string(compression)).value(), compression);
  }
  EXPECT_EQ(parse_compression("gzip").error().kind, ErrorKind::usage);
  EXPECT_EQ(parse_compression("").error().kind, ErrorKind::usage);
}

// Pages of encrypted or compressed values: random bytes, and what is alike on every page.
Bytes noise_of(size_t size, uint64_t seed) {
  Bytes bytes = random_of(size, seed);
  Bytes alike = text_of(1000);
  for (size_t at = 0; at + 8192 <= size; at += 8192) {
    std::copy(alike.begin(), alike.end(), bytes.begin() + static_cast<ptrdiff_t>(at));
  }
  return bytes;
}

size_t size_at_level(int level, const Bytes& plain) {
  Bytes out(Compressor::bound(plain.size()));
  return ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), level);
}

TEST(Compression, the_quick_way_is_taken_only_where_it_costs_no_size) {
  constexpr size_t kFrame = 256 << 10;
  Compressor compressor(Compression::zstd, 1);
  size_t quick = 0;
  for (int i = 0; i < 100; ++i) {
    Bytes noise = noise_of(kFrame, static_cast<uint64_t>(i));
    Stored stored = compress(compressor, noise);
    EXPECT_TRUE(comes_back(stored, noise));
    EXPECT_LE(stored.bytes.size(), size_at_level(1, noise) * 65 / 64);
    if (stored.bytes.size() == size_at_level(-1, noise) && stored.bytes.size() != size_at_level(1, noise))
      ++quick;
  }
  EXPECT_GT(quick, 80u);
  Bytes text = text_of(kFrame);
  ASSERT_GT(size_at_level(-1, text), size_at_level(1, text) * 65 / 64) << "a canary: this text is no test";
  for (int i = 0; i < 100; ++i) {
    Stored stored = compress(compressor, text);
    EXPECT_TRUE(comes_back(stored, text));
    EXPECT_EQ(stored.bytes.size(), size_at_level(1, text)) << i;
  }
}

// One worker compresses files of all kinds one after the other.
TEST(Compression, what_follows_noise_is_no_larger_for_it) {
  Compressor after_noise(Compression::zstd, 1);
  Compressor fresh(Compression::zstd, 1);
  (void)compress(after_noise, noise_of(256 << 10, 1));
  // Numbered rows: the ordinary level finds more in them than the quick one.
  Bytes rows;
  for (uint32_t i = 0; rows.size() < 256 << 10; ++i) {
    const std::string row =
        cat("row ", i, " of account ", i * 7919 % 1000, " has balance ", i * 31 % 977, ";");
    rows.insert(rows.end(), row.begin(), row.end());
  }
  EXPECT_EQ(compress(after_noise, rows).bytes.size(), compress(fresh, rows).bytes.size());
}

TEST(Compression, stored_numbers_are_fixed) {
  EXPECT_EQ(static_cast<int>(Compression::none), 0);
  EXPECT_EQ(static_cast<int>(Compression::zstd), 1);
  EXPECT_EQ(static_cast<int>(Compression::lz4), 2);
}

TEST(Compressor, everything_comes_back_at_every_level_and_size) {
  struct {
    Compression compression;
    int level;
  } const kSettings[] = {{Compression::none, 0},  {Compression::zstd, -7}, {Compression::zstd, -1},
                         {Compression::zstd, 1},  {Compression::zstd, 3},  {Compression::zstd, 19},
                         {Compression::zstd, 99}, {Compression::lz4, 0}};
  for (const auto& setting : kSettings) {
    Compressor compressor(setting.compression, setting.level);
    for (size_t size : {0u, 1u, 2u, 31u, 32u, 33u, 8192u, 262144u, 100001u}) {
      for (const Bytes& plain : {text_of(size), random_of(size, size), Bytes(size, 0)}) {
        Stored stored = compress(compressor, plain);
        EXPECT_TRUE(comes_back(stored, plain)) << to_string(setting.compression) << " " << size;
        EXPECT_LE(stored.bytes.size(), plain.size());
        if (stored.used != Compression::none) {
          EXPECT_EQ(stored.used, setting.compression);
        }
      }
    }
  }
}

TEST(Compressor, compressible_input_is_compressed) {
  for (auto compression : {Compression::zstd, Compression::lz4}) {
    Compressor compressor(compression, 1);
    Stored stored = compress(compressor, text_of(262144));
    EXPECT_EQ(stored.used, compression);
    EXPECT_LT(stored.bytes.size(), 262144u / 2);
  }
}

TEST(Compressor, random_input_is_stored_as_it_is) {
  for (auto compression : {Compression::zstd, Compression::lz4}) {
    Compressor compressor(compression, 1);
    Bytes plain = random_of(262144, 7);
    Stored stored = compress(compressor, plain);
    EXPECT_EQ(stored.used, Compression::none);
    EXPECT_EQ(stored.bytes, plain);
  }
}

// Random bytes with a compressible tail of growing size: the decision flips where 1/32 is saved.
TEST(Compressor, threshold_is_one_thirty_second) {
  Compressor compressor(Compression::zstd, 1);
  constexpr size_t kSize = 32768;
  int compressed = 0;
  int stored_plain = 0;
  for (size_t tail = 0; tail <= 4096; tail += 64) {
    Bytes plain = random_of(kSize, 3);
    std::fill(plain.end() - static_cast<ptrdiff_t>(tail), plain.end(), uint8_t{0});
    Stored stored = compress(compressor, plain);
    if (stored.used == Compression::none) {
      EXPECT_LT(tail, 1400u);  // zstd spends a little on the random part
      ++stored_plain;
    } else {
      EXPECT_LE(stored.bytes.size(), kSize - kSize / 32);
      EXPECT_GE(tail, 1024u);
      ++compressed;
    }
  }
  EXPECT_GT(compressed, 0);
  EXPECT_GT(stored_plain, 0);
}

TEST(Compressor, same_input_gives_same_bytes_whatever_came_before) {
  for (auto compression : {Compression::zstd, Compression::lz4}) {
    Compressor used(compression, 3);
    compress(used, text_of(200000));
    compress(used, random_of(1000, 1));
    Compressor fresh(compression, 3);
    EXPECT_EQ(compress(used, text_of(5000)).bytes, compress(fresh, text_of(5000)).bytes);
  }
}

TEST(CompressorDeathTest, too_little_room_is_a_bug) {
  Compressor compressor(Compression::zstd, 1);
  Bytes out(10);
  EXPECT_DEATH(compressor.compress(Bytes(100), out), "internal error");
}

TEST(Decompressor, wrong_plain_size_is_damage) {
  for (auto compression : {Compression::none, Compression::zstd, Compression::lz4}) {
    Compressor compressor(compression, 1);
    Stored stored = compress(compressor, text_of(10000));
    ASSERT_EQ(stored.used, compression);
    for (size_t size : {0u, 1u, 9999u, 10001u, 20000u}) {
      EXPECT_EQ(kind_of(compression, stored.bytes, size), ErrorKind::damaged)
          << to_string(compression) << size;
    }
  }
}

TEST(Decompressor, truncated_or_extended_input_is_damage) {
  for (auto compression : {Compression::none, Compression::zstd, Compression::lz4}) {
    Compressor compressor(compression, 1);
    Stored stored = compress(compressor, text_of(3000));
    ASSERT_EQ(stored.used, compression);
    for (size_t size = 0; size < stored.bytes.size(); ++size) {
      EXPECT_EQ(kind_of(compression, ByteView(stored.bytes).first(size), 3000), ErrorKind::damaged) << size;
    }
    Bytes longer = stored.bytes;
    longer.push_back(0);
    EXPECT_EQ(kind_of(compression, longer, 3000), ErrorKind::damaged);
  }
}

// ZSTD_decompressDCtx would accept all of these.
TEST(Decompressor, second_and_skippable_zstd_frames_are_damage) {
  Compressor compressor(Compression::zstd, 1);
  Bytes one = compress(compressor, text_of(3000)).bytes;
  const Bytes skippable = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0};
  Bytes empty_frame(64);
  empty_frame.resize(ZSTD_compress(empty_frame.data(), empty_frame.size(), nullptr, 0, 1));

  EXPECT_EQ(kind_of(Compression::zstd, skippable, 0), ErrorKind::damaged);
  for (const Bytes& extra : {one, skippable, empty_frame}) {
    Bytes joined = one;
    joined.insert(joined.end(), extra.begin(), extra.end());
    EXPECT_EQ(kind_of(Compression::zstd, joined, 3000), ErrorKind::damaged);
    EXPECT_EQ(kind_of(Compression::zstd, joined, 6000), ErrorKind::damaged);
  }
}

TEST(Decompressor, unknown_method_is_damage) {
  EXPECT_EQ(kind_of(static_cast<Compression>(3), Bytes(10), 10), ErrorKind::damaged);
  EXPECT_EQ(kind_of(static_cast<Compression>(255), {}, 0), ErrorKind::damaged);
}

// Seals keep such input away in practice; memory safety must not depend on them. Sanitizers watch this one.
TEST(Decompressor, flipped_bits_never_escape_the_buffers) {
  std::mt19937_64 random(11);
  for (auto compression : {Compression::zstd, Compression::lz4}) {
    Compressor compressor(compression, 1);
    Decompressor decompressor;
    Stored stored = compress(compressor, text_of(20000));
    int refused = 0;
    for (int round = 0; round < 2000; ++round) {
      Bytes damaged = stored.bytes;
      for (int flips = 0; flips < 1 + round % 4; ++flips) {
        damaged[random() % damaged.size()] ^= static_cast<uint8_t>(1 << random() % 8);
      }
      Bytes out(20000);
      if (!decompressor.decompress(compression, damaged, out)) ++refused;
    }
    EXPECT_GT(refused, 0);
    Bytes out(20000);
    EXPECT_TRUE(decompressor.decompress(compression, stored.bytes, out).has_value())
        << "usable after failures";
    EXPECT_EQ(out, text_of(20000));
  }
}

}  // namespace
}  // namespace lifeboat::codec
