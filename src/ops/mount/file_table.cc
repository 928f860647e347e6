#include "ops/mount/file_table.h"

#include <fcntl.h>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr size_t kBuffer = 1 << 20;
}

Result<FileTableWriter> FileTableWriter::create(const std::string& path) {
  TRY_ASSIGN(Fd fd, open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  return FileTableWriter(std::move(fd), path);
}

Status FileTableWriter::flush() {
  hash_->update(buffer_);
  TRY(write_all(fd_.get(), buffer_, path_));
  at_ += buffer_.size();
  buffer_.clear();
  return {};
}

Result<uint64_t> FileTableWriter::add(std::string_view path, const repo::Entry& entry) {
  const uint64_t number = offsets_.size();
  offsets_.push_back(at_ + buffer_.size());
  ByteWriter out(buffer_);
  out.text(path);
  out.bytes(repo::encode_entries({entry}));
  bytes_ += entry.size;
  if (buffer_.size() >= kBuffer) TRY(flush());
  return number;
}

Result<std::string> FileTableWriter::finish() {
  const uint64_t count = offsets_.size();
  offsets_.push_back(at_ + buffer_.size());
  for (size_t i = 0; i < offsets_.size(); ++i) {
    ByteWriter(buffer_).u64(offsets_[i]);
    if (buffer_.size() >= kBuffer) TRY(flush());
  }
  ByteWriter(buffer_).u64(count);
  TRY(flush());
  offsets_.pop_back();
  TRY(fsync_file(fd_.get(), path_));
  TRY(fd_.close(path_));
  return to_hex(hash_->digest());
}

Result<FileTable> FileTable::open(const std::string& path, std::string_view hash) {
  TRY_ASSIGN(MappedFile content, MappedFile::open(path));
  ByteView bytes = content.bytes();
  if (to_hex(codec::hash128(bytes)) != hash || bytes.size() < 2 * sizeof(uint64_t))
    return make_error(ErrorKind::damaged, path,
                      "the table of files has another hash than when it was written");
  FileTable table(std::move(content), path);
  table.count_ = load_le<uint64_t>(bytes.data() + bytes.size() - sizeof(uint64_t));
  const uint64_t room = bytes.size() / sizeof(uint64_t);
  if (table.count_ > room || (table.count_ + 2) * sizeof(uint64_t) > bytes.size())
    return make_error(ErrorKind::damaged, path, cat("has no room for ", table.count_, " files"));
  return table;
}

uint64_t FileTable::offset(uint64_t index) const {
  ByteView bytes = content_.bytes();
  return load_le<uint64_t>(bytes.data() + bytes.size() - (count_ + 2 - index) * sizeof(uint64_t));
}

Result<TableFile> FileTable::file(uint64_t number) const {
  if (number >= count_)
    return make_error(ErrorKind::damaged, path_, cat("has ", count_, " files, asked for number ", number));
  const uint64_t begin = offset(number);
  const uint64_t end = offset(number + 1);
  if (begin > end || end > content_.bytes().size())
    return make_error(ErrorKind::damaged, path_, cat("the offset of file ", number, " leads nowhere"));
  ByteReader in(content_.bytes().subspan(begin, end - begin));
  TableFile file;
  file.path = in.text();
  if (!in.ok())
    return make_error(ErrorKind::damaged, path_, cat("the record of file ", number, " is cut off"));
  TRY_ASSIGN(std::vector<repo::Entry> entries, repo::decode_entries(path_, in.bytes(in.remaining())));
  if (entries.size() != 1 || entries[0].type != repo::EntryType::file)
    return make_error(ErrorKind::damaged, path_, cat("the record of file ", number, " is not one file"));
  file.entry = std::move(entries[0]);
  return file;
}

}  // namespace lifeboat::ops
