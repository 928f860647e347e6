// Packs: objects that hold many frames back to back and a footer that says what each frame holds.
//
// Each worker writes its own packs, so nothing is shared on the hot path. Data and tree nodes go to packs of
// their own. The footer is the frame marked last; its plain content is a table of sources and frames
// (docs/format.md), and a trailer of 8 bytes gives the footer's stored length and frame number, so that it
// can be found from the end; a flipped trailer leads to bytes whose seal does not match.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/lsn.h"
#include "repo/object.h"
#include "repo/repository.h"

namespace lifeboat::repo {

struct PackId {
  BackupId backup;      // that wrote it
  uint32_t number = 0;  // counted over data and node packs of that backup
  auto operator<=>(const PackId&) const = default;
};
enum class PackKind : uint8_t { data, nodes };
std::string pack_name(const PackId& pack, PackKind kind);  // "packs/<backup>/000001.data"
// From the part of an object's name below the lineage; nullopt when it is not a pack.
struct ParsedPackName {
  PackId pack;
  PackKind kind;
};
std::optional<ParsedPackName> parse_pack_name(std::string_view below);

// Points to one frame of a pack.
struct FrameRef {
  PackId pack;
  FramePlace place;
  auto operator<=>(const FrameRef& other) const {
    if (auto order = pack <=> other.pack; order != 0) return order;
    return place.number <=> other.place.number;
  }
  bool operator==(const FrameRef& other) const {
    return pack == other.pack && place.number == other.place.number;
  }
};

// Consecutive blocks of a file, and the hash of their bytes.
struct BlockRun {
  uint64_t first = 0;
  uint32_t count = 0;
  codec::Hash128 hash{};
  bool operator==(const BlockRun&) const = default;
};

// The newest position of a frame of which a page was broken when it was read.
inline constexpr Lsn kDoubtful{UINT64_MAX};

// What a frame came from; needed by resume and repair only, so it is in the footer and nowhere else.
struct FrameSource {
  std::string_view path;           // as in the tree: "pgdata/base/5/16384"; empty for nodes
  std::span<const BlockRun> runs;  // ascending, back to back in the frame; none for nodes
  Lsn newest = {};                 // the highest LSN of its pages, or kDoubtful; 0 for what has no pages
};

struct PackLimits {
  uint64_t bytes = 64ull << 20;
  uint32_t frames = 16384;
};

// Hands out pack numbers of one backup; shared by its workers.
class PackNumbers {
 public:
  explicit PackNumbers(BackupId backup) : backup_(std::move(backup)) {}
  const BackupId& backup() const { return backup_; }
  PackId next() { return {backup_, next_.fetch_add(1, std::memory_order_relaxed)}; }

 private:
  BackupId backup_;
  std::atomic<uint32_t> next_{1};
};

// Appends frames, beginning a new pack when one is full. One per worker; finish() must be called and checked.
class PackWriter {
 public:
  PackWriter(const LineageRepo& repo, PackNumbers& numbers, PackKind kind, CompressionOptions compression,
             PackLimits limits = {})
      : repo_(repo), numbers_(numbers), kind_(kind), compression_(compression), limits_(limits) {}
  Result<FrameRef> append(ByteView plain, const FrameSource& source);
  Status finish();  // commits the open pack
  uint64_t stored_bytes() const {
    return stored_;
  }  // of all packs of this writer, as far as committed or written
  uint32_t packs() const { return packs_; }

 private:
  Status begin();
  LineageRepo repo_;
  PackNumbers& numbers_;
  PackKind kind_;
  CompressionOptions compression_;
  PackLimits limits_;
  std::optional<FrameWriter> writer_;
  PackId id_;
  struct FrameEntry {
    uint32_t source;
    uint32_t length;
    uint32_t plain_size;
    uint32_t runs;
    Lsn newest;
  };
  std::vector<FrameEntry> frames_;
  std::vector<BlockRun> runs_;
  std::vector<std::string> paths_;
  uint64_t stored_ = 0;
  uint32_t packs_ = 0;
};

// The footer, decoded.
struct PackFrame {
  FramePlace place;
  uint32_t plain_size = 0;
  std::string path;
  std::vector<BlockRun> runs;
  Lsn newest;
};
struct PackFooter {
  std::vector<PackFrame> frames;
};

// Reads and checks a pack's footer through its trailer.
Result<PackFooter> read_pack_footer(FrameReader& reader);
Result<PackFooter> parse_pack_footer(std::string_view name, ByteView plain);
inline constexpr uint64_t kPackTrailerSize = 8;

// Keeps the packs that one thread reads from open, the least recently used go. Not thread-safe.
class PackReaders {
 public:
  PackReaders(const LineageRepo& repo, PackKind kind, size_t most_open = 16)
      : repo_(repo), kind_(kind), most_open_(most_open) {}
  // Valid until the next call.
  Result<FrameReader*> reader(const PackId& pack);
  Status read(const FrameRef& ref, Frame& frame);

 private:
  struct Slot {
    PackId pack;
    FrameReader reader;
    uint64_t used;
  };
  LineageRepo repo_;
  PackKind kind_;
  size_t most_open_;
  std::vector<Slot> slots_;
  uint64_t ticks_ = 0;
};

}  // namespace lifeboat::repo
