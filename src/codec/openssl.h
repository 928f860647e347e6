// OpenSSL as the codec folder uses it: initialised once, lean, and an owner for its contexts.
//
// Start-up counts, because `wal push` is a process per WAL segment. The first fetch of a cipher from the
// default provider costs 0.5 ms; reading openssl.cnf, error strings and the legacy name tables would double
// that. SHA-256 goes through the low-level functions, which need no provider at all. (OpenSSL 3.0, statically
// linked.)
#pragma once

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <memory>

namespace lifeboat::codec::internal {

// Call before any other use of OpenSSL. Thread rule: any thread.
void init_openssl();

// AES-256-GCM of the default provider, fetched once per process.
const EVP_CIPHER* aes_256_gcm();

struct FreeCipherContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeCipherContext>;

}  // namespace lifeboat::codec::internal
