#include "ops/restore/existing_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "codec/codec.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// nullopt: nothing is there.
Result<std::optional<struct stat>> look(const std::string& path) {
  struct stat info{};
  if (lstat(path.c_str(), &info) == 0) return std::optional(info);
  if (errno == ENOENT) return std::optional<struct stat>();
  return errno_error(errno, path, "look at");
}

// Modes can be set by the owner only.
bool ours(const struct stat& info) {
  return geteuid() == 0 || info.st_uid == geteuid();
}

}  // namespace

Result<bool> ready_file(const std::string& path, uint64_t size) {
  TRY_ASSIGN(std::optional<struct stat> info, look(path));
  if (!info) return false;
  if (!S_ISREG(info->st_mode) || info->st_nlink != 1 || !ours(*info)) {
    TRY(remove_tree(path));
    return false;
  }
  if ((info->st_mode & 0600) != 0600 && chmod(path.c_str(), 0600) != 0)
    return errno_error(errno, path, "set the mode of");
  if (static_cast<uint64_t>(info->st_size) > size && truncate(path.c_str(), static_cast<off_t>(size)) != 0)
    return errno_error(errno, path, "cut");
  return true;
}

Status ready_directory(const std::string& path, bool keeps_link) {
  TRY_ASSIGN(std::optional<struct stat> info, look(path));
  if (!info || S_ISDIR(info->st_mode)) return {};
  if (keeps_link && S_ISLNK(info->st_mode)) {
    auto behind = stat_path(path);
    if (behind && behind->kind == FileKind::directory) return {};
  }
  return remove_file(path);
}

Result<bool> ready_link(const std::string& path, const std::string& target) {
  TRY_ASSIGN(std::optional<struct stat> info, look(path));
  if (!info) return false;
  if (S_ISLNK(info->st_mode)) {
    TRY_ASSIGN(std::string there, read_link(path));
    if (there == target) return true;
  }
  TRY(remove_tree(path));
  return false;
}

Result<std::vector<size_t>> differing_pieces(int fd, const std::string& path, std::span<repo::Piece> pieces,
                                             Bytes& buffer, CompareCounters& counters) {
  std::vector<size_t> differing;
  for (size_t at = 0; at < pieces.size(); ++at) {
    repo::Piece& piece = pieces[at];
    if (!piece.ref->whole()) {
      differing.push_back(at);
      continue;
    }
    if (buffer.size() < piece.length) buffer.resize(piece.length);
    MutableBytes there = MutableBytes(buffer).first(piece.length);
    auto count = pread_some(fd, piece.offset, there, path);
    if (count) counters.compared.fetch_add(*count, kRelaxed);
    if (!count || *count != piece.length || codec::hash128(there) != piece.ref->hash) {
      differing.push_back(at);
      continue;
    }
    counters.unchanged.fetch_add(piece.length, kRelaxed);
    piece.crc = codec::crc32c(0xffffffff, there) ^ 0xffffffff;
  }
  return differing;
}

bool holds_already(int fd, const std::string& path, uint64_t offset, ByteView bytes, Bytes& buffer) {
  if (buffer.size() < bytes.size()) buffer.resize(bytes.size());
  MutableBytes there = MutableBytes(buffer).first(bytes.size());
  auto count = pread_some(fd, offset, there, path);
  return count && *count == bytes.size() && std::ranges::equal(there, bytes);
}

}  // namespace lifeboat::ops
