#include "ops/dump/stream_store.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kLeafFrames = repo::kMapLeafBlocks / repo::kFrameBlocks;
constexpr uint64_t kSmallFile = 64 << 20;

}  // namespace

// --- StreamFile

Status StreamFile::append(ByteView bytes) {
  size_ += bytes.size();
  while (!bytes.empty()) {
    size_t room = std::min(kStreamFrame - frame_.size(), bytes.size());
    frame_.insert(frame_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(room));
    bytes = bytes.subspan(room);
    if (frame_.size() == kStreamFrame) TRY(flush());
  }
  return {};
}

Status StreamFile::flush() {
  StreamStore::Piece piece{self_.lock(), frames_, std::move(frame_)};
  frame_ = {};
  TRY(store_.queue_.push(std::move(piece)));
  ++frames_;
  return write_full_leaves();
}

Status StreamFile::write_full_leaves() {
  std::vector<repo::BlockRef> leaf;
  {
    std::lock_guard lock(store_.mutex_);
    // The frames of a leaf are all there when its last one is and as many as it takes.
    auto end = refs_.lower_bound(first_ref_ + kLeafFrames);
    if (static_cast<uint64_t>(std::distance(refs_.begin(), end)) < kLeafFrames) return {};
    for (auto ref = refs_.begin(); ref != end; ++ref) leaf.push_back(ref->second);
    refs_.erase(refs_.begin(), end);
    first_ref_ += kLeafFrames;
  }
  TRY_ASSIGN(repo::NodeRef node, store_.nodes_.write(repo::encode_leaf(leaf)));
  leaves_.push_back(node);
  return {};
}

Status StreamFile::close() {
  if (frame_.empty()) return {};
  return flush();
}

Result<repo::Entry> StreamFile::finish() {
  TRY(close());
  {
    std::unique_lock lock(store_.mutex_);
    store_.changed_.wait(lock, [&] { return arrived_ == frames_ || store_.queue_.error(); });
  }
  if (auto error = store_.queue_.error()) return std::move(*error);
  while (first_ref_ + kLeafFrames <= frames_) TRY(write_full_leaves());
  repo::Entry entry;
  entry.type = repo::EntryType::file;
  entry.mode = 0600;
  entry.size = size_;
  std::vector<repo::BlockRef> refs;
  for (const auto& [frame, ref] : refs_) refs.push_back(ref);
  if (leaves_.empty()) {
    TRY(repo::write_block_map(store_.nodes_, std::move(refs), entry));
    return entry;
  }
  if (!refs.empty()) {
    TRY_ASSIGN(repo::NodeRef node, store_.nodes_.write(repo::encode_leaf(refs)));
    leaves_.push_back(node);
  }
  entry.leaves = leaves_;
  return entry;
}

// --- StreamStore

StreamStore::StreamStore(const repo::LineageRepo& repo, const BackupId& id,
                         repo::CompressionOptions compression, int workers)
    : repo_(repo),
      compression_(compression),
      numbers_(id),
      nodes_(repo, numbers_),
      queue_(static_cast<size_t>(std::max(1, workers))) {
  for (int i = 0; i < std::max(1, workers); ++i) workers_.emplace_back([this] { work(); });
}

StreamStore::~StreamStore() {
  queue_.fail(make_error(ErrorKind::cancelled, "", "given up"));
  for (std::thread& worker : workers_) {
    if (worker.joinable()) worker.join();
  }
}

std::shared_ptr<StreamFile> StreamStore::begin(std::string path) {
  std::shared_ptr<StreamFile> file(new StreamFile(*this, std::move(path)));
  file->self_ = file;
  return file;
}

void StreamStore::fail(const Error& error) {
  queue_.fail(error);
  std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void StreamStore::work() {
  repo::PackWriter packs(repo_, numbers_, repo::PackKind::data, compression_);
  while (auto piece = queue_.pop()) {
    if (auto done = store(*piece, packs); !done) return fail(done.error());
  }
  if (queue_.error()) return;
  if (auto done = packs.finish(); !done) fail(done.error());
  std::lock_guard lock(mutex_);
  data_bytes_ += packs.stored_bytes();
}

Status StreamStore::store(const Piece& piece, repo::PackWriter& packs) {
  repo::BlockRun run;
  run.first = piece.frame * repo::kFrameBlocks;
  run.count = static_cast<uint32_t>((piece.content.size() + kStreamBlock - 1) / kStreamBlock);
  run.hash = codec::hash128(piece.content);
  TRY_ASSIGN(repo::FrameRef frame, packs.append(piece.content, {piece.file->path_, {&run, 1}}));
  std::lock_guard lock(mutex_);
  piece.file->refs_.emplace(piece.frame, repo::BlockRef{frame, 0, run.count, run.hash});
  ++piece.file->arrived_;
  changed_.notify_all();
  return {};
}

Result<repo::NodeRef> StreamStore::write_directory(std::map<std::string, repo::Entry> entries) {
  repo::DirectoryWriter directory(nodes_);
  for (auto& [name, entry] : entries) {
    entry.name = name;
    TRY(directory.add(std::move(entry)));
  }
  return directory.finish();
}

Status StreamStore::finish() {
  queue_.close();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  if (auto error = queue_.error()) return std::move(*error);
  return nodes_.finish();
}

uint64_t StreamStore::stored_bytes() const {
  return data_bytes_ + nodes_.stored_bytes();
}

// --- back

Status read_stream(const repo::LineageRepo& repo, uint32_t block_size, const repo::Entry& file,
                   const StopToken& stop, const std::function<Status(ByteView)>& take) {
  repo::TreeReader tree(repo);
  repo::PackReaders packs(repo, repo::PackKind::data);
  repo::Frame frame;
  uint64_t read = 0;
  TRY(tree.blocks(file, [&](uint64_t, const std::vector<repo::BlockRef>& refs) -> Status {
    for (const repo::BlockRef& ref : refs) {
      TRY(stop.check());
      TRY(packs.read(ref.frame, frame));
      auto content = ref.whole() ? ref.hashed(frame.plain, block_size) : std::nullopt;
      if (!content || codec::hash128(*content) != ref.hash) {
        return make_error(ErrorKind::damaged, repo::pack_name(ref.frame.pack, repo::PackKind::data),
                          cat("frame ", ref.frame.place.number, " is not what the dump refers to"));
      }
      read += content->size();
      TRY(take(*content));
    }
    return {};
  }));
  if (read == file.size) return {};
  return make_error(ErrorKind::damaged, file.name, cat("has ", read, " bytes, expected ", file.size));
}

Result<std::string> read_small(const repo::LineageRepo& repo, uint32_t block_size, const repo::Entry& file,
                               const StopToken& stop) {
  if (file.size > kSmallFile)
    return make_error(ErrorKind::damaged, file.name, "is larger than such a file can be");
  std::string content;
  TRY(read_stream(repo, block_size, file, stop, [&](ByteView bytes) -> Status {
    content.append(as_text(bytes));
    return {};
  }));
  return content;
}

repo::Entry directory_entry(const repo::NodeRef& node) {
  repo::Entry entry;
  entry.type = repo::EntryType::directory;
  entry.mode = 0700;
  entry.directory = node;
  return entry;
}

}  // namespace lifeboat::ops
