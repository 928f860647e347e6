#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "codec/codec.h"
#include "codec/openssl.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::codec {

// RFC 5869. One output block is exactly the 32 bytes wanted, so expansion is a single HMAC over info ‖ 0x01.
SecretKey hkdf(const SecretKey& key, ByteView salt, std::string_view info) {
  Digest256 extracted = hmac_sha256(salt, key.view());
  Bytes expand;
  ByteWriter writer(expand);
  writer.bytes(as_bytes(info));
  writer.u8(1);
  Digest256 derived = hmac_sha256(extracted, expand);
  SecretKey result{ByteView(derived)};
  OPENSSL_cleanse(extracted.data(), extracted.size());
  OPENSSL_cleanse(derived.data(), derived.size());
  return result;
}

Result<SecretKey> scrypt(ByteView passphrase, ByteView salt, int log2_n) {
  constexpr uint64_t kBlockSize = 8;
  constexpr uint64_t kParallel = 1;
  // The cost comes out of a stored key slot: bounded, so that a damaged slot cannot ask for all memory (1 GiB
  // here).
  if (log2_n < 1 || log2_n > 20) {
    return make_error(ErrorKind::damaged, "key slot",
                      cat("scrypt cost 2^", log2_n, " is outside 2^1 to 2^20"));
  }
  internal::init_openssl();
  uint64_t n = uint64_t{1} << log2_n;
  uint64_t memory = 128 * kBlockSize * (n + kParallel + 2) + (1 << 20);
  std::array<uint8_t, SecretKey::kSize> derived;
  int done = EVP_PBE_scrypt(reinterpret_cast<const char*>(passphrase.data()), passphrase.size(), salt.data(),
                            salt.size(), n, kBlockSize, kParallel, memory, derived.data(), derived.size());
  if (done != 1) {
    return make_error(ErrorKind::failed, "key derivation",
                      cat("scrypt failed; it needs ", format_bytes(memory), " of memory"));
  }
  SecretKey key{ByteView(derived)};
  OPENSSL_cleanse(derived.data(), derived.size());
  return key;
}

}  // namespace lifeboat::codec
