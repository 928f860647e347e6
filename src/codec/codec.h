// Bytes in, bytes out: compression, authenticated encryption, hashing, key derivation. Stateless between
// calls but for reusable contexts, which belong to one thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::codec {

// --- hashing
// ------------------------------------------------------------------------------------------------- XXH3 with
// 128 bits, canonical (big-endian) byte order as xxHash's XXH128_canonicalFromHash. Finds damage, not
// forgery.
using Hash128 = std::array<uint8_t, 16>;
Hash128 hash128(ByteView bytes);
class Hasher128 {  // streaming form of hash128
 public:
  Hasher128();
  ~Hasher128();
  Hasher128(const Hasher128&) = delete;
  Hasher128& operator=(const Hasher128&) = delete;
  void reset();
  void update(ByteView bytes);
  Hash128 digest() const;

 private:
  void* state_;
};
// CRC-32C (Castagnoli) as PostgreSQL computes it for WAL and pg_control; hardware where the CPU has it.
// `crc` is the running value without the final inversion, begin with 0xffffffff and finish with ^ 0xffffffff.
uint32_t crc32c(uint32_t crc, ByteView bytes);
using Digest256 = std::array<uint8_t, 32>;
Digest256 sha256(ByteView bytes);
class Hasher256 {  // streaming form of sha256
 public:
  Hasher256();
  ~Hasher256();
  Hasher256(const Hasher256&) = delete;
  Hasher256& operator=(const Hasher256&) = delete;
  void update(ByteView bytes);
  Digest256 digest();  // once, as the last call

 private:
  struct State;
  std::unique_ptr<State> state_;
};
Digest256 hmac_sha256(ByteView key, ByteView message);

// --- randomness and secrets
// ------------------------------------------------------------------------------------
void random_bytes(MutableBytes out);  // getrandom(2); never fails on a supported kernel

// 32 bytes that are excluded from core files (MADV_DONTDUMP), locked where allowed, and wiped on destruction.
class SecretKey {
 public:
  static constexpr size_t kSize = 32;
  SecretKey();                         // zeros
  explicit SecretKey(ByteView bytes);  // CHECKs the size
  static SecretKey random();
  SecretKey(SecretKey&&) noexcept;
  SecretKey& operator=(SecretKey&&) noexcept;
  ~SecretKey();
  SecretKey clone() const;
  ByteView view() const;

 private:
  uint8_t* bytes_;
};
// Keeps secrets out of core files and from other processes of the same user: RLIMIT_CORE 0, PR_SET_DUMPABLE
// 0.
void forbid_core_files();

// HKDF-SHA256 (RFC 5869), 32 bytes out.
SecretKey hkdf(const SecretKey& key, ByteView salt, std::string_view info);
// scrypt (RFC 7914) with r = 8, p = 1; `log2_n` 16 costs 64 MiB and about 0.15 s.
Result<SecretKey> scrypt(ByteView passphrase, ByteView salt, int log2_n);

// --- sealing: AES-256-GCM, or XXH3-128 when there is no key
// -------------------------------------------------------
inline constexpr size_t kTagSize = 16;

// Seals and opens byte strings in place. With a key: AES-256-GCM, 96-bit nonce = `number` as 12 bytes
// little-endian, `associated` authenticated too. Without: the tag is XXH3-128 over associated ‖ number (u64
// LE) ‖ text. One per thread; making one with a key costs a key schedule, so keep it for a whole object.
class Sealer {
 public:
  Sealer();  // without encryption
  explicit Sealer(const SecretKey& key);
  Sealer(Sealer&&) noexcept;
  Sealer& operator=(Sealer&&) noexcept;
  ~Sealer();
  // Encrypts `text` in place and writes the tag.
  void seal(uint64_t number, ByteView associated, MutableBytes text, std::span<uint8_t, kTagSize> tag);
  // Decrypts `text` in place; false when the tag does not match (text is then garbage and must not be used).
  [[nodiscard]] bool open(uint64_t number, ByteView associated, MutableBytes text,
                          std::span<const uint8_t, kTagSize> tag);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// --- compression
// -------------------------------------------------------------------------------------------------
enum class Compression : uint8_t { none = 0, zstd = 1, lz4 = 2 };  // numbers are stored: docs/format.md
std::string_view to_string(Compression compression);
Result<Compression> parse_compression(std::string_view text);

// One per thread. Adaptive: input that does not shrink by at least 1/32 is stored as it is, and where zstd's
// quick way is as small as the level asked for, as inputs before showed, it takes that.
class Compressor {
 public:
  Compressor(Compression compression, int level);  // level: zstd -7 … 19; ignored by lz4 and none
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;
  ~Compressor();
  static size_t bound(size_t plain_size);  // room that compress() needs in `out`
  // Writes to `out`, returns how it was stored and how many bytes. CHECKs that out has bound(plain.size()).
  struct Outcome {
    Compression used;
    size_t size;
  };
  Outcome compress(ByteView plain, MutableBytes out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Decompressor {
 public:
  Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;
  ~Decompressor();
  // `out` has exactly the plain size; anything else in `stored` (too long, too short, malformed, an unknown
  // `compression`) is `damaged`. Never reads or writes out of bounds on hostile input.
  Status decompress(Compression compression, ByteView stored, MutableBytes out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lifeboat::codec
