#include <openssl/crypto.h>
#include <xxhash.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "codec/codec.h"
#include "codec/openssl.h"
#include "codec/wide_gcm.h"
#include "util/check.h"

namespace lifeboat::codec {

namespace {

constexpr size_t kNonceSize = 12;
constexpr size_t kWideFrom = 32 << 10;
// EVP counts in int.
constexpr size_t kLargestStep = 1u << 30;

enum class Direction : int { open = 0, seal = 1 };

void feed(EVP_CIPHER_CTX* context, uint8_t* out, ByteView in) {
  while (!in.empty()) {
    size_t step = std::min(in.size(), kLargestStep);
    int written = 0;
    CHECK(EVP_CipherUpdate(context, out, &written, in.data(), static_cast<int>(step)) == 1);
    CHECK(static_cast<size_t>(written) == step);
    in = in.subspan(step);
    if (out != nullptr) out += step;
  }
}

}  // namespace

// With a key, `cipher` holds its schedule and only the nonce is set per call; without, `hasher` does the
// work.
struct Sealer::Impl {
  internal::CipherContext cipher;
  std::optional<SecretKey> key;
  std::unique_ptr<internal::WideGcm> wide;
  Hasher128 hasher;

  // nullptr: OpenSSL does it. What is short is not worth the first use of the other library.
  internal::WideGcm* wide_for(ByteView text) {
    if (text.size() < kWideFrom) return nullptr;
    if (wide == nullptr && internal::WideGcm::works())
      wide = std::make_unique<internal::WideGcm>(key->view());
    return wide.get();
  }

  static std::array<uint8_t, kNonceSize> nonce_of(uint64_t number) {
    std::array<uint8_t, kNonceSize> nonce{};
    store_le(nonce.data(), number);
    return nonce;
  }

  void start(Direction direction, uint64_t number, ByteView associated) {
    std::array<uint8_t, kNonceSize> nonce = nonce_of(number);
    CHECK(EVP_CipherInit_ex(cipher.get(), nullptr, nullptr, nullptr, nonce.data(),
                            static_cast<int>(direction)) == 1);
    feed(cipher.get(), nullptr, associated);
  }

  Hash128 hash(uint64_t number, ByteView associated, ByteView text) {
    std::array<uint8_t, 8> raw;
    store_le(raw.data(), number);
    hasher.reset();
    hasher.update(associated);
    hasher.update(raw);
    hasher.update(text);
    return hasher.digest();
  }
};

Sealer::Sealer() : impl_(std::make_unique<Impl>()) {}

Sealer::Sealer(const SecretKey& key) : Sealer() {
  impl_->cipher.reset(EVP_CIPHER_CTX_new());
  CHECK(impl_->cipher != nullptr);
  impl_->key = key.clone();
  CHECK(EVP_CipherInit_ex(impl_->cipher.get(), internal::aes_256_gcm(), nullptr, key.view().data(), nullptr,
                          1) == 1);
}

Sealer::Sealer(Sealer&&) noexcept = default;
Sealer& Sealer::operator=(Sealer&&) noexcept = default;
Sealer::~Sealer() = default;

void Sealer::seal(uint64_t number, ByteView associated, MutableBytes text, std::span<uint8_t, kTagSize> tag) {
  EVP_CIPHER_CTX* cipher = impl_->cipher.get();
  if (cipher == nullptr) {
    Hash128 hash = impl_->hash(number, associated, text);
    std::copy(hash.begin(), hash.end(), tag.begin());
    return;
  }
  if (internal::WideGcm* wide = impl_->wide_for(text)) {
    wide->seal(Impl::nonce_of(number), associated, text, tag);
    return;
  }
  impl_->start(Direction::seal, number, associated);
  feed(cipher, text.data(), text);
  int written = 0;
  uint8_t none[kTagSize];
  CHECK(EVP_CipherFinal_ex(cipher, none, &written) == 1 && written == 0);
  CHECK(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, kTagSize, tag.data()) == 1);
}

bool Sealer::open(uint64_t number, ByteView associated, MutableBytes text,
                  std::span<const uint8_t, kTagSize> tag) {
  EVP_CIPHER_CTX* cipher = impl_->cipher.get();
  if (cipher == nullptr) {
    Hash128 hash = impl_->hash(number, associated, text);
    return std::equal(hash.begin(), hash.end(), tag.begin());
  }
  std::array<uint8_t, kTagSize> expected;
  if (internal::WideGcm* wide = impl_->wide_for(text)) {
    wide->open(Impl::nonce_of(number), associated, text, expected);
    return CRYPTO_memcmp(expected.data(), tag.data(), kTagSize) == 0;
  }
  impl_->start(Direction::open, number, associated);
  feed(cipher, text.data(), text);
  std::copy(tag.begin(), tag.end(), expected.begin());
  CHECK(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, kTagSize, expected.data()) == 1);
  int written = 0;
  uint8_t none[kTagSize];
  return EVP_CipherFinal_ex(cipher, none, &written) == 1;
}

}  // namespace lifeboat::codec
