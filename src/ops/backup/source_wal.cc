#include "ops/backup/source_wal.h"

#include <sys/mman.h>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kPiece = 1 << 20;
constexpr uint64_t kAhead = 4 << 20;  // announced at a time: the caller may have enough before the file's end
static_assert(kAhead % kPiece == 0);

Error no_such_file(const pg::FileSource& files, const std::string& path) {
  return make_error(ErrorKind::not_found, files.absolute(path), "there is no such file");
}

}  // namespace

Result<bool> SourceWal::read(const SegmentName& segment, const std::function<Status(ByteView)>& sink) {
  return read_file(segment.to_string(), sink);
}

Result<bool> SourceWal::read_file(const std::string& name, const std::function<Status(ByteView)>& sink) {
  TRY_ASSIGN(auto file, files_.open(cat("pg_wal/", name)));
  if (!file) return false;
  Bytes piece(kPiece);
  for (uint64_t offset = 0;;) {
    const pg::FileRange ahead{offset, kAhead};
    if (offset % kAhead == 0) file->will_read({&ahead, 1});
    TRY_ASSIGN(size_t got, file->read(offset, piece));
    if (file->gone()) return false;
    if (got != 0) TRY(sink(ByteView(piece).first(got)));
    if (got < piece.size()) return true;
    offset += got;
  }
}

Result<WalPlace::File> SourceWal::open(const WalFileName& name) {
  File copy;
  copy.path = files_.absolute(cat("pg_wal/", name.text));
  int fd = ::memfd_create("lifeboat-wal", MFD_CLOEXEC);
  if (fd < 0) return errno_error(errno, copy.path, "make room in memory for");
  copy.fd = Fd(fd);
  TRY_ASSIGN(bool there, read_file(name.text, [&](ByteView piece) -> Status {
               TRY(pwrite_all(fd, copy.size, piece, copy.path));
               copy.size += piece.size();
               return {};
             }));
  if (!there) return no_such_file(files_, cat("pg_wal/", name.text));
  return copy;
}

Result<Bytes> SourceWal::head(const WalFileName& name, size_t size) {
  const std::string path = cat("pg_wal/", name.text);
  TRY_ASSIGN(auto file, files_.open(path));
  if (!file) return no_such_file(files_, path);
  Bytes bytes(size);
  TRY_ASSIGN(size_t got, file->read(0, bytes));
  bytes.resize(got);
  return bytes;
}

}  // namespace lifeboat::ops
