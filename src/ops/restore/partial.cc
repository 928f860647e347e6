#include "ops/restore/partial.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "ops/mapped_file.h"
#include "ops/wal/scan.h"
#include "pg/wal/wal_reader.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

Status write_partial_segment(const ChosenLineage& lineage, const PartialSegment& partial,
                             const std::string& path, mode_t mode) {
  SegmentSize size = lineage.record.segment_size;
  TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (fchmod(fd.get(), mode) != 0) return errno_error(errno, path, "set the mode of");
  uint64_t at = 0;
  TRY(read_partial(lineage, partial, [&](ByteView piece) -> Status {
    TRY(pwrite_all(fd.get(), at, piece, path));
    at += piece.size();
    return {};
  }));
  if (at != size.bytes) {
    return make_error(ErrorKind::damaged, partial.segment.to_string(),
                      cat("the unfinished segment has ", at, " bytes, expected ", size.bytes));
  }
  // What a recycled segment has after its records must never be taken for WAL, nor what another branch wrote.
  uint64_t valid = 0;
  {
    TRY_ASSIGN(MappedFile mapped, MappedFile::open(path));
    TRY_ASSIGN(pg::ValidEnd end, pg::valid_end(mapped.bytes()));
    Lsn last = partial.limit.valid() ? std::min(end.end, partial.limit) : end.end;
    valid = last.value - partial.segment.start(size).value;
  }
  Bytes zeros(std::min<uint64_t>(size.bytes, 1 << 20));
  for (uint64_t from = valid; from < size.bytes;) {
    uint64_t count = std::min<uint64_t>(zeros.size(), size.bytes - from);
    TRY(pwrite_all(fd.get(), from, ByteView(zeros).first(count), path));
    from += count;
  }
  TRY(fsync_file(fd.get(), path));
  return fd.close(path);
}

}  // namespace lifeboat::ops
