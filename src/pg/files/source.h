// Where the files of a cluster are read from: the directory on this host, or a server through a connection.
//
// The server works meanwhile: files vanish, shrink and grow between listing and reading (T07). Each of these
// is a value and not an error; the caller knows whether WAL replay will repair it.
//
// Thread rule: list() and open() are called by one thread at a time, the functions of one file by several at
// once.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pg/files/data_dir.h"
#include "pg/files/range_reader.h"
#include "pg/format/control_file.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::pg {

struct FileRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct FilePlace {
  std::string path;
  uint64_t offset = 0;
};

class SourceFile {
 public:
  virtual ~SourceFile() = default;
  // Reads up to into.size() bytes at `offset`; fewer only where the file ends now, 0 at or past its end and
  // when it is gone.
  virtual Result<size_t> read(uint64_t offset, MutableBytes into) = 0;
  // The ranges will be read soon, by the calling thread and in this order, each from its beginning on.
  virtual void will_read(std::span<const FileRange> ranges) = 0;
  // A read found that there is no such file any more. Where a file is held open it never goes away.
  virtual bool gone() const { return false; }
};

class FileSource {
 public:
  virtual ~FileSource() = default;
  // As DataDirLister::list: relative paths, "" is the data directory.
  virtual Result<DirectoryListing> list(std::string_view path) = 0;
  // A relative path, or an absolute one for what lies outside. nullptr: there is no such file (any more).
  virtual Result<std::unique_ptr<SourceFile>> open(std::string_view path) = 0;
  // The same for one that was listed a moment ago: that it has gone since may show only at its first read.
  virtual Result<std::unique_ptr<SourceFile>> open_listed(std::string_view path) { return open(path); }
  // `size` bytes at each place, one after the other: `each` gets the number of the place and its bytes, fewer
  // where the file ends now and none when it is gone. The paths are relative.
  virtual Status read_places(std::span<const FilePlace> places, size_t size,
                             const std::function<Status(size_t, ByteView)>& each);
  // Names in a directory outside, in order. Errors: not_found, permission.
  virtual Result<std::vector<std::string>> names(const std::string& directory) = 0;
  // A relative path as people on that host would write it.
  virtual std::string absolute(std::string_view path) const = 0;
};

// The whole of a small file; nullopt: there is no such file. `failed` when it is larger than `limit`.
Result<std::optional<Bytes>> read_small_file(FileSource& source, std::string_view path, size_t limit);

// global/pg_control. The server rewrites it in place, so it is read again until its CRC holds (T04).
struct ControlRead {
  Bytes bytes;
  ControlFile control;
};
Result<ControlRead> read_control_file(FileSource& source, int major);

// The directory on this host.
class LocalSource : public FileSource {
 public:
  explicit LocalSource(DataDirLister lister) : lister_(std::move(lister)) {}
  Result<DirectoryListing> list(std::string_view path) override { return lister_.list(path); }
  Result<std::unique_ptr<SourceFile>> open(std::string_view path) override;
  Result<std::vector<std::string>> names(const std::string& directory) override;
  std::string absolute(std::string_view path) const override { return lister_.absolute(path); }

 private:
  DataDirLister lister_;
};

}  // namespace lifeboat::pg
