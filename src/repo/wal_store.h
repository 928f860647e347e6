// WAL files in the repository: segments, .partial and .backup files, and timeline histories.
//
//   wal/<timeline>/<log id>/<file name>-<name hash>     segments, .partial, .backup
//   wal/<timeline>/<timeline>.history-<name hash>       histories
//
// The name hash (32 hex digits) is keyed and made of the file name and the XXH3-128 of its plain content, so
// that a pusher that may not read can still tell equal from different by listing. Equal content again is
// success (T22, W2). Two names for one file are a conflict (split brain, foreign clone: T46): reported by
// everybody who meets it, never resolved by order. Whether a system identifier belongs here is checked by the
// caller; the lineage is part of the path (T26).
//
// Thread rule: const, stateless but for the repository; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "model/wal_name.h"
#include "repo/repository.h"

namespace lifeboat::repo {

inline constexpr size_t kWalFrameBytes = 1 << 20;

// The file to be pushed: reads `out.size()` bytes at `offset`. Read twice, once for the name and once to
// store.
struct WalSource {
  uint64_t size = 0;
  std::function<Status(uint64_t offset, MutableBytes out)> read_at;
  static WalSource from_bytes(ByteView bytes);                        // borrows
  static WalSource from_fd(int fd, uint64_t size, std::string path);  // pread(2); borrows the descriptor
};

// The XXH3-128 of a source, in one pass of bounded memory.
Result<codec::Hash128> hash_source(const WalSource& source);
// Compresses and seals a source as an object's whole content; returns the hash of what was written, which
// differs from hash_source() when the source changed meanwhile.
Result<codec::Hash128> write_frames(FrameWriter& writer, const WalSource& source);

enum class PushOutcome : uint8_t { stored, already_stored };

// One stored WAL file.
struct WalObject {
  WalFileName file;
  std::string object;  // full name in the store
  codec::Hash128 name_hash{};
  uint64_t stored_bytes = 0;
  Timestamp stored;  // when, by the store's clock
};

// A line of a timeline history: `timeline` was left at `switch_point` for the next line's timeline, the last
// line for the timeline whose history it is (src/backend/access/transam/timeline.c).
struct HistoryLine {
  Timeline timeline;
  Lsn switch_point;
};
Result<std::vector<HistoryLine>> parse_history(std::string_view name, std::string_view text);

struct Coverage {
  std::optional<SegmentName> first_missing;  // none: continuous from the first to the last position
  std::vector<SegmentName> conflicts;  // stored more than once with different content, before first_missing
  Lsn covered_to;                      // end of the last segment before first_missing
  bool complete() const { return !first_missing && conflicts.empty(); }
};

// A WAL file that is written and has no name yet, so that nobody sees it. Destroyed, it leaves nothing. Must
// not outlive its store.
class StagedWal {
 public:
  // Nothing was written, because the same content is stored.
  bool stored_before() const { return writer_ == nullptr; }
  // Makes what was written durable, so that publishing finds little left to do.
  Status sync() { return writer_ == nullptr ? Status() : writer_->sync(); }

 private:
  friend class WalStore;
  WalFileName file_;
  std::string object_;
  codec::Hash128 name_hash_{};
  std::unique_ptr<storage::ObjectWriter> writer_;
};

// How much CPU time a segment may cost.
enum class WalEffort : uint8_t {
  usual,    // compressed as the repository is configured
  hurried,  // for who has to catch up: where zstd at its first level is configured, lz4 does it in half the
            // time, and about twice the size
};

class WalStore {
 public:
  // Test-only: leaving one out must be noticed by tests/crash/repo_model_test.cc.
  struct Guards {
    bool conflict_check = true;
  };

  explicit WalStore(const LineageRepo& repo) : repo_(repo) {}
  WalStore(const LineageRepo& repo, Guards guards) : repo_(repo), guards_(guards) {}

  // Durably stored on success. Errors: `conflict` when other content is or was stored meanwhile under this
  // file name (names both objects; nothing is overwritten), `failed` when the source changed while it was
  // read, and the store's. Needs the right to list and to create, not to read. Memory does not grow with the
  // size.
  Result<PushOutcome> push(const WalFileName& file, const WalSource& source) const;
  // The same in two steps: a file can be written while the one before it is not accepted yet. Both give the
  // errors of push().
  Result<StagedWal> stage(const WalFileName& file, const WalSource& source,
                          WalEffort effort = WalEffort::usual) const;
  Result<PushOutcome> publish(StagedWal staged) const;

  // nullopt: certainly not stored. `conflict` when several contents are.
  Result<std::optional<WalObject>> find(const WalFileName& file) const;
  // Every stored content of a file; more than one is a conflict. In order of names.
  Result<std::vector<WalObject>> find_all(const WalFileName& file) const;

  // What is listed survives a power cut from now on, whoever wrote it (T21).
  Status confirm(const WalObject& object) const { return repo_.store().confirm(object.object); }

  // Streams the plain content to `sink` in order and returns its size. Every frame is authenticated before
  // the sink sees it; that the whole is what its name says is known only on success, so the sink's target is
  // published only then. Errors: not_found, conflict, damaged, the sink's, the store's.
  using Sink = std::function<Status(ByteView piece)>;
  Result<uint64_t> get(const WalFileName& file, const Sink& sink) const;
  Result<uint64_t> get_object(const WalObject& object, const Sink& sink) const;
  // Whole small files (.history, .backup).
  Result<Bytes> get_small(const WalFileName& file, uint64_t size_limit) const;

  Result<std::vector<Timeline>> timelines() const;  // ascending; those that have any object
  // Segments, .partial and .backup files of a timeline in byte order of names, from the segment `from` to
  // before `end` (none: no bound). Listing only.
  struct Range {
    std::optional<SegmentName> from;
    std::optional<SegmentName> end;
  };
  Status list(Timeline timeline, const Range& range,
              const std::function<Status(const WalObject&)>& each) const;
  // Whole segments only, each once; `copies` above 1 is a conflict.
  Status list_segments(Timeline timeline, const Range& range,
                       const std::function<Status(const SegmentName&, int copies)>& each) const;
  Result<std::optional<SegmentName>> newest_segment(Timeline timeline) const;
  // The oldest and newest segment that any stored file but the history belongs to.
  struct Extent {
    SegmentName oldest;
    SegmentName newest;
  };
  Result<std::optional<Extent>> extent(Timeline timeline) const;
  // All stored histories, ascending by timeline; a conflict shows as two entries of one timeline.
  Result<std::vector<WalObject>> histories() const;
  // Lines of the history of `timeline`: not_found, conflict, damaged. Timeline 1 has none and needs none:
  // empty.
  Result<std::vector<HistoryLine>> history(Timeline timeline) const;

  // Are the whole segments stored that hold every byte from `from` to before `to`, all on one timeline?
  Result<Coverage> coverage(Timeline timeline, Lsn from, Lsn to, SegmentSize size) const;

 private:
  // Whether this very content is stored; `conflict` when another one is.
  Result<bool> look(const WalFileName& file, const std::string& object, const codec::Hash128& hash) const;

  LineageRepo repo_;
  Guards guards_;
};

// What lies below `root` ("wal/", "summaries/") as WAL does: by timeline and log id, under the names of WAL
// objects.
Result<std::vector<Timeline>> list_wal_timelines(const LineageRepo& repo, std::string_view root);
Status list_by_segment(const LineageRepo& repo, std::string_view root, Timeline timeline,
                       const WalStore::Range& range, const std::function<Status(const WalObject&)>& each);

// Names below the lineage: "wal/00000001/00000000/000000010000000000000001-<hash>".
std::string wal_object_name(const WalFileName& file, const codec::Hash128& name_hash);
// nullopt: not the name of a WAL object.
std::optional<WalObject> parse_wal_object_name(std::string_view below);

}  // namespace lifeboat::repo
