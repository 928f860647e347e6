// Where the files of a cluster are read from: the directory on this host, or a server through a connection.
//
// The server works meanwhile: files vanish, shrink and grow between listing and reading (T07). Each of these is a value
// and not an error; the caller knows whether WAL replay will repair it.
//
// Thread rule: list() and open() are called by one thread at a time, read() of one file by several at once.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "pg/files/data_dir.h"
#include "pg/files/range_reader.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::pg {

class SourceFile {
 public:
  virtual ~SourceFile() = default;
  // Reads up to into.size() bytes at `offset`; fewer only where the file ends now, 0 at or past its end and when it is gone.
  virtual Result<size_t> read(uint64_t offset, MutableBytes into) = 0;
  // The range will be read soon, front to back.
  virtual void will_read(uint64_t offset, uint64_t length) = 0;
};

class FileSource {
 public:
  virtual ~FileSource() = default;
  // As DataDirLister::list: relative paths, "" is the data directory.
  virtual Result<DirectoryListing> list(std::string_view path) = 0;
  // A relative path, or an absolute one for what lies outside. nullptr: there is no such file (any more).
  virtual Result<std::unique_ptr<SourceFile>> open(std::string_view path) = 0;
  // A relative path as people on that host would write it.
  virtual std::string absolute(std::string_view path) const = 0;
};

// The directory on this host.
class LocalSource : public FileSource {
 public:
  explicit LocalSource(DataDirLister lister) : lister_(std::move(lister)) {}
  Result<DirectoryListing> list(std::string_view path) override { return lister_.list(path); }
  Result<std::unique_ptr<SourceFile>> open(std::string_view path) override;
  std::string absolute(std::string_view path) const override { return lister_.absolute(path); }

 private:
  DataDirLister lister_;
};

}  // namespace lifeboat::pg
