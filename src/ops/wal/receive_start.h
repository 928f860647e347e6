// Where does a receiver begin? Decided from what the repository holds and from what the server says.
#pragma once

#include "model/lsn.h"
#include "ops/wal/history.h"
#include "pg/format/timeline_history.h"

namespace lifeboat::ops {

struct StreamStart {
  Timeline timeline;
  Lsn at;                       // a segment's begin
  bool follows_stored = false;  // WAL before it is stored
};

// `server`: the history of the timeline that the server is on. `flushed`: how far it can send. `reserved`:
// where the slot reserves WAL from, 0 when that is not known.
//
// What the repository holds on this history, on whichever of its timelines, is gone on with, so that a
// promotion leaves no hole (T24): the segment behind the newest one; or an earlier one that is missing, where
// the slot still reserves it. Where nothing is held, the slot's position, else the server's.
StreamStart start_of_stream(const WalHistory& stored, const pg::TimelineHistory& server, Lsn flushed,
                            Lsn reserved);

// Where to begin when the server has removed the WAL at `at`: a segment's begin past it, or `at` when there
// is none.
StreamStart start_past_hole(const pg::TimelineHistory& server, SegmentSize size, Lsn at, Lsn flushed,
                            Lsn reserved);

// The end of the WAL that is stored behind `at` as a tail on this history; `at` when there is none.
Lsn end_of_tail(const WalHistory& stored, const pg::TimelineHistory& server, Lsn at);

// A timeline with WAL that left `timeline` before `flushed`: then the server at hand may be a primary that
// was replaced, or somebody recovered a copy and archived into the same repository (T25, T33).
std::optional<Timeline> branch_behind(const WalHistory& stored, Timeline timeline, Lsn flushed);

}  // namespace lifeboat::ops
