// The tree of a backup: directories → files → block-map nodes → frames of data packs; immutable nodes,
// copy-on-write.
//
// A node is one frame of a node pack. Its reference carries the XXH3-128 of its plain content, so the root
// reference in the manifest vouches for everything below, and a node with equal content need not be written
// again. Directories are cut into chunks at names chosen by their hash, so that one added or changed file
// rewrites one chunk and the way to the root. A file's blocks are mapped by position: in the entry itself
// when it is small, else in leaves of kMapLeafBlocks blocks each, so that one changed block rewrites one
// leaf. docs/format.md has the bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repo/pack.h"

namespace lifeboat::repo {

inline constexpr uint32_t kMapLeafBlocks = 4096;  // 32 MiB of 8 kB blocks
inline constexpr uint32_t kFrameBlocks = 32;      // of a fresh backup: 256 KiB of 8 kB blocks
inline constexpr size_t kInlineRefs = 4;

struct NodeRef {
  FrameRef frame;
  codec::Hash128 hash{};
  bool operator==(const NodeRef&) const = default;
};

// A run of blocks of a file. `count` blocks from `first_block` of the plain frame; the last block of a file
// may be shorter than the block size. The hash is of the run as it was stored: when later backups replaced
// blocks of it, what is left is referred to by parts, which keep the hash of the whole, so that nothing has
// to be read to refer to less of it.
struct BlockRef {
  FrameRef frame;
  uint32_t first_block = 0;
  uint32_t count = 0;
  codec::Hash128 hash{};
  uint32_t before = 0;  // blocks of the hashed run in front of this part,
  uint32_t after = 0;   // and behind it
  bool whole() const { return before == 0 && after == 0; }
  // `length` blocks of this one, from its block `skip` on.
  BlockRef part(uint32_t skip, uint32_t length) const;
  // The bytes of `plain`, the frame's content, that the hash is of; nullopt: they are not all there.
  std::optional<ByteView> hashed(ByteView plain, uint32_t block_size) const;
  bool operator==(const BlockRef&) const = default;
};

enum class EntryType : uint8_t { file = 1, directory = 2, symlink = 3 };

struct Entry {
  std::string name;
  EntryType type = EntryType::file;
  uint32_t mode = 0;  // permission bits
  std::string owner;
  std::string group;
  int64_t mtime_us = 0;
  uint64_t size = 0;             // of a file
  std::string target;            // of a symbolic link
  NodeRef directory;             // of a directory
  std::vector<BlockRef> blocks;  // of a small file
  std::vector<NodeRef> leaves;   // of a large one: leaf i maps blocks from i * kMapLeafBlocks
};

// --- writing
// ---------------------------------------------------------------------------------------------------

// Writes nodes into node packs. Thread-safe (one lock around the pack writer; nodes are small and rare).
class NodeSink {
 public:
  virtual ~NodeSink() = default;
  virtual Result<NodeRef> write(ByteView plain) = 0;
};
class PackNodeSink : public NodeSink {
 public:
  PackNodeSink(const LineageRepo& repo, PackNumbers& numbers);
  ~PackNodeSink() override;
  Result<NodeRef> write(ByteView plain) override;
  Status finish();
  uint64_t stored_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Puts the refs of a file, in block order and covering it without a gap, into `entry`: inline or as leaves.
// CHECKs that they begin at block 0 and that no ref crosses a leaf's end.
Status write_block_map(NodeSink& sink, std::vector<BlockRef> refs, Entry& entry);

// Builds one directory: add entries in byte order of names, then finish.
class DirectoryWriter {
 public:
  explicit DirectoryWriter(NodeSink& sink) : sink_(sink) {}
  Status add(Entry entry);  // CHECKs the order
  Result<NodeRef> finish();

 private:
  Status flush();
  NodeSink& sink_;
  std::vector<Entry> chunk_;
  std::string last_name_;
  struct Child {
    std::string first_name;
    NodeRef node;
  };
  std::vector<Child> children_;
};

// --- reading
// -----------------------------------------------------------------------------------------------------

// Reads nodes by reference; checks the hash. One per thread.
class TreeReader {
 public:
  explicit TreeReader(const LineageRepo& repo) : packs_(repo, PackKind::nodes) {}
  // Calls `each` for the entries of a directory in byte order of names; one chunk is in memory at a time.
  Status list(const NodeRef& directory, const std::function<Status(const Entry&)>& each);
  // The refs of one leaf of a large file.
  Result<std::vector<BlockRef>> leaf(const NodeRef& leaf);
  // Calls `each` for every run of refs of a file in block order: (first block, refs).
  Status blocks(const Entry& file,
                const std::function<Status(uint64_t first_block, const std::vector<BlockRef>&)>& each);
  // Every directory, file and link below `directory`, parents first; `path` is relative to it.
  Status walk(const NodeRef& directory,
              const std::function<Status(const std::string& path, const Entry&)>& each);
  // One entry by path ("pgdata/global/pg_control"); not_found.
  Result<Entry> find(const NodeRef& root, std::string_view path);
  // Calls `node` for each node below and including `root` of which `descend` says true (once per call, shared
  // nodes come again unless `descend` remembers), and `data` for every block ref below. For collection and
  // verify.
  struct Visitor {
    std::function<bool(const NodeRef&)> descend;
    std::function<Status(const BlockRef&)> data;
  };
  Status visit(const NodeRef& root, const Visitor& visitor);
  // The plain content of one node, checked; valid until the next call.
  Result<ByteView> load(const NodeRef& node);

 private:
  PackReaders packs_;
  Frame frame_;
};

// Goes through one directory in byte order of names, one chunk in memory. Borrows the reader, which may be
// used in between.
class DirectoryCursor {
 public:
  static Result<DirectoryCursor> open(TreeReader& reader, const NodeRef& directory);
  // The entry at hand, which may be moved from; nullptr behind the last one.
  Entry* current() { return at_ < entries_.size() ? &entries_[at_] : nullptr; }
  Status advance();

 private:
  explicit DirectoryCursor(TreeReader& reader) : reader_(&reader) {}
  Status load_chunk();  // until there is an entry or the end
  TreeReader* reader_;
  std::vector<NodeRef> chunks_;
  size_t next_chunk_ = 0;
  std::vector<Entry> entries_;
  size_t at_ = 0;
  std::string last_name_;
};

// Pure encoding, for tests and fuzzing. Decoders report `damaged`.
Bytes encode_entries(const std::vector<Entry>& entries);
Result<std::vector<Entry>> decode_entries(std::string_view object, ByteView plain);
Bytes encode_leaf(const std::vector<BlockRef>& refs);
Result<std::vector<BlockRef>> decode_leaf(std::string_view object, ByteView plain);

}  // namespace lifeboat::repo
