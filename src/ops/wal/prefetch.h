// `wal get` with prefetch: while PostgreSQL replays one segment, those behind it are fetched into a spool, by
// a process that the first call leaves behind (ops/wal/prefetcher.h).
//
//   <spool>/<cluster>-<lineage>-<hash of the repository's URL>-<hash of the data directory's path>/
//     lock                     held by the fetcher for as long as it lives
//     requests                 a FIFO; each line is the segment that was delivered last
//     <segment>                fetched: checked, whole, synced
//     <segment>.fetching       empty: it is being fetched
//     <segment>.<pid>.taken    taken by a call, on its way to the server
//
// The rules, most of which others have learned the hard way (T28):
//  - The spool lies outside of data directories, or pg_rewind and base backups would copy and keep it.
//  - What lies in it is served only while its fetcher lives: it clears the directory when it begins, and has
//    opened the repository and found the lineage registered there. So nothing of another time is ever served.
//  - A file is taken by a rename, so it has one taker; it is then checked, and moved or copied to its place.
//  - A call waits only for a segment that is being fetched, and not for ever. Whatever comes of it, waiting
//    or failing here means that the call asks the repository itself: absence is told by that alone (T29).
//  - Every recovery has a directory of its own, so two of one cluster do not take each other's files.
//  - Nothing here can fail a call but a spool inside a data directory. A disk without room, or a directory
//    that may not be written, turns prefetching off for this call.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/wal_name.h"
#include "ops/session.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

// Where a call of this user that was told no spool puts it: the first that the user may write to. The second
// is below /var/tmp, and used only as long as nobody else may write to it.
std::vector<std::string> default_spools(uid_t user);

struct PrefetchOptions {
  int segments = 0;   // how many are fetched ahead, and lie in the spool, at most; 0: no prefetch
  std::string spool;  // absolute; made when it is not there; "": one of default_spools()
  std::function<void(const Error&)> note;  // hears why a call does without
};

// One spool directory and what it belongs to.
struct PrefetchPlace {
  RepoLocation repo;
  Lineage lineage;
  SegmentSize segment_size;
  std::string spool;
  std::string directory;  // of this recovery, below `spool`
};

// The name of a recovery's directory in a spool.
std::string prefetch_directory(const RepoLocation& repo, const Lineage& lineage,
                               const std::string& data_directory);
// Whether a directory of a spool is of this kind: anything else that lies there is left alone.
bool is_prefetch_directory(std::string_view name);
// Names within such a directory.
inline constexpr std::string_view kPrefetchLock = "lock";
inline constexpr std::string_view kPrefetchRequests = "requests";
std::string fetching_name(const SegmentName& segment);
// nullopt: not a file of a segment.
std::optional<SegmentName> spooled_segment(std::string_view name);

// Room that must be left for whoever else writes to that disk: no segment is fetched with less.
uint64_t prefetch_reserve(SegmentSize size);

// The prefetching of one call. Thread rule: one thread.
class Prefetch {
 public:
  // For a call that wants `file` for the recovery whose data directory is `working_directory`. Only whole
  // segments of a recovery whose lineage its own pg_control tells are prefetched; else this does nothing.
  // `precondition` when the spool lies in a data directory.
  static Result<Prefetch> open(const PrefetchOptions& options, const RepoLocation& repo,
                               const std::string& working_directory, const std::optional<Lineage>& asked,
                               const WalFileName& file);

  // Delivers the file from the spool, waiting when it is being fetched. False: fetch it yourself.
  bool take(const std::string& target);
  // The repository has the file, and the caller is about to deliver it: has what follows fetched.
  void follow();

 private:
  Prefetch() = default;
  bool take_now(const std::string& target);
  Status deliver(const std::string& taken, const std::string& target) const;
  bool request(int fd) const;
  Status begin() const;

  PrefetchOptions options_;
  std::optional<PrefetchPlace> place_;  // none: nothing is prefetched
  SegmentName segment_;
};

// For `restore`: removes what is spooled of a cluster's lineage from a repository.
Status clear_spool(const std::string& spool, const RepoLocation& repo, const Lineage& lineage);

}  // namespace lifeboat::ops
