// `wal push`: one WAL file of a data directory into the repository, durable before success (T21).
//
// What is checked before a byte is stored: the file lies in pg_wal of the data directory at hand; a segment
// says of itself what its name and pg_control say (system identifier, timeline, position, sizes: T26); the
// cluster name has seen this system identifier. The same content again is success; other content under the
// same name is `conflict` and changes nothing (T22). Before a segment of timeline N > 1 its history file is
// stored or compared (T23).
//
// A .partial segment (the old timeline's last one, renamed at a promotion) means something only up to its
// last valid record. Where the whole segment or another .partial is stored, the valid prefixes are compared
// instead of the files: what an agreeing longer one adds stands in the new timeline's copy of the segment.
//
// Segments that wait behind this one are stored along with it (ops/wal/push_ahead.h).
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "model/wal_name.h"
#include "ops/session.h"
#include "repo/wal_store.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

struct WalPushOptions {
  RepoLocation repo;
  std::string path;                   // what archive_command's %p gives; relative to the working directory
  std::string working_directory;      // must be the data directory
  std::optional<std::string> pgdata;  // when the user named it: must be the same directory
  std::string state_directory;  // where a failure is noted for doctor (ops/wal/push_state.h); "": nowhere
  int ahead = 0;                // how many segments that wait behind this one are stored with it, at most
  // When more WAL than that waits, a segment that cannot be stored is dropped (ops/wal/push_queue.h). Needs
  // the state directory.
  std::optional<uint64_t> queue_max_bytes;
};

struct WalPushResult {
  WalFileName file;
  Lineage lineage;
  repo::PushOutcome outcome = repo::PushOutcome::stored;
  std::string dropped = {};  // not stored but dropped, and why; empty: stored
};

// Errors: precondition (the working directory is not the data directory, or the file not in its pg_wal),
// usage (not the name of a WAL file), foreign, damaged, conflict, not_found (cluster or file), the store's.
Result<WalPushResult> push_wal(const WalPushOptions& options);

enum class PusherLife : uint8_t {
  one_call,
  resident,  // many follow, so what waits behind is prepared in between (ops/wal/push_ahead.h)
};

// The same for a process that stays: it keeps the repository open and knows what it stored ahead. One for
// each repository and cluster; it opens anew when another data directory comes, and after every failure.
// Thread rule: any thread, one push at a time.
class WalPusher {
 public:
  explicit WalPusher(PusherLife life = PusherLife::resident);
  ~WalPusher();
  // `options.repo` is the same at each call.
  Result<WalPushResult> push(const WalPushOptions& options);

 private:
  struct Open;
  const PusherLife life_;
  std::mutex mutex_;
  std::unique_ptr<Open> open_;
};

// Where WAL files are taken from.
class WalPlace {
 public:
  struct File {
    Fd fd;
    uint64_t size = 0;
    std::string path;  // for messages
  };
  virtual ~WalPlace() = default;
  // not_found when it is not there.
  virtual Result<File> open(const WalFileName& file) = 0;
  // Its first bytes, fewer when it is shorter; the same.
  virtual Result<Bytes> head(const WalFileName& file, size_t size) = 0;
};

// A directory on this host.
class WalDirectory : public WalPlace {
 public:
  explicit WalDirectory(std::string path) : path_(std::move(path)) {}
  Result<File> open(const WalFileName& file) override;
  Result<Bytes> head(const WalFileName& file, size_t size) override;

 private:
  std::string path_;
};

// The same for callers that know the lineage and have the file elsewhere (a rescued pg_wal, a receiver, a
// server that is read through a connection): checks the file's own header against the lineage, then stores
// it. `place` may hold history files of its timeline.
Result<repo::PushOutcome> store_wal_file(const ChosenLineage& lineage, const WalFileName& file,
                                         WalPlace& place);
// A whole segment, checked and written in the same way, but for its name, which publish() gives it.
Result<repo::StagedWal> stage_segment(const ChosenLineage& lineage, const WalFileName& file, WalPlace& place,
                                      repo::WalEffort effort);

}  // namespace lifeboat::ops
