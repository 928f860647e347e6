#include "pg/files/source.h"

#include <algorithm>
#include <cstdlib>

#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

constexpr size_t kControlFileLimit = 64 << 10;
constexpr int kControlFileTries = 50;
constexpr int64_t kControlFilePauseUs = 10'000;

class LocalFile : public SourceFile {
 public:
  explicit LocalFile(RangeReader reader) : reader_(std::move(reader)) {}
  Result<size_t> read(uint64_t offset, MutableBytes into) override { return reader_.read(offset, into); }
  void will_read(std::span<const FileRange> ranges) override {
    for (const FileRange& range : ranges) reader_.will_read(range.offset, range.length);
  }

 private:
  RangeReader reader_;
};

}  // namespace

Status FileSource::read_places(std::span<const FilePlace> places, size_t size,
                               const std::function<Status(size_t, ByteView)>& each) {
  Bytes bytes(size);
  for (size_t i = 0; i < places.size(); ++i) {
    TRY_ASSIGN(auto file, open_listed(places[i].path));
    size_t got = 0;
    if (file) {
      TRY_ASSIGN(got, file->read(places[i].offset, bytes));
    }
    TRY(each(i, ByteView(bytes).first(got)));
  }
  return {};
}

Result<std::optional<Bytes>> read_small_file(FileSource& source, std::string_view path, size_t limit) {
  TRY_ASSIGN(auto file, source.open(path));
  if (!file) return std::optional<Bytes>();
  Bytes content;
  Bytes piece(std::min<size_t>(limit + 1, 64 << 10));
  while (content.size() <= limit) {
    TRY_ASSIGN(size_t got, file->read(content.size(), piece));
    content.insert(content.end(), piece.begin(), piece.begin() + static_cast<ptrdiff_t>(got));
    if (got < piece.size()) break;
  }
  if (content.size() > limit)
    return make_error(ErrorKind::failed, source.absolute(path), cat("is larger than ", limit, " bytes"));
  if (file->gone()) return std::optional<Bytes>();
  return std::optional(std::move(content));
}

Result<ControlRead> read_control_file(FileSource& source, int major) {
  constexpr std::string_view kPath = "global/pg_control";
  for (int tries = 1;; ++tries) {
    TRY_ASSIGN(auto bytes, read_small_file(source, kPath, kControlFileLimit));
    if (!bytes) return make_error(ErrorKind::precondition, source.absolute(kPath), "is missing");
    auto parsed = parse_control_file(*bytes, major);
    if (parsed) return ControlRead{std::move(*bytes), *parsed};
    if (parsed.error().kind != ErrorKind::damaged || tries == kControlFileTries)
      return std::move(parsed).error().within(source.absolute(kPath));
    Clock::system().sleep_us(kControlFilePauseUs);
  }
}

Result<std::unique_ptr<SourceFile>> LocalSource::open(std::string_view path) {
  std::string where = path.starts_with('/') ? std::string(path) : absolute(path);
  if (path.starts_with('/')) {  // what an administrator placed outside may be a link
    std::unique_ptr<char, void (*)(void*)> resolved(::realpath(where.c_str(), nullptr), std::free);
    if (resolved) where = resolved.get();
  }
  TRY_ASSIGN(std::optional<RangeReader> reader, RangeReader::open(where));
  std::unique_ptr<SourceFile> file;
  if (reader) file = std::make_unique<LocalFile>(std::move(*reader));
  return file;
}

Result<std::vector<std::string>> LocalSource::names(const std::string& directory) {
  TRY_ASSIGN(auto entries, list_dir(directory));
  std::vector<std::string> names;
  for (const DirEntry& entry : entries) names.push_back(entry.name);
  return names;
}

}  // namespace lifeboat::pg
