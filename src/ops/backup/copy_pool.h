// The copy pipeline: workers that each take a range of a file through every stage in one pass over memory
// (read, page checksum, hash, compress, seal, append to their own pack). Nothing is shared on the hot path
// but the queue.
//
// Work is cut into ranges of kRangeBytes, so one large file keeps every worker busy. The worker that finishes
// the last range of a file writes its block map, the one that finishes the last entry of a directory writes
// the directory, and so up to the root: memory is bounded by the queue and by the directories that are open
// at one time (T42).
//
// What an earlier backup, or an attempt that is gone on with, has of a file is not stored again: what a
// change map vouches for is not even read, and what is read is compared by hash, run by run. Only what is
// carried forward (carry.h) is stored anew.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ops/backup/carry.h"
#include "ops/backup/change_counts.h"
#include "ops/backup/page_check.h"
#include "pg/files/entry.h"
#include "pg/files/source.h"
#include "pg/wal/change_map.h"
#include "repo/attempt.h"
#include "repo/pack_usage.h"
#include "repo/tree.h"
#include "util/clock.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct CopyOptions {
  int workers = 1;
  uint32_t block_size = 8192;
  uint64_t segment_blocks = 131072;  // blocks of one relation segment file
  uint64_t bytes_per_second = 0;     // 0: no limit
  Lsn start;                         // of this backup: what an attempt has of later pages is not trusted
  // Reads what the map calls unchanged too and compares it with the reference.
  struct Proof {
    Lsn from;  // the reference's start
    Lsn to;    // this backup's start
  };
  std::optional<Proof> prove;
  const Carry* carry = nullptr;  // outlives the pool; null: nothing is carried forward
};

// What is there of a file already, and what is known to have changed since. The sets outlive the pool.
struct FileBefore {
  // Of the reference backup; of size 0 when it does not know the file.
  repo::Entry entry;
  // Blocks below this are as they were, but for those in `changed`. Whatever else is read whole.
  uint64_t mapped_blocks = 0;
  const pg::BlockSet* changed = nullptr;  // in blocks of the fork. Null: none
  const pg::BlockSet* carried =
      nullptr;  // in blocks of the file: those that may have to be carried forward. Null: none
  // Of attempts, oldest first: the same for the blocks that each stored.
  struct Attempted {
    std::vector<repo::StoredRun> runs;
    uint64_t mapped_blocks = 0;
    const pg::BlockSet* changed = nullptr;
    Lsn start;
  };
  std::vector<Attempted> attempts;
  // Blocks below this are decided by some map.
  uint64_t mapped() const;
};

// A directory whose entries are being copied. Finished when its last entry and its listing token are given
// back. Entries are written as soon as all before them are, so that a directory of a million files is not
// held.
class OpenDirectory {
 public:
  OpenDirectory(std::string tree_path, std::shared_ptr<OpenDirectory> parent, size_t slot_in_parent,
                size_t slots, repo::NodeSink& nodes)
      : tree_path_(std::move(tree_path)),
        parent_(std::move(parent)),
        slot_in_parent_(slot_in_parent),
        entries_(slots),
        done_(slots),
        writer_(nodes),
        pending_(slots + 1) {}
  const std::string& tree_path() const { return tree_path_; }  // "pgdata/base/5"

 private:
  friend class CopyPool;
  std::string tree_path_;
  std::shared_ptr<OpenDirectory> parent_;
  size_t slot_in_parent_;
  std::mutex mutex_;  // guards what follows, but for pending_
  std::vector<std::unique_ptr<repo::Entry>>
      entries_;  // in order of names; null: vanished, to come, or written
  std::vector<bool> done_;
  size_t written_ = 0;  // entries before this are with the writer
  repo::DirectoryWriter writer_;
  std::atomic<size_t> pending_;  // with the listing token
};

struct CopyTotals {
  uint64_t files = 0;
  uint64_t directories = 0;
  uint64_t plain_bytes = 0;
  uint64_t read_bytes = 0;
  uint64_t stored_bytes = 0;
};

// Thread rule: one coordinator thread opens directories and submits files.
class CopyPool {
 public:
  CopyPool(const repo::LineageRepo& repo, repo::PackNumbers& numbers, PageChecker& checker,
           CopyOptions options, Reporter& reporter, StopToken& stop);
  ~CopyPool();
  CopyPool(const CopyPool&) = delete;
  CopyPool& operator=(const CopyPool&) = delete;

  // What the progress display counts towards.
  void expect_bytes(uint64_t total) { expected_bytes_ = total; }

  // Opens a directory with one slot per entry of its listing.
  std::shared_ptr<OpenDirectory> open_root(size_t slots);
  std::shared_ptr<OpenDirectory> open_directory(const std::shared_ptr<OpenDirectory>& parent, size_t slot,
                                                repo::Entry entry, size_t slots);
  // Copies a file in the background; waits while the queue is full. nullptr: it was removed since the
  // listing. The error of a failed worker is returned here or by finish().
  Status copy_file(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                   std::unique_ptr<pg::SourceFile> file, repo::Entry entry, const pg::Entry& facts,
                   std::optional<FileBefore> before = std::nullopt);
  // Puts a file of which everything is as it was: `entry` with the blocks of `before`.
  void put_unchanged(const std::shared_ptr<OpenDirectory>& directory, size_t slot, repo::Entry entry,
                     repo::Entry before);
  // The reference's entry, of whatever type, is not in this backup any more: its blocks are not referred to.
  Status forget(const repo::Entry& gone);
  // Puts an entry that needs no copying (a link), or content that the caller holds.
  void put_entry(const std::shared_ptr<OpenDirectory>& directory, size_t slot,
                 std::optional<repo::Entry> entry);
  Status put_content(const std::shared_ptr<OpenDirectory>& directory, size_t slot, repo::Entry entry,
                     ByteView content);
  // Gives back the listing token: no more entries will be submitted.
  void close_directory(const std::shared_ptr<OpenDirectory>& directory) { give_back(directory); }
  bool proves() const { return options_.prove.has_value(); }
  // Waits until the queue is empty and every submitted range is copied.
  Status drain();
  // drain(), then commits every pack. The references are valid afterwards.
  Status finish();
  const repo::NodeRef& root() const { return root_; }
  const repo::NodeRef& usage() const { return usage_; }  // how full each pack is now
  CopyTotals totals() const;
  const ChangeCounts& changes() const { return changes_; }

 private:
  struct FileJob;
  struct Part;
  struct RangeTask;
  class Worker;
  enum class Ending : uint8_t { no, commit, abandon };
  void end_threads(Ending how);
  Ending ending();
  Status enqueue(RangeTask task);
  bool take(RangeTask& task);
  void run(Worker& worker);
  void finish_file(FileJob& job, Worker& worker);
  Status write_map(FileJob& job, repo::UsageTally& tally);
  void count(const FileJob& job, uint64_t new_blocks);
  Status write_usage();
  Status forget_blocks(const repo::Entry& gone, uint64_t from_block);
  void find_old_leaves(FileJob& job) const;
  void give_back(std::shared_ptr<OpenDirectory> directory);
  static Status write_done(OpenDirectory& directory);
  void fail(Error error);
  Status failure();
  void throttle(uint64_t bytes);

  repo::LineageRepo repo_;
  BackupId backup_;  // this one
  repo::PackNodeSink nodes_;
  PageChecker& checker_;
  CopyOptions options_;
  Reporter& reporter_;
  StopToken& stop_;
  uint64_t expected_bytes_ = 0;
  repo::NodeRef root_;
  repo::NodeRef usage_;
  repo::TreeReader old_tree_;  // the coordinator's
  ChangeCounts changes_;

  std::mutex mutex_;
  std::condition_variable work_ready_;  // a task was queued, or the end
  std::condition_variable room_ready_;  // a task was taken or finished, or a failure
  std::deque<RangeTask> queue_;
  size_t running_ = 0;
  Ending ending_ = Ending::no;
  std::optional<Error> error_;

  std::atomic<uint64_t> files_{0};
  std::atomic<uint64_t> directories_{0};
  std::atomic<uint64_t> plain_bytes_{0};
  std::atomic<uint64_t> read_bytes_{0};
  int64_t began_us_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
};

}  // namespace lifeboat::ops
