// Runs of blocks of a file on their way out of data packs: where each goes, read in large pieces, checked.
//
// lay_out() turns a block map into pieces with their place in the file; that they cover it without a gap or
// an overlap is checked by their counts (T36). PieceReader reads neighbouring frames with one read of the
// store, decodes each frame once, and hands over each run after its hash was compared, in the order of the
// packs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/pack.h"
#include "repo/tree.h"
#include "util/stop.h"

namespace lifeboat::repo {

struct Piece {
  size_t file = 0;      // index into the paths of PieceReader::read()
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;
  const BlockRef* ref = nullptr;
  uint32_t crc = 0;  // for the caller
};

// Lays the refs out from `offset` on; they must end at `end` exactly, else `damaged`. Appends to `pieces`,
// which borrow the refs.
Status lay_out(std::string_view path, const std::vector<BlockRef>& refs, size_t file, uint64_t offset,
               uint64_t end, uint32_t block_size, std::vector<Piece>& pieces);

// One per thread.
class PieceReader {
 public:
  PieceReader(const LineageRepo& repo, uint32_t block_size)
      : packs_(repo, PackKind::data), block_size_(block_size) {}

  // Calls `take` with the checked bytes of each piece. `paths` are for messages. Errors: damaged (names pack
  // and frame), cancelled, those of the store and of `take`.
  using Take = std::function<Status(Piece& piece, ByteView plain)>;
  Status read(std::span<Piece> pieces, const std::vector<std::string_view>& paths, const StopToken* stop,
              const Take& take);
  // Read from packs so far.
  uint64_t stored_bytes() const { return stored_bytes_; }

 private:
  // Of the decoded frame, a run whose hash was compared.
  struct Proven {
    uint32_t first = 0;
    uint32_t count = 0;
    codec::Hash128 hash{};
    bool operator==(const Proven&) const = default;
  };
  size_t run_end(size_t begin) const;
  Status read_run(size_t begin, size_t end, const std::vector<std::string_view>& paths, const Take& take);
  bool is_what_was_stored(const BlockRef& ref, ByteView part);

  PackReaders packs_;
  uint32_t block_size_;
  uint64_t stored_bytes_ = 0;
  std::vector<Proven> proven_;
  std::vector<Piece*> order_;
  Bytes stored_;
  Frame frame_;
};

}  // namespace lifeboat::repo
