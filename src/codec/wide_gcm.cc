#include "codec/wide_gcm.h"

#include <openssl/crypto.h>

#include "util/check.h"

#ifdef LIFEBOAT_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

namespace lifeboat::codec::internal {

#ifdef LIFEBOAT_IPSEC_MB

namespace {

// Holds no more than pointers to the functions that fit this processor; shared by all threads. nullptr: none
// is better than OpenSSL's. Made at the first use: a third of a millisecond.
IMB_MGR* manager() {
  static IMB_MGR* const made = []() -> IMB_MGR* {
    if (!__builtin_cpu_supports("avx512f")) return nullptr;
    IMB_MGR* manager = alloc_mb_mgr(0);
    if (manager == nullptr) return nullptr;
    init_mb_mgr_auto(manager, nullptr);
    constexpr uint64_t kWide = IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ | IMB_FEATURE_AVX512_SKX;
    if ((manager->features & kWide) == kWide && imb_get_errno(manager) == 0) return manager;
    free_mb_mgr(manager);
    return nullptr;
  }();
  return made;
}

}  // namespace

struct WideGcm::State {
  alignas(64) gcm_key_data key;
  alignas(64) gcm_context_data context;
};

bool WideGcm::works() {
  return manager() != nullptr;
}

WideGcm::WideGcm(ByteView key) : state_(std::make_unique<State>()) {
  CHECK(works() && key.size() == kKeySize);
  IMB_AES256_GCM_PRE(manager(), key.data(), &state_->key);
}

WideGcm::~WideGcm() {
  OPENSSL_cleanse(state_.get(), sizeof *state_);
}

void WideGcm::seal(ByteView nonce, ByteView associated, MutableBytes text, MutableBytes tag) {
  CHECK(nonce.size() == kNonceSize && tag.size() == kTagSize);
  IMB_AES256_GCM_ENC(manager(), &state_->key, &state_->context, text.data(), text.data(), text.size(),
                     nonce.data(), associated.data(), associated.size(), tag.data(), tag.size());
}

void WideGcm::open(ByteView nonce, ByteView associated, MutableBytes text, MutableBytes tag) {
  CHECK(nonce.size() == kNonceSize && tag.size() == kTagSize);
  IMB_AES256_GCM_DEC(manager(), &state_->key, &state_->context, text.data(), text.data(), text.size(),
                     nonce.data(), associated.data(), associated.size(), tag.data(), tag.size());
}

#else

struct WideGcm::State {};
bool WideGcm::works() {
  return false;
}
WideGcm::WideGcm(ByteView) {
  CHECK(works());
}
WideGcm::~WideGcm() = default;
void WideGcm::seal(ByteView, ByteView, MutableBytes, MutableBytes) {}
void WideGcm::open(ByteView, ByteView, MutableBytes, MutableBytes) {}

#endif

}  // namespace lifeboat::codec::internal
