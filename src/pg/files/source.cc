#include "pg/files/source.h"

namespace lifeboat::pg {

namespace {

class LocalFile : public SourceFile {
 public:
  explicit LocalFile(RangeReader reader) : reader_(std::move(reader)) {}
  Result<size_t> read(uint64_t offset, MutableBytes into) override { return reader_.read(offset, into); }
  void will_read(uint64_t offset, uint64_t length) override { reader_.will_read(offset, length); }

 private:
  RangeReader reader_;
};

}  // namespace

Result<std::unique_ptr<SourceFile>> LocalSource::open(std::string_view path) {
  TRY_ASSIGN(std::optional<RangeReader> reader,
             RangeReader::open(path.starts_with('/') ? std::string(path) : absolute(path)));
  std::unique_ptr<SourceFile> file;
  if (reader) file = std::make_unique<LocalFile>(std::move(*reader));
  return file;
}

}  // namespace lifeboat::pg
