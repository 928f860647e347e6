// The kernel's side of a mount: requests as they come from /dev/fuse, and their answers (linux/fuse.h).
#pragma once

#include <linux/fuse.h>
#include <sys/stat.h>
#include <atomic>
#include <span>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <type_traits>

#include "util/bytes.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

struct FetchHands;

inline constexpr uint32_t kMostData = 1 << 20;            // of one read or write
inline constexpr size_t kRequestRoom = kMostData + 4096;  // headers before the data of a write

struct RequestBuffer {
  std::unique_ptr<uint8_t[]> bytes = std::make_unique_for_overwrite<uint8_t[]>(kRequestRoom);
  size_t size = 0;
};

// One request, taken apart.
struct Request {
  fuse_in_header header{};
  ByteView body;
  FetchHands* hands = nullptr;  // on a thread of the fetch pool
};
// `buffer` must outlive it.
Request read_request(const RequestBuffer& buffer, FetchHands* hands);

// The body's head as one of the kernel's structs, zeros where an older kernel's is shorter.
template <typename T>
T body_of(const Request& request) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  std::memcpy(&value, request.body.data(), std::min(sizeof value, request.body.size()));
  return value;
}

// A name that begins `from` bytes into the body; "" when there is none.
std::string_view name_at(const Request& request, size_t from);

fuse_attr to_attr(const struct stat& status);

// Thread rule: any thread.
class FuseConnection {
 public:
  explicit FuseConnection(Fd device) : device_(std::move(device)) {}
  int device() const { return device_.get(); }

  // Waits for a request; false once the tree is unmounted, or when a signal comes after `gives_up` was set.
  bool receive(RequestBuffer& buffer, const std::atomic<bool>& gives_up) const;
  // `error` is an errno. Every request but the few that have none is answered once.
  void answer(const Request& request, int error, std::initializer_list<ByteView> parts = {}) const {
    answer(request, error, std::span<const ByteView>(parts.begin(), parts.size()));
  }
  void answer(const Request& request, int error, std::span<const ByteView> parts) const;
  template <typename T>
  void answer_with(const Request& request, const T& value) const {
    answer(request, 0, {ByteView(reinterpret_cast<const uint8_t*>(&value), sizeof value)});
  }
  void answer_errno(const Request& request, int result) const { answer(request, result == 0 ? 0 : errno); }

  // Agrees on what both sides can do, and answers; true when files may be passed through (pass_through.h).
  // Error: unsupported, answered too.
  Result<bool> negotiate(const Request& request) const;

 private:
  Fd device_;
};

}  // namespace lifeboat::ops
