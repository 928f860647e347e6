// The low-level SHA-256 functions are marked deprecated because they bypass OpenSSL's providers; here that is
// the point: they cost no provider start-up (openssl.h).
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <xxhash.h>

#include <algorithm>

#include "codec/codec.h"
#include "codec/wide_hash.h"
#include "util/check.h"

namespace lifeboat::codec {

namespace {

Hash128 canonical(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  Hash128 result;
  std::copy_n(bytes.digest, result.size(), result.begin());
  return result;
}

// Short inputs take another way through XXH3, which vectors do not change.
constexpr size_t kWideFrom = 1024;

bool wide() {
  static const bool works = internal::wide_hash_works();
  return works;
}

XXH3_state_t* xxh(void* state) {
  return static_cast<XXH3_state_t*>(state);
}

}  // namespace

Hash128 hash128(ByteView bytes) {
  if (wide() && bytes.size() >= kWideFrom) {
    Hash128 result;
    internal::wide_hash128(bytes.data(), bytes.size(), result.data());
    return result;
  }
  return canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

Hasher128::Hasher128() : state_(XXH3_createState()) {
  CHECK(state_ != nullptr);
  reset();
}

Hasher128::~Hasher128() {
  XXH3_freeState(xxh(state_));
}

void Hasher128::reset() {
  CHECK(XXH3_128bits_reset(xxh(state_)) == XXH_OK);
}

void Hasher128::update(ByteView bytes) {
  if (bytes.empty()) return;  // a null pointer is an error to xxHash 0.8.1 even with length zero
  if (wide() && bytes.size() >= kWideFrom) {
    CHECK(internal::wide_hash128_update(state_, bytes.data(), bytes.size()));
    return;
  }
  CHECK(XXH3_128bits_update(xxh(state_), bytes.data(), bytes.size()) == XXH_OK);
}

Hash128 Hasher128::digest() const {
  return canonical(XXH3_128bits_digest(xxh(state_)));
}

Digest256 sha256(ByteView bytes) {
  SHA256_CTX context;
  Digest256 digest;
  CHECK(SHA256_Init(&context) == 1 && SHA256_Update(&context, bytes.data(), bytes.size()) == 1 &&
        SHA256_Final(digest.data(), &context) == 1);
  return digest;
}

struct Hasher256::State {
  SHA256_CTX context;
};

Hasher256::Hasher256() : state_(std::make_unique<State>()) {
  CHECK(SHA256_Init(&state_->context) == 1);
}

Hasher256::~Hasher256() = default;

void Hasher256::update(ByteView bytes) {
  CHECK(SHA256_Update(&state_->context, bytes.data(), bytes.size()) == 1);
}

Digest256 Hasher256::digest() {
  Digest256 digest;
  CHECK(SHA256_Final(digest.data(), &state_->context) == 1);
  return digest;
}

// RFC 2104. Everything that was derived from the key is wiped, for keys and messages are secrets in kdf.cc.
Digest256 hmac_sha256(ByteView key, ByteView message) {
  std::array<uint8_t, SHA256_CBLOCK> block{};
  if (key.size() > block.size()) {
    Digest256 shorter = sha256(key);
    std::copy(shorter.begin(), shorter.end(), block.begin());
    OPENSSL_cleanse(shorter.data(), shorter.size());
  } else {
    std::copy(key.begin(), key.end(), block.begin());
  }

  SHA256_CTX context;
  Digest256 digest;
  for (uint8_t& byte : block) byte ^= 0x36;
  CHECK(SHA256_Init(&context) == 1 && SHA256_Update(&context, block.data(), block.size()) == 1 &&
        SHA256_Update(&context, message.data(), message.size()) == 1 &&
        SHA256_Final(digest.data(), &context) == 1);
  for (uint8_t& byte : block) byte ^= 0x36 ^ 0x5c;
  CHECK(SHA256_Init(&context) == 1 && SHA256_Update(&context, block.data(), block.size()) == 1 &&
        SHA256_Update(&context, digest.data(), digest.size()) == 1 &&
        SHA256_Final(digest.data(), &context) == 1);

  OPENSSL_cleanse(block.data(), block.size());
  OPENSSL_cleanse(&context, sizeof context);
  return digest;
}

}  // namespace lifeboat::codec
