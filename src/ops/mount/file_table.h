// The local table of files whose blocks come from the backup: written once with the skeleton, mapped
// afterwards, so that neither mounting nor memory depends on how large the files are.
//
// A file's number is its place in the table. Its record is its path in the tree and its entry, with the block
// references of a small file and the leaf nodes of a large one; leaves are read from the repository when a
// block of theirs is first needed (block_map.h).
//
//   records, back to back: varint length of the path, path, entry as docs/format.md's list of entries with
//   one offsets: u64 per record and one behind the last, then u64 count
// The whole has a hash, which the mount's state keeps.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/codec.h"
#include "ops/mapped_file.h"
#include "repo/tree.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

// Thread rule: one thread.
class FileTableWriter {
 public:
  static Result<FileTableWriter> create(const std::string& path);
  // Returns the file's number.
  Result<uint64_t> add(std::string_view path, const repo::Entry& entry);
  // Durable but for its name. Returns the hash in hex.
  Result<std::string> finish();
  uint64_t files() const { return offsets_.size(); }
  uint64_t bytes() const { return bytes_; }  // of the files

 private:
  FileTableWriter(Fd fd, std::string path)
      : fd_(std::move(fd)), path_(std::move(path)), hash_(std::make_unique<codec::Hasher128>()) {}
  Status flush();
  Fd fd_;
  std::string path_;
  Bytes buffer_;
  uint64_t at_ = 0;
  uint64_t bytes_ = 0;
  std::vector<uint64_t> offsets_;
  std::unique_ptr<codec::Hasher128> hash_;
};

struct TableFile {
  std::string path;  // in the tree, relative to the data directory
  repo::Entry entry;
};

// Thread rule: const methods from any thread.
class FileTable {
 public:
  // `damaged` when it is not the table of that hash.
  static Result<FileTable> open(const std::string& path, std::string_view hash);
  uint64_t files() const { return count_; }
  Result<TableFile> file(uint64_t number) const;

 private:
  FileTable(MappedFile content, std::string path) : content_(std::move(content)), path_(std::move(path)) {}
  uint64_t offset(uint64_t index) const;
  MappedFile content_;
  std::string path_;
  uint64_t count_ = 0;
};

}  // namespace lifeboat::ops
