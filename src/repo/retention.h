// What may go: the retention rules, as a pure function of what there is.
//
// Backups. Each rule of the policy keeps some; what no rule keeps expires. Without a rule nothing does (RT1,
// RT2).
//   keep_count   the newest N complete ones of each kind (of dumps: of each database), and damaged ones that
//   are newer than the Nth
//   keep_days    those that stopped within the last N days
//   pitr_days    those that stopped within the window, and for every branch of history that was alive in it
//   the newest
//                complete one from before it (the anchor): without it the window's first hours could not be
//                reached
// A complete one in which a check found damage since counts as damaged.
// Whatever the policy: the newest complete one (where all are damaged the newest of them), the newest
// verified one, and what a live lease refers to stay (T41). Backups are ordered by time, never by timeline or
// WAL name (T39), and no file time is looked at.
//
// WAL. A kept backup inside the window (with anchors; all kept ones when there is no pitr_days) needs
// everything from its start on, on its timeline and on every timeline that branches off at or past its start.
// One outside pins only the WAL from its start to its stop. A running backup and one that a lease refers to
// count as inside the window. History files are always kept. WAL of a timeline whose ancestry is not stored,
// or which no complete backup is on or newer than, stays: a first backup after a promotion may still come. As
// long as there is no complete backup at all, or a running one has not told its start, no WAL goes.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/names.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "repo/lease.h"
#include "repo/tombstone.h"
#include "repo/wal_store.h"

namespace lifeboat::repo {

struct RetentionPolicy {
  std::optional<uint32_t> keep_count;
  std::optional<double> keep_days;
  std::optional<double> pitr_days;
  bool empty() const { return !keep_count && !keep_days && !pitr_days; }
};

struct BackupFacts {
  BackupId id;
  bool damaged = false;  // when it was taken, or found so since
  bool verified = false;
  Timestamp started;
  Timestamp stopped;
  Timeline timeline;
  Lsn start_lsn;
  Lsn stop_lsn;
  // What it is of; one kind for all backups. A dump is of each of its databases, and one of some tables, or
  // of the schema alone, does not take the place of a whole one.
  std::vector<std::string> kinds = {""};
};

// Stored WAL of one timeline: the names of the oldest and newest segment (or .partial).
struct TimelineFacts {
  Timeline timeline;
  std::optional<SegmentName> oldest;
  std::optional<SegmentName> newest;
  std::optional<std::vector<HistoryLine>> history;  // none: not stored (timeline 1 needs none)
};

// What live leases say.
struct LeaseFacts {
  std::set<BackupId> references;
  std::vector<WalPosition> running;    // start positions of running backups
  bool running_without_start = false;  // a running backup has not told its start
};

struct RetentionInput {
  std::vector<BackupFacts> backups;      // complete and damaged, not condemned
  std::vector<TimelineFacts> timelines;  // those with WAL
  LeaseFacts leases;
  std::vector<WalPosition> expiring;  // starts of backups that are condemned and may still be in use
  std::set<BackupId> held;            // stay whatever the policy says
  SegmentSize segment_size;
  Timestamp now;  // store clock
};

struct BackupDecision {
  BackupId id;
  std::string reason;  // for people: "newest verified", "within the last 30 days", "no rule keeps it"
};
struct WalDecision {
  WalRange range;
  std::string reason;
};
struct RetentionPlan {
  std::vector<BackupDecision> expire;  // oldest first
  std::vector<BackupDecision> keep;    // oldest first
  std::vector<WalDecision> remove_wal;
  std::vector<WalDecision> keep_wal;
};

struct RetentionGuards {
  bool keep_newest = true;  // test-only
};
RetentionPlan plan_retention(const RetentionInput& input, const RetentionPolicy& policy,
                             RetentionGuards guards = {});

}  // namespace lifeboat::repo
