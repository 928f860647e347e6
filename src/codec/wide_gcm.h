// AES-256-GCM with 512-bit vectors, by intel-ipsec-mb: three times the rate of OpenSSL 3.0, which knows
// AES-NI only (docs/decisions/0005). The bytes are the same. On other processors, and where the library was
// not there at build time, works() is false and OpenSSL does it.
#pragma once

#include <memory>

#include "util/bytes.h"

namespace lifeboat::codec::internal {

// Thread rule: as Sealer, one per thread.
class WideGcm {
 public:
  static constexpr size_t kKeySize = 32;
  static constexpr size_t kNonceSize = 12;
  static constexpr size_t kTagSize = 16;
  static bool works();
  explicit WideGcm(ByteView key);  // CHECKs works() and the size
  ~WideGcm();                      // the key schedule is wiped
  WideGcm(const WideGcm&) = delete;
  WideGcm& operator=(const WideGcm&) = delete;

  void seal(ByteView nonce, ByteView associated, MutableBytes text, MutableBytes tag);
  // Decrypts and writes the tag that would be right; the caller compares.
  void open(ByteView nonce, ByteView associated, MutableBytes text, MutableBytes tag);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lifeboat::codec::internal
