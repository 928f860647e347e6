#include "ops/mount/fuse_connection.h"

#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "ops/mount/pass_through.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint16_t kBackground = 64;  // requests of the kernel's read-ahead under way
constexpr uint32_t kLeastMinor = 31;  // Linux 5.4

}  // namespace

Request read_request(const RequestBuffer& buffer, FetchHands* hands) {
  Request request;
  std::memcpy(&request.header, buffer.bytes.get(), sizeof request.header);
  request.body = ByteView(buffer.bytes.get(), buffer.size).subspan(sizeof request.header);
  request.hands = hands;
  return request;
}

std::string_view name_at(const Request& request, size_t from) {
  if (from >= request.body.size()) return "";
  std::string_view rest = as_text(request.body.subspan(from));
  return rest.substr(0, rest.find('\0'));
}

fuse_attr to_attr(const struct stat& status) {
  fuse_attr attr{};
  attr.ino = status.st_ino;
  attr.size = static_cast<uint64_t>(status.st_size);
  attr.blocks = static_cast<uint64_t>(status.st_blocks);
  attr.atime = static_cast<uint64_t>(status.st_atim.tv_sec);
  attr.mtime = static_cast<uint64_t>(status.st_mtim.tv_sec);
  attr.ctime = static_cast<uint64_t>(status.st_ctim.tv_sec);
  attr.atimensec = static_cast<uint32_t>(status.st_atim.tv_nsec);
  attr.mtimensec = static_cast<uint32_t>(status.st_mtim.tv_nsec);
  attr.ctimensec = static_cast<uint32_t>(status.st_ctim.tv_nsec);
  attr.mode = status.st_mode;
  attr.nlink = static_cast<uint32_t>(status.st_nlink);
  attr.uid = status.st_uid;
  attr.gid = status.st_gid;
  attr.rdev = static_cast<uint32_t>(status.st_rdev);
  attr.blksize = static_cast<uint32_t>(status.st_blksize);
  return attr;
}

bool FuseConnection::receive(RequestBuffer& buffer, const std::atomic<bool>& gives_up) const {
  while (!gives_up) {
    ssize_t size = read(device_.get(), buffer.bytes.get(), kRequestRoom);
    if (size < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
    if (size < static_cast<ssize_t>(sizeof(fuse_in_header))) return false;  // ENODEV: unmounted
    buffer.size = static_cast<size_t>(size);
    return true;
  }
  return false;
}

void FuseConnection::answer(const Request& request, int error, std::span<const ByteView> parts) const {
  fuse_out_header header{};
  header.unique = request.header.unique;
  header.error = -error;
  std::vector<iovec> vectors;
  vectors.reserve(1 + parts.size());
  vectors.push_back({&header, sizeof header});
  size_t size = sizeof header;
  for (ByteView part : parts) {
    vectors.push_back({const_cast<uint8_t*>(part.data()), part.size()});
    size += part.size();
  }
  header.len = static_cast<uint32_t>(size);
  // ENOENT: the request was interrupted; ENODEV: the tree was unmounted. Nobody waits in either case.
  (void)!writev(device_.get(), vectors.data(), static_cast<int>(vectors.size()));
}

Result<bool> FuseConnection::negotiate(const Request& request) const {
  auto in = body_of<fuse_init_in>(request);
  if (in.major != FUSE_KERNEL_VERSION || in.minor < kLeastMinor) {
    answer(request, EPROTO);
    return make_error(
        ErrorKind::unsupported, "/dev/fuse",
        cat("the kernel speaks FUSE ", in.major, ".", in.minor, ", at least 7.", kLeastMinor, " is needed"));
  }
  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = FUSE_KERNEL_MINOR_VERSION;
  out.max_readahead = in.max_readahead;
  // No writeback cache: a write is in the file below when it returns. No atomic O_TRUNC: a truncation comes
  // as one.
  constexpr uint32_t kWanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS |
                               FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA;
  out.flags = in.flags & kWanted;
  const bool passes = (in.flags & kFuseInitExt) != 0 && (in.flags2 & kFusePassThroughFlag2) != 0;
  if (passes) {
    out.flags |= kFuseInitExt;
    out.flags2 = kFusePassThroughFlag2;
    out.unused[0] = kStackDepth;  // max_stack_depth
  }
  out.max_background = kBackground;
  out.congestion_threshold = kBackground * 3 / 4;
  out.max_write = kMostData;
  out.max_pages = static_cast<uint16_t>(kMostData / static_cast<uint32_t>(sysconf(_SC_PAGESIZE)));
  out.time_gran = 1;
  answer_with(request, out);
  return passes;
}

}  // namespace lifeboat::ops
