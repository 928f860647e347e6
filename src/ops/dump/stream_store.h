// Streams on their way into packs, as the files of a tree, and back.
//
// A stream of unknown length is cut into frames; a few workers compress, seal and store them, each into packs
// of its own, while the next ones are read. Memory: two frames a worker, and for each file the references of
// at most one leaf (128 MiB) that is not complete yet; a larger file's map is written as it grows.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "ops/work_queue.h"
#include "repo/tree.h"
#include "util/stop.h"

namespace lifeboat::ops {

inline constexpr uint32_t kStreamBlock = 32 << 10;  // block_size of a dump's manifest
inline constexpr size_t kStreamFrame = size_t{repo::kFrameBlocks} * kStreamBlock;  // 1 MiB

class StreamStore;

// One file. Thread rule: one thread at a time.
class StreamFile {
 public:
  Status append(ByteView bytes);
  // Nothing may be appended any more; does not wait.
  Status close();
  // Closes, and waits until all of it is stored.
  Result<repo::Entry> finish();
  uint64_t size() const { return size_; }

 private:
  friend class StreamStore;
  StreamFile(StreamStore& store, std::string path) : store_(store), path_(std::move(path)) {}
  Status flush();
  Status write_full_leaves();

  StreamStore& store_;
  const std::string path_;
  std::weak_ptr<StreamFile> self_;
  Bytes frame_;
  uint64_t size_ = 0;
  uint64_t frames_ = 0;
  uint64_t first_ref_ = 0;  // the frame that the next leaf begins with
  std::vector<repo::NodeRef> leaves_;
  // Guarded by the store's mutex:
  uint64_t arrived_ = 0;                     // frames
  std::map<uint64_t, repo::BlockRef> refs_;  // by frame, those that are in no leaf yet
};

// Destroyed before finish(), it leaves unreferenced packs behind, as any attempt that fails.
class StreamStore {
 public:
  StreamStore(const repo::LineageRepo& repo, const BackupId& id, repo::CompressionOptions compression,
              int workers);
  ~StreamStore();
  StreamStore(const StreamStore&) = delete;
  StreamStore& operator=(const StreamStore&) = delete;

  // `path` is its place in the tree. The file must not be used after the store's end.
  std::shared_ptr<StreamFile> begin(std::string path);
  // Files and directories by name, into a directory.
  Result<repo::NodeRef> write_directory(std::map<std::string, repo::Entry> entries);
  // Everything is in the repository then.
  Status finish();
  uint64_t stored_bytes() const;  // after finish()

 private:
  friend class StreamFile;
  struct Piece {
    std::shared_ptr<StreamFile> file;
    uint64_t frame = 0;
    Bytes content;
  };
  void work();
  void fail(const Error& error);
  Status store(const Piece& piece, repo::PackWriter& packs);

  repo::LineageRepo repo_;
  repo::CompressionOptions compression_;
  repo::PackNumbers numbers_;
  repo::PackNodeSink nodes_;
  WorkQueue<Piece> queue_;
  std::mutex mutex_;
  std::condition_variable changed_;  // a frame arrived, or somebody failed
  uint64_t data_bytes_ = 0;          // guarded by mutex_
  std::vector<std::thread> workers_;
};

// The content of a file, from its first byte to its last, each range against its hash. `block_size` is the
// manifest's.
Status read_stream(const repo::LineageRepo& repo, uint32_t block_size, const repo::Entry& file,
                   const StopToken& stop, const std::function<Status(ByteView)>& take);
// The same of a small one.
Result<std::string> read_small(const repo::LineageRepo& repo, uint32_t block_size, const repo::Entry& file,
                               const StopToken& stop);

repo::Entry directory_entry(const repo::NodeRef& node);

}  // namespace lifeboat::ops
