#include "repo/tree.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "util/strings.h"

namespace lifeboat::repo {

namespace {

// The first byte of a node's plain content.
enum class NodeType : uint8_t { entries = 1, chunks = 2, leaf = 3 };

constexpr size_t kLeastChunk = 32;   // entries before a cut is looked for
constexpr size_t kMostChunk = 512;   // entries after which it is forced
constexpr uint64_t kChunkMask = 63;  // a cut at about every 64th name
constexpr int kMaxDepth = 64;        // of directories; PostgreSQL's own are four deep

bool cut_after(std::string_view name) {
  codec::Hash128 hash = codec::hash128(as_bytes(name));
  return (hash[15] & kChunkMask) == 0;
}

// Nodes name packs once, in a table at their head, and refer to them by index.
class PackTable {
 public:
  uint64_t index(const PackId& pack) {
    auto [at, added] = indices_.try_emplace(pack, indices_.size());
    if (added) order_.push_back(pack);
    return at->second;
  }
  void write(ByteWriter& out) const {
    out.varint(order_.size());
    for (const PackId& pack : order_) {
      out.text(pack.backup.text);
      out.varint(pack.number);
    }
  }

 private:
  std::map<PackId, uint64_t> indices_;
  std::vector<PackId> order_;
};

std::vector<PackId> read_pack_table(ByteReader& in) {
  std::vector<PackId> packs;
  uint64_t count = in.varint();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    auto backup = BackupId::parse(in.text());
    uint64_t number = in.varint();
    if (!backup || number > UINT32_MAX) {
      in.fail();
      break;
    }
    packs.push_back({*backup, static_cast<uint32_t>(number)});
  }
  return packs;
}

void write_frame(ByteWriter& out, PackTable& packs, const FrameRef& frame) {
  out.varint(packs.index(frame.pack));
  out.varint(frame.place.number);
  out.varint(frame.place.offset);
  out.varint(frame.place.length);
}

FrameRef read_frame(ByteReader& in, const std::vector<PackId>& packs) {
  uint64_t pack = in.varint();
  uint64_t number = in.varint();
  uint64_t offset = in.varint();
  uint64_t length = in.varint();
  if (pack >= packs.size() || number > UINT32_MAX || length > UINT32_MAX) {
    in.fail();
    return {};
  }
  return {packs[pack], {static_cast<uint32_t>(number), offset, static_cast<uint32_t>(length)}};
}

void write_hash(ByteWriter& out, const codec::Hash128& hash) {
  out.bytes(hash);
}
codec::Hash128 read_hash(ByteReader& in) {
  codec::Hash128 hash{};
  ByteView raw = in.bytes(hash.size());
  if (raw.size() == hash.size()) std::copy(raw.begin(), raw.end(), hash.begin());
  return hash;
}

void write_node_ref(ByteWriter& out, PackTable& packs, const NodeRef& node) {
  write_frame(out, packs, node.frame);
  write_hash(out, node.hash);
}
NodeRef read_node_ref(ByteReader& in, const std::vector<PackId>& packs) {
  NodeRef node;
  node.frame = read_frame(in, packs);
  node.hash = read_hash(in);
  return node;
}

void write_block_refs(ByteWriter& out, PackTable& packs, const std::vector<BlockRef>& refs) {
  out.varint(refs.size());
  for (const BlockRef& ref : refs) {
    write_frame(out, packs, ref.frame);
    out.varint(ref.first_block);
    out.varint(uint64_t{ref.count} << 1 | (ref.whole() ? 0 : 1));
    if (!ref.whole()) {
      out.varint(ref.before);
      out.varint(ref.after);
    }
    write_hash(out, ref.hash);
  }
}
std::vector<BlockRef> read_block_refs(ByteReader& in, const std::vector<PackId>& packs) {
  std::vector<BlockRef> refs;
  uint64_t count = in.varint();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    BlockRef ref;
    ref.frame = read_frame(in, packs);
    uint64_t first = in.varint();
    uint64_t blocks = in.varint();
    uint64_t before = 0;
    uint64_t after = 0;
    if ((blocks & 1) != 0) {
      before = in.varint();
      after = in.varint();
      if (before + after == 0) in.fail();
    }
    blocks >>= 1;
    ref.hash = read_hash(in);
    if (first > kMaxPlain || blocks == 0 || blocks > kMapLeafBlocks || before > first || after > kMaxPlain)
      in.fail();
    ref.first_block = static_cast<uint32_t>(first);
    ref.before = static_cast<uint32_t>(before);
    ref.after = static_cast<uint32_t>(after);
    ref.count = static_cast<uint32_t>(blocks);
    refs.push_back(ref);
  }
  return refs;
}

// Head and body are encoded apart because the pack table is complete only after the body.
template <typename Body>
Bytes encode_node(NodeType type, Body body) {
  PackTable packs;
  Bytes content;
  ByteWriter content_out(content);
  body(content_out, packs);
  Bytes node;
  ByteWriter out(node);
  out.u8(static_cast<uint8_t>(type));
  packs.write(out);
  out.bytes(content);
  return node;
}

Error damaged_node(std::string_view object, std::string_view what) {
  return make_error(ErrorKind::damaged, std::string(object), cat("malformed tree node: ", what));
}

struct ChunkRef {
  std::string first_name;
  NodeRef node;
};

Result<std::vector<ChunkRef>> decode_chunks(std::string_view object, ByteView plain) {
  ByteReader in(plain);
  if (in.u8() != static_cast<uint8_t>(NodeType::chunks)) return damaged_node(object, "not a directory");
  std::vector<PackId> packs = read_pack_table(in);
  std::vector<ChunkRef> chunks;
  uint64_t count = in.varint();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    std::string first_name(in.text());
    chunks.push_back({std::move(first_name), read_node_ref(in, packs)});
  }
  if (!in.ok() || !in.at_end()) return damaged_node(object, "directory");
  return chunks;
}

bool safe_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

std::string describe(const NodeRef& node) {
  return cat(pack_name(node.frame.pack, PackKind::nodes), " frame ", node.frame.place.number);
}

}  // namespace

BlockRef BlockRef::part(uint32_t skip, uint32_t length) const {
  CHECK(length > 0 && skip + length <= count);
  BlockRef ref = *this;
  ref.first_block += skip;
  ref.count = length;
  ref.before += skip;
  ref.after += count - skip - length;
  return ref;
}

std::optional<ByteView> BlockRef::hashed(ByteView plain, uint32_t block_size) const {
  uint64_t from = uint64_t{first_block - before} * block_size;
  uint64_t size = (uint64_t{before} + count + after) * block_size;
  // Only the last block of a file may be shorter than a block.
  if (from > plain.size() || plain.size() - from + block_size <= size) return std::nullopt;
  return plain.subspan(from, std::min<uint64_t>(size, plain.size() - from));
}

Bytes encode_entries(const std::vector<Entry>& entries) {
  return encode_node(NodeType::entries, [&](ByteWriter& out, PackTable& packs) {
    out.varint(entries.size());
    for (const Entry& entry : entries) {
      out.text(entry.name);
      out.u8(static_cast<uint8_t>(entry.type));
      out.varint(entry.mode);
      out.text(entry.owner);
      out.text(entry.group);
      out.u64(static_cast<uint64_t>(entry.mtime_us));
      switch (entry.type) {
        case EntryType::file:
          out.varint(entry.size);
          write_block_refs(out, packs, entry.blocks);
          out.varint(entry.leaves.size());
          for (const NodeRef& leaf : entry.leaves) write_node_ref(out, packs, leaf);
          break;
        case EntryType::directory:
          write_node_ref(out, packs, entry.directory);
          break;
        case EntryType::symlink:
          out.text(entry.target);
          break;
      }
    }
  });
}

Result<std::vector<Entry>> decode_entries(std::string_view object, ByteView plain) {
  ByteReader in(plain);
  if (in.u8() != static_cast<uint8_t>(NodeType::entries))
    return damaged_node(object, "not a list of entries");
  std::vector<PackId> packs = read_pack_table(in);
  std::vector<Entry> entries;
  uint64_t count = in.varint();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    Entry entry;
    entry.name = in.text();
    uint8_t type = in.u8();
    uint64_t mode = in.varint();
    entry.owner = in.text();
    entry.group = in.text();
    entry.mtime_us = static_cast<int64_t>(in.u64());
    if (!in.ok() || type < 1 || type > 3 || mode > 07777 || !safe_name(entry.name))
      return damaged_node(object, "entry");
    entry.type = static_cast<EntryType>(type);
    entry.mode = static_cast<uint32_t>(mode);
    switch (entry.type) {
      case EntryType::file: {
        entry.size = in.varint();
        entry.blocks = read_block_refs(in, packs);
        uint64_t leaves = in.varint();
        for (uint64_t leaf = 0; leaf < leaves && in.ok(); ++leaf)
          entry.leaves.push_back(read_node_ref(in, packs));
        break;
      }
      case EntryType::directory:
        entry.directory = read_node_ref(in, packs);
        break;
      case EntryType::symlink:
        entry.target = in.text();
        break;
    }
    entries.push_back(std::move(entry));
  }
  if (!in.ok() || !in.at_end()) return damaged_node(object, "entries");
  return entries;
}

Bytes encode_leaf(const std::vector<BlockRef>& refs) {
  return encode_node(NodeType::leaf,
                     [&](ByteWriter& out, PackTable& packs) { write_block_refs(out, packs, refs); });
}

Result<std::vector<BlockRef>> decode_leaf(std::string_view object, ByteView plain) {
  ByteReader in(plain);
  if (in.u8() != static_cast<uint8_t>(NodeType::leaf)) return damaged_node(object, "not a block map");
  std::vector<PackId> packs = read_pack_table(in);
  std::vector<BlockRef> refs = read_block_refs(in, packs);
  if (!in.ok() || !in.at_end()) return damaged_node(object, "block map");
  return refs;
}

// --- writing
// ---------------------------------------------------------------------------------------------------

struct PackNodeSink::State {
  std::mutex mutex;
  PackWriter writer;
};

PackNodeSink::PackNodeSink(const LineageRepo& repo, PackNumbers& numbers)
    : state_(new State{{}, PackWriter(repo, numbers, PackKind::nodes, repo.compression())}) {}
PackNodeSink::~PackNodeSink() = default;

Result<NodeRef> PackNodeSink::write(ByteView plain) {
  codec::Hash128 hash = codec::hash128(plain);
  std::lock_guard lock(state_->mutex);
  TRY_ASSIGN(FrameRef frame, state_->writer.append(plain, {}));
  return NodeRef{frame, hash};
}

Status PackNodeSink::finish() {
  std::lock_guard lock(state_->mutex);
  return state_->writer.finish();
}

uint64_t PackNodeSink::stored_bytes() const {
  std::lock_guard lock(state_->mutex);
  return state_->writer.stored_bytes();
}

Status write_block_map(NodeSink& sink, std::vector<BlockRef> refs, Entry& entry) {
  entry.blocks.clear();
  entry.leaves.clear();
  if (refs.size() <= kInlineRefs) {
    entry.blocks = std::move(refs);
    return {};
  }
  std::vector<BlockRef> leaf;
  uint64_t in_leaf = 0;
  for (size_t i = 0; i < refs.size(); ++i) {
    in_leaf += refs[i].count;
    CHECK(in_leaf <= kMapLeafBlocks);
    leaf.push_back(refs[i]);
    if (in_leaf == kMapLeafBlocks || i + 1 == refs.size()) {
      TRY_ASSIGN(NodeRef node, sink.write(encode_leaf(leaf)));
      entry.leaves.push_back(node);
      leaf.clear();
      in_leaf = 0;
    }
  }
  return {};
}

Status DirectoryWriter::add(Entry entry) {
  CHECK(safe_name(entry.name) && (last_name_.empty() || last_name_ < entry.name));
  last_name_ = entry.name;
  chunk_.push_back(std::move(entry));
  if ((chunk_.size() >= kLeastChunk && cut_after(last_name_)) || chunk_.size() >= kMostChunk) return flush();
  return {};
}

Status DirectoryWriter::flush() {
  TRY_ASSIGN(NodeRef node, sink_.write(encode_entries(chunk_)));
  children_.push_back({chunk_.empty() ? std::string() : chunk_.front().name, node});
  chunk_.clear();
  return {};
}

Result<NodeRef> DirectoryWriter::finish() {
  if (!chunk_.empty() || children_.empty()) TRY(flush());
  if (children_.size() == 1) return children_.front().node;
  return sink_.write(encode_node(NodeType::chunks, [&](ByteWriter& out, PackTable& packs) {
    out.varint(children_.size());
    for (const Child& child : children_) {
      out.text(child.first_name);
      write_node_ref(out, packs, child.node);
    }
  }));
}

// --- reading
// ---------------------------------------------------------------------------------------------------

Result<ByteView> TreeReader::load(const NodeRef& node) {
  TRY(packs_.read(node.frame, frame_));
  if (codec::hash128(frame_.plain) != node.hash)
    return damaged_node(describe(node), "its content has another hash");
  if (frame_.plain.empty()) return damaged_node(describe(node), "empty");
  return ByteView(frame_.plain);
}

Status TreeReader::list(const NodeRef& directory, const std::function<Status(const Entry&)>& each) {
  TRY_ASSIGN(DirectoryCursor cursor, DirectoryCursor::open(*this, directory));
  while (const Entry* entry = cursor.current()) {
    TRY(each(*entry));
    TRY(cursor.advance());
  }
  return {};
}

Result<DirectoryCursor> DirectoryCursor::open(TreeReader& reader, const NodeRef& directory) {
  DirectoryCursor cursor(reader);
  TRY_ASSIGN(ByteView plain, reader.load(directory));
  if (plain[0] == static_cast<uint8_t>(NodeType::chunks)) {
    TRY_ASSIGN(std::vector<ChunkRef> chunks, decode_chunks(describe(directory), plain));
    for (const ChunkRef& chunk : chunks) cursor.chunks_.push_back(chunk.node);
  } else {
    cursor.chunks_.push_back(directory);
  }
  TRY(cursor.load_chunk());
  return cursor;
}

Status DirectoryCursor::load_chunk() {
  at_ = 0;
  entries_.clear();
  while (entries_.empty() && next_chunk_ < chunks_.size()) {
    const NodeRef& chunk = chunks_[next_chunk_++];
    TRY_ASSIGN(ByteView content, reader_->load(chunk));
    TRY_ASSIGN(entries_, decode_entries(describe(chunk), content));
    for (const Entry& entry : entries_) {
      if (!last_name_.empty() && entry.name <= last_name_)
        return damaged_node(describe(chunk), "names out of order");
      last_name_ = entry.name;
    }
  }
  return {};
}

Status DirectoryCursor::advance() {
  if (++at_ < entries_.size()) return {};
  return load_chunk();
}

Result<std::vector<BlockRef>> TreeReader::leaf(const NodeRef& leaf) {
  TRY_ASSIGN(ByteView plain, load(leaf));
  return decode_leaf(describe(leaf), plain);
}

Status TreeReader::blocks(const Entry& file,
                          const std::function<Status(uint64_t, const std::vector<BlockRef>&)>& each) {
  if (!file.blocks.empty()) TRY(each(0, file.blocks));
  for (size_t i = 0; i < file.leaves.size(); ++i) {
    TRY_ASSIGN(std::vector<BlockRef> refs, leaf(file.leaves[i]));
    uint64_t covered = 0;
    for (const BlockRef& ref : refs) covered += ref.count;
    // Every leaf but the last is full: positions follow from the order alone (T36).
    if (covered > kMapLeafBlocks || (covered < kMapLeafBlocks && i + 1 < file.leaves.size())) {
      return damaged_node(describe(file.leaves[i]), cat("maps ", covered, " blocks of \"", file.name, "\""));
    }
    TRY(each(uint64_t{i} * kMapLeafBlocks, refs));
  }
  return {};
}

Status TreeReader::walk(const NodeRef& directory,
                        const std::function<Status(const std::string&, const Entry&)>& each) {
  struct Pending {
    std::string path;
    NodeRef node;
    int depth;
  };
  std::vector<Pending> pending{{"", directory, 0}};
  while (!pending.empty()) {
    Pending here = std::move(pending.back());
    pending.pop_back();
    if (here.depth > kMaxDepth) return damaged_node(describe(here.node), "directories nested too deep");
    std::vector<Pending> below;
    TRY(list(here.node, [&](const Entry& entry) -> Status {
      std::string path = here.path.empty() ? entry.name : cat(here.path, "/", entry.name);
      TRY(each(path, entry));
      if (entry.type == EntryType::directory) below.push_back({path, entry.directory, here.depth + 1});
      return {};
    }));
    std::move(below.rbegin(), below.rend(), std::back_inserter(pending));
  }
  return {};
}

Result<Entry> TreeReader::find(const NodeRef& root, std::string_view path) {
  NodeRef here = root;
  auto parts = split(path, '/');
  for (size_t i = 0; i < parts.size(); ++i) {
    std::optional<Entry> found;
    TRY(list(here, [&](const Entry& entry) -> Status {
      if (entry.name == parts[i]) found = entry;
      return {};
    }));
    if (!found) return make_error(ErrorKind::not_found, std::string(path), "not in this backup");
    if (i + 1 == parts.size()) return std::move(*found);
    if (found->type != EntryType::directory)
      return make_error(ErrorKind::not_found, std::string(path), "not in this backup");
    here = found->directory;
  }
  return make_error(ErrorKind::not_found, std::string(path), "not in this backup");
}

Status TreeReader::visit(const NodeRef& root, const Visitor& visitor) {
  struct Pending {
    NodeRef node;
    int depth;
  };
  std::vector<Pending> pending{{root, 0}};
  auto data = [&](const std::vector<BlockRef>& refs) -> Status {
    for (const BlockRef& ref : refs) TRY(visitor.data(ref));
    return {};
  };
  while (!pending.empty()) {
    Pending here = pending.back();
    pending.pop_back();
    if (here.depth > 4 * kMaxDepth) return damaged_node(describe(here.node), "nested too deep");
    if (!visitor.descend(here.node)) continue;
    TRY_ASSIGN(ByteView plain, load(here.node));
    std::string object = describe(here.node);
    switch (static_cast<NodeType>(plain[0])) {
      case NodeType::chunks: {
        TRY_ASSIGN(auto chunks, decode_chunks(object, plain));
        for (const ChunkRef& chunk : chunks) pending.push_back({chunk.node, here.depth + 1});
        break;
      }
      case NodeType::entries: {
        TRY_ASSIGN(auto entries, decode_entries(object, plain));
        for (const Entry& entry : entries) {
          if (entry.type == EntryType::directory) pending.push_back({entry.directory, here.depth + 1});
          for (const NodeRef& leaf : entry.leaves) pending.push_back({leaf, here.depth + 1});
          TRY(data(entry.blocks));
        }
        break;
      }
      case NodeType::leaf: {
        TRY_ASSIGN(auto refs, decode_leaf(object, plain));
        TRY(data(refs));
        break;
      }
      default:
        return damaged_node(object, cat("unknown type ", plain[0]));
    }
  }
  return {};
}

}  // namespace lifeboat::repo
