#include "ops/wal/delivery.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "util/fault.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr mode_t kFileMode = 0640;  // less the umask, which the server has set to 077 or 027
}  // namespace

Result<Delivery> Delivery::begin(std::string target) {
  Delivery delivery(std::move(target));
  auto unnamed = open_file(delivery.directory_, O_TMPFILE | O_WRONLY, kFileMode);
  if (unnamed) {
    delivery.fd_ = std::move(*unnamed);
    return delivery;
  }
  delivery.temporary_ = join_path(delivery.directory_, temporary_name());
  auto named = open_file(delivery.temporary_, O_CREAT | O_EXCL | O_WRONLY, kFileMode);
  if (!named) {
    delivery.temporary_.clear();
    return std::move(named).error();
  }
  delivery.fd_ = std::move(*named);
  return delivery;
}

Delivery::~Delivery() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status Delivery::finish() {
  uint64_t point = fault::point("get.sync");
  TRY(fsync_file(fd_.get(), target_));
  fault::passed(point);
  point = fault::point("get.name");
  TRY(name());
  fault::passed(point);
  return {};
}

Status Delivery::name() {
  if (temporary_.empty()) {
    std::string self = cat("/proc/self/fd/", fd_.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, target_.c_str(), AT_SYMLINK_FOLLOW) == 0)
      return fd_.close(target_);
    if (errno != EEXIST) return errno_error(errno, target_, "create");
    std::string temporary = join_path(directory_, temporary_name());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return errno_error(errno, temporary, "create");
    }
    temporary_ = std::move(temporary);
  }
  TRY(fd_.close(target_));
  uint64_t point = fault::point("get.replace");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) return errno_error(errno, target_, "replace");
  fault::passed(point);
  temporary_.clear();
  return {};
}

Status deliver_segment(const repo::WalStore& store, const repo::WalObject& object,
                       const SegmentExpectation& expected, const std::string& target) {
  TRY_ASSIGN(Delivery delivery, Delivery::begin(target));
  uint64_t size = 0;
  TRY(store.get_object(object, [&](ByteView piece) -> Status {
    if (size == 0) TRY(check_segment_header(object.object, object.file, piece, expected));
    size += piece.size();
    if (size > expected.segment_size.bytes)
      return check_segment_size(object.object, size, expected.segment_size);
    return delivery.append(piece);
  }));
  TRY(check_segment_size(object.object, size, expected.segment_size));
  return delivery.finish();
}

}  // namespace lifeboat::ops
