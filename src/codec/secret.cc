#include <openssl/crypto.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <utility>
#include <vector>

#include "codec/codec.h"
#include "util/check.h"

namespace lifeboat::codec {

namespace {

// Keys live in pages of their own, so that the pages can be locked and left out of core files; a key per page
// would cost three system calls per object that is sealed. Pages are kept for the life of the process.
class KeyPages {
 public:
  static KeyPages& instance() {
    static auto* pages = new KeyPages;  // never destroyed: keys may outlive static destructors
    return *pages;
  }

  uint8_t* take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) add_page();
    uint8_t* slot = free_.back();
    free_.pop_back();
    return slot;
  }

  void give_back(uint8_t* slot) {
    OPENSSL_cleanse(slot, SecretKey::kSize);
    std::lock_guard lock(mutex_);
    free_.push_back(slot);
  }

 private:
  static constexpr size_t kPageSize = 4096;

  void add_page() {
    void* page = mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    // Both are hardening that a limit or an old kernel may refuse; the key is needed all the same.
    (void)madvise(page, kPageSize, MADV_DONTDUMP);
    (void)mlock(page, kPageSize);
    auto* bytes = static_cast<uint8_t*>(page);
    for (size_t at = 0; at < kPageSize; at += SecretKey::kSize) free_.push_back(bytes + at);
  }

  std::mutex mutex_;
  std::vector<uint8_t*> free_;  // wiped
};

}  // namespace

void random_bytes(MutableBytes out) {
  while (!out.empty()) {
    ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    CHECK(got > 0);
    out = out.subspan(static_cast<size_t>(got));
  }
}

SecretKey::SecretKey() : bytes_(KeyPages::instance().take()) {}

SecretKey::SecretKey(ByteView bytes) : SecretKey() {
  CHECK(bytes.size() == kSize);
  std::copy(bytes.begin(), bytes.end(), bytes_);
}

SecretKey SecretKey::random() {
  SecretKey key;
  random_bytes({key.bytes_, kSize});
  return key;
}

SecretKey::SecretKey(SecretKey&& other) noexcept : bytes_(std::exchange(other.bytes_, nullptr)) {}

SecretKey& SecretKey::operator=(SecretKey&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

SecretKey::~SecretKey() {
  if (bytes_ != nullptr) KeyPages::instance().give_back(bytes_);
}

SecretKey SecretKey::clone() const {
  return SecretKey(view());
}

ByteView SecretKey::view() const {
  CHECK(bytes_ != nullptr);
  return {bytes_, kSize};
}

void forbid_core_files() {
  rlimit none{0, 0};
  CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
  CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
}

}  // namespace lifeboat::codec
