// Tails: what has been written of a segment that is not whole yet, piece by piece.
//
//   tails/<timeline>/<log id>/<segment>-<begin>-<end>-<name hash>     kind 12
//
// `begin` and `end` are distances from the segment's first byte (8 hex digits each), so a listing says what
// there is. The name hash is made as those of WAL objects are. Pieces may overlap: whoever merges small ones
// stores the merged one before he removes them, and may die in between. Where they overlap they say the same;
// if not, two servers with one identity wrote them (T46). Only the receiver removes tails, when they are
// merged or their segment is stored whole, and expiry what a receiver left.
//
// Thread rule: const, stateless but for the repository; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/wal_name.h"
#include "repo/repository.h"
#include "repo/wal_store.h"

namespace lifeboat::repo {

struct TailPiece {
  SegmentName segment;
  uint32_t begin = 0;
  uint32_t end = 0;
  std::string object;  // full name in the store
  codec::Hash128 name_hash{};
  uint64_t stored_bytes = 0;

  uint32_t size() const { return end - begin; }
};

// How far the pieces cover their segment from its begin without a hole. Any order.
uint32_t covered(const std::vector<TailPiece>& pieces);

class TailStore {
 public:
  explicit TailStore(const LineageRepo& repo) : repo_(repo) {}

  // `bytes` are those from `begin` on. Durably stored on success, and so it is when the same is there
  // already.
  Result<TailPiece> put(const SegmentName& segment, uint32_t begin, const WalSource& bytes) const;
  // Streams the bytes to `sink` in order; that the whole is what its name says is known only on success.
  // Errors: not_found (merged or superseded meanwhile), damaged, the sink's, the store's.
  Status read(const TailPiece& piece, const WalStore::Sink& sink) const;
  Status remove(const TailPiece& piece) const;

  // Pieces of one segment, by begin.
  Result<std::vector<TailPiece>> find(const SegmentName& segment) const;
  Result<std::vector<Timeline>> timelines() const;  // ascending
  // In order of names. Listing only.
  Status list(Timeline timeline, const WalStore::Range& range,
              const std::function<Status(const TailPiece&)>& each) const;
  Result<std::vector<TailPiece>> list(Timeline timeline) const;

 private:
  LineageRepo repo_;
};

// Name below the lineage.
std::string tail_object_name(const TailPiece& piece);
// nullopt: not the name of a tail.
std::optional<TailPiece> parse_tail_object_name(std::string_view below);

}  // namespace lifeboat::repo
