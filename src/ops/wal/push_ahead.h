// `wal push` that looks ahead: while one segment is stored, those that wait behind it are stored with it, so
// that an archiver which fell behind, or whose server writes much, catches up on all cores although the
// server hands over one file at a time.
//
// A segment waits when pg_wal/archive_status has its .ready, as the archiver itself finds out. Looked at are
// the segments that follow directly on the same timeline: history files, .partial and .backup files are
// rare and small and come with their own call, and a segment that was archived already ends the row.
//
// Each segment passes the checks of its own push. It is read, compressed, written and synced early, and gets
// its name only after the one that the server asked for was accepted, in order, and only if the file is
// still the same then. The first that fails ends the row: it is no failure of the segment asked for, and
// tells its reason when its own call comes. So a conflict never leaves later WAL published behind it (T46),
// and a crash leaves files that nobody sees.
//
// The server's own call for a segment that was stored ahead succeeds at once, by comparing content with the
// stored name (T22): one read of the file. A process that stays remembers what it stored ahead, and answers
// without that read as long as the file is the same; and while the server asks for those, it stages the row
// behind them, so that no core waits for the archiver's calls.
//
// Two pushers of the same WAL (a second call, a receiver) do not disturb each other: equal content has one
// name, and whoever is later finds it there.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/wal_name.h"
#include "ops/session.h"
#include "ops/wal/push.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Four times the cores of this host, at most 16: enough for every core while some segments wait for the disk,
// and few, so that what the server asked for is not kept waiting long for what it did not.
int default_ahead();

struct AheadOptions {
  int ahead = 0;  // how many segments at most; 0: none
  PusherLife life = PusherLife::one_call;
  const StopToken* stop = nullptr;  // nothing new is begun once it is requested
};

// Stores WAL files of one data directory, in the order in which the server asks. Thread rule: one thread; it
// has threads of its own while push() runs, a resident one also in between.
class AheadPusher {
 public:
  // `lineage` borrows its repository, which must outlive this. `pg_wal` is the data directory's.
  AheadPusher(ChosenLineage lineage, std::string pg_wal, AheadOptions options);
  ~AheadPusher();
  AheadPusher(const AheadPusher&) = delete;
  AheadPusher& operator=(const AheadPusher&) = delete;

  // store_wal_file() of push.h for `file`, with its errors; nothing about later segments is reported.
  Result<repo::PushOutcome> push(const WalFileName& file);
  const repo::LineageRepo& repo() const { return lineage_.repo; }

 private:
  // What a file is known by as long as nobody writes to it.
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    uint64_t size = 0;
    int64_t modified_us = 0;
    bool operator==(const Identity&) const = default;
  };
  struct Waiting {
    WalFileName file;
    Identity identity;
  };
  class Row;

  Result<Identity> identify(const WalFileName& file) const;
  bool stored_ahead(const WalFileName& file);
  Result<std::vector<Waiting>> ready_after(const WalFileName& file, size_t most) const;
  std::unique_ptr<Row> begun_for(const WalFileName& file);
  Result<std::unique_ptr<Row>> begin_for(const WalFileName& file);
  Result<repo::PushOutcome> publish(Row& row);
  void look_on(const WalFileName& last);

  ChosenLineage lineage_;
  std::string pg_wal_;
  AheadOptions options_;
  WalDirectory place_;
  std::map<std::string, Identity> stored_ahead_;  // by name; not asked for yet
  std::unique_ptr<Row> next_;                     // staged in between, published by nobody yet
};

}  // namespace lifeboat::ops
