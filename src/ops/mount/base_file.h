// One file of the target whose missing blocks come from the backup: what is local, what is being fetched, and
// the rules by which reads, writes and truncations of the server and fetches from the repository meet.
//
// - A block that is not local is never read from the target: it is fetched first, checked, and written there.
// - What the server wrote is never overwritten: a fetch writes only blocks that are missing at that moment,
// and
//   that, like every write of the server and the noting of both, happens under one lock per file.
// - A frame is fetched once however many wait for it. A fetch that waits for a free thread can be done by
//   whoever needs it, so that nobody waits for somebody who waits.
// - What is local is known in memory and found again from the file's data and holes: a block counts as local
//   only when all of it is data (T48). What was written and not synced may be lost in a power cut, as in any
//   file; the block then comes from the backup again or is half old and half new, which PostgreSQL's
//   full-page images repair.
// - Each file carries a mark (an extended attribute): the mount's id, the file's number, and the limit up to
//   which missing blocks come from the backup. A truncation first shortens the file and then lowers the
//   limit, and on load the limit is at most what the size allows, so that a crash in between changes nothing.
//   The limit is written at once and data when the kernel likes: what falls past it was synced before.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops/mount/block_map.h"
#include "ops/mount/fresh_pieces.h"
#include "ops/mount/local_blocks.h"
#include "ops/mount/read_ahead.h"
#include "repo/block_reader.h"
#include "util/files.h"
#include "util/stop.h"

namespace lifeboat::ops {

inline constexpr const char* kMarkAttribute = "user.lifeboat.mount";

struct FileMark {
  std::string mount;   // id
  uint64_t file = 0;   // number in the table
  uint64_t limit = 0;  // blocks
  std::string to_text() const;
  static std::optional<FileMark> parse(std::string_view text);
};
// nullopt: the file has none.
Result<std::optional<FileMark>> read_mark(int fd, std::string_view path);
Status write_mark(int fd, const FileMark& mark, std::string_view path);

struct FetchHands;

// Runs jobs on threads that have hands. Jobs that wait do so only for running ones.
class FetchPool {
 public:
  virtual ~FetchPool() = default;
  virtual void submit(std::function<void(FetchHands&)> job) = 0;
  // Before all that was only submitted: the server waits for it.
  virtual void submit_first(std::function<void(FetchHands&)> job) = 0;
};

// What a thread fetches with; `pool` takes what can be done beside it.
struct FetchHands {
  repo::PieceReader pieces;
  repo::TreeReader tree;
  FetchPool& pool;
  FetchHands(const repo::LineageRepo& repo, uint32_t block_size, FetchPool& fetch_pool)
      : pieces(repo, block_size), tree(repo), pool(fetch_pool) {}
};

// Whether an operation was done, or needs blocks from the repository first and must come again with hands.
enum class Outcome : uint8_t { done, needs_hands };

// Thread rule: any thread.
class BaseFile : public std::enable_shared_from_this<BaseFile> {
 public:
  struct Shared {                            // by all files of a mount
    std::atomic<uint64_t> fetched_bytes{0};  // plain, brought from the repository
    std::atomic<uint64_t> fetches{0};
    FreshPieces fresh;                  // under each state's own key, never one of an earlier state
    std::atomic<int64_t> waited_us{0};  // when a reader last had to wait, by the monotonic clock
    std::atomic<uint64_t> loaded{0};    // states, which gives that key
  };
  // `fd` is open for reading and writing. Looks for data and holes.
  static Result<std::shared_ptr<BaseFile>> load(Fd fd, FileMark mark, std::string path, BlockMap& map,
                                                Shared& shared);

  // Where what is read stands: in the file; in memory, as a reader that goes from front to back gets it, and
  // perhaps nowhere else; or nowhere yet, and hands are needed.
  enum class Found : uint8_t { in_file, fresh, needs_hands };
  // Brings what of [offset, offset + length) is missing. Cheap when all is there. What is `in_file` stays
  // there until the server itself changes it. Errors: damaged and those of the store (read from the
  // repository), space and those of the file system.
  Result<Found> prepare_read(uint64_t offset, uint64_t length, FreshParts& fresh, FetchHands* hands);
  // What the reader will want next is fetched by the pool.
  void read_ahead(uint64_t offset, uint64_t length, FetchPool& pool);

  // As pwrite(2) and the `flags` of pwritev2(2). An edge block that is missing is made local first.
  Result<Outcome> write(uint64_t offset, ByteView bytes, int flags, FetchHands* hands);
  Result<Outcome> truncate(uint64_t size, FetchHands* hands);
  // As fallocate(2) without flags or with FALLOC_FL_KEEP_SIZE. What is missing stays missing.
  Result<Outcome> allocate(int mode, uint64_t offset, uint64_t length, FetchHands* hands);

  // For bringing several small files at once: what is missing of the first leaf is added to `pieces`, with
  // `index` as their file. They borrow the leaf.
  Result<std::shared_ptr<const MapLeaf>> add_missing(size_t index, std::vector<repo::Piece>& pieces,
                                                     FetchHands& hands);
  // One of them came.
  Status accept(const repo::Piece& piece, ByteView plain);
  // Brings all missing blocks, front to back, so that the repository is read in large pieces. `brought` hears
  // of bytes. cancelled.
  Status hydrate(FetchHands& hands, const StopToken& stop, const std::function<void(uint64_t)>& brought);
  // Syncs the file and takes its mark away once nothing is missing; false while something is.
  Result<bool> release();
  bool marked();  // false after release()
  uint64_t missing_bytes();
  uint64_t number() const { return mark_.file; }
  const std::string& path() const { return path_; }

 private:
  struct Fetch {
    uint64_t leaf = 0;
    repo::FrameRef frame;
    enum class State : uint8_t { queued, running, done } state = State::queued;
    std::optional<Error> error;
  };
  using FetchPtr = std::shared_ptr<Fetch>;
  using LeafPtr = std::shared_ptr<const MapLeaf>;

  BaseFile(Fd fd, FileMark mark, std::string path, BlockMap& map, Shared& shared)
      : fd_(std::move(fd)),
        mark_(std::move(mark)),
        path_(std::move(path)),
        map_(map),
        shared_(shared),
        fresh_key_(++shared.loaded),
        blocks_(map.block_size(), mark_.limit) {}
  Status find_data();
  Result<uint64_t> size() const;
  BlockRange blocks_of(const repo::Piece& piece) const;
  bool is_needed(const repo::Piece& piece) const;
  bool is_fresh(const repo::Piece& piece) const;
  FetchPtr fetch_of(uint64_t leaf, const repo::FrameRef& frame, bool& is_new);
  bool is_late() const;
  void carry_out(const FetchPtr& fetch, const LeafPtr& leaf, FetchHands& hands, bool for_write);
  void submit(const FetchPtr& fetch, const LeafPtr& leaf, FetchPool& pool);
  // Whether the page cache keeps what is written: somebody is about to read it, or all of a large file is
  // brought. `fresh`: who reads it gets it from memory of ours, and the kernel keeps what it was answered.
  // `fresh_only`: and it is not written, because readers wait.
  enum class Cache : uint8_t { keep, leave, fresh, fresh_only };
  Status write_missing(const repo::Piece& piece, ByteView plain, Cache cache);
  // With `fresh`, what a reader from front to back gets from memory is enough, and `length` bytes from
  // `offset` on are looked for there.
  struct Wanted {
    BlockRange range;
    uint64_t offset = 0;
    uint64_t length = 0;
    FreshParts* fresh = nullptr;
  };
  Status make_local(const Wanted& wanted, FetchHands& hands);
  Status fetch_ahead(uint64_t begin, uint64_t end, FetchHands& hands);
  void forget_fresh();
  Status lower_limit(uint64_t limit);
  std::optional<uint64_t> missing_end(uint64_t size) const;
  Status own_from(uint64_t size);

  Fd fd_;
  FileMark mark_;
  std::string path_;
  BlockMap& map_;
  Shared& shared_;
  const uint64_t fresh_key_;
  std::atomic<bool> complete_{false};  // nothing is missing any more

  std::mutex mutex_;  // guards what follows, and every write into the file
  std::condition_variable fetched_;
  LocalBlocks blocks_;
  ReadAhead ahead_;
  std::atomic<bool> has_fresh_{false};  // pieces of it are there
  std::vector<FetchPtr> fetches_;       // not done
  bool marked_ = true;
};

// Finds the state of an open file by its inode, so that it does not matter what it is called. The states that
// were used last stay loaded. Thread rule: any thread.
class BaseFiles {
 public:
  static constexpr size_t kRecent = 1024;
  // `recent`: states that stay loaded although nobody has the file open.
  BaseFiles(std::string mount, BlockMap& map, size_t recent = kRecent)
      : mount_(std::move(mount)), map_(map), most_recent_(recent) {}
  // null: the file has nothing to do with the backup. `fd` is any descriptor of it; `reopen` gives one for
  // reading and writing.
  Result<std::shared_ptr<BaseFile>> of(int fd, std::string_view path,
                                       const std::function<Result<Fd>()>& reopen);
  // The file lost its last name.
  void forget(uint64_t device, uint64_t inode);
  std::vector<std::shared_ptr<BaseFile>> recent();
  BaseFile::Shared& shared() { return shared_; }

 private:
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    bool operator==(const Identity&) const = default;
  };
  struct IdentityHash {
    size_t operator()(const Identity& id) const {
      return std::hash<uint64_t>()(id.inode * 0x9e3779b97f4a7c15 + id.device);
    }
  };
  std::string mount_;
  BlockMap& map_;
  const size_t most_recent_;
  BaseFile::Shared shared_;
  std::mutex mutex_;
  std::unordered_map<Identity, std::weak_ptr<BaseFile>, IdentityHash> known_;
  std::list<std::pair<Identity, std::shared_ptr<BaseFile>>> recent_;
  size_t sweep_at_ = 1024;
};

}  // namespace lifeboat::ops
