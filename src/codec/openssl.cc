#include "codec/openssl.h"

#include "util/check.h"

namespace lifeboat::codec::internal {

void init_openssl() {
  static const int ready = OPENSSL_init_crypto(
      OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_NO_ADD_ALL_CIPHERS |
          OPENSSL_INIT_NO_ADD_ALL_DIGESTS | OPENSSL_INIT_NO_ATEXIT,
      nullptr);
  CHECK(ready == 1);
}

const EVP_CIPHER* aes_256_gcm() {
  init_openssl();
  static EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  CHECK(cipher != nullptr);
  return cipher;
}

}  // namespace lifeboat::codec::internal
