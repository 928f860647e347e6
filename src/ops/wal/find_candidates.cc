#include "ops/wal/find_candidates.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "ops/wal/scan.h"
#include "pg/format/version.h"
#include "pg/wal/heap_changes.h"
#include "pg/wal/wal_events.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kMostScanned = 512;  // segments for one question: some minutes at most

void add(pg::RowCounts& to, const pg::RowCounts& rows) {
  to.inserted += rows.inserted;
  to.updated += rows.updated;
  to.deleted += rows.deleted;
}

uint64_t total(const RowsByFile& rows) {
  uint64_t sum = 0;
  for (const auto& [file, counts] : rows) sum += file.number >= pg::kFirstNormalOid ? counts.total() : 0;
  return sum;
}

int64_t distance(Timestamp a, Timestamp b) {
  return a > b ? a.unix_us - b.unix_us : b.unix_us - a.unix_us;
}

// How far a segment's commits are from a moment; 0: some are on either side.
int64_t distance(const SurveyedSegment& segment, Timestamp moment) {
  if (moment < segment.first_commit) return distance(segment.first_commit, moment);
  return moment > segment.last_commit ? distance(moment, segment.last_commit) : 0;
}

}  // namespace

CandidateFinder::CandidateFinder(const ChosenLineage& lineage, const Survey& survey,
                                 const FindRequest& request, Reporter& reporter, StopToken& stop)
    : lineage_(lineage), survey_(survey), request_(request), reporter_(reporter), stop_(stop) {
  for (const pg::NotedEnd& end : survey.ends) learn(end);
}

void CandidateFinder::learn(const pg::NotedEnd& end) {
  ends_[end.xid] = end;
  for (uint32_t xid : end.subxids) top_[xid] = end.xid;
}

bool CandidateFinder::in_time(Timestamp time) const {
  return !(request_.since && time < *request_.since) && !(request_.until && time > *request_.until);
}

const SurveyedSegment* CandidateFinder::segment_at(uint64_t index) const {
  auto at = std::ranges::lower_bound(survey_.segments, index, {}, &SurveyedSegment::index);
  return at == survey_.segments.end() || at->index != index ? nullptr : &*at;
}

// --- reading segments

Status CandidateFinder::visit_segments(const std::set<uint64_t>& indexes, const pg::VersionTraits*& version,
                                       const std::function<void(const pg::WalRecord&)>& visit) {
  TRY_ASSIGN(version, pg::require_version(lineage_.record.lineage.major));
  const uint64_t bytes = lineage_.record.segment_size.bytes;
  ScanOptions options;
  options.reporter = &reporter_;
  options.stop = &stop_;
  auto each = [&](const pg::WalRecord& record) {
    visit(record);
    return ScanNext::more;
  };
  for (auto first = indexes.begin(); first != indexes.end();) {
    auto last = first;
    while (std::next(last) != indexes.end() && *std::next(last) == *last + 1) ++last;
    const WalPath* path = survey_.path_at({*first * bytes});
    if (path == nullptr) path = survey_.path_at({(*first + 1) * bytes - 1});
    if (path != nullptr) {
      Lsn begin = std::max(path->from, Lsn{*first * bytes});
      TRY(scan_wal(lineage_, *path, begin, {(*last + 1) * bytes}, each, options));
    }
    first = std::next(last);
  }
  return {};
}

Status CandidateFinder::scan(const std::set<uint64_t>& indexes, const Wanted& wanted, Scanned& scanned) {
  const pg::VersionTraits* version = nullptr;
  return visit_segments(indexes, version, [&](const pg::WalRecord& record) {
    if (record.rmgr == pg::Rmgr::heap || record.rmgr == pg::Rmgr::heap2) {
      pg::RowCounts rows = pg::rows_changed(record);
      if (rows.total() == 0 || record.blocks.empty()) return;
      const pg::RelationLocator& file = record.blocks.front().relation;
      if (wanted.rows(record.xid, file)) add(scanned.rows[record.xid][file], rows);
      return;
    }
    if (record.rmgr != pg::Rmgr::xact) return;
    pg::WalEvent event = pg::event_of(record, *version);
    if (event != pg::WalEvent::commit && event != pg::WalEvent::abort) return;
    auto end = pg::read_transaction_end(record, *version);
    if (!end || !wanted.ends(end->xid, end->subxids)) return;
    pg::NotedEnd noted{end->xid, end->committed, record.lsn, end->time, end->database, end->subxids, {}};
    if (end->committed) noted.dropped = end->dropped;
    scanned.ends.push_back(std::move(noted));
  });
}

// --- what was dropped

std::vector<Candidate> CandidateFinder::dropped_files() const {
  std::vector<Candidate> candidates;
  for (const pg::NotedEnd& end : survey_.ends) {
    if (!end.committed || end.dropped.empty() || !in_time(end.time)) continue;
    candidates.push_back({end, {}, {}});
  }
  return candidates;
}

Result<std::vector<Candidate>> CandidateFinder::dropped_databases() {
  std::vector<Candidate> candidates;
  Lsn seen;
  for (const pg::SummaryEvent& event : survey_.databases) {
    // Each of its tablespaces is an event.
    if (event.kind != pg::SummaryEventKind::database_drop || event.lsn == seen) continue;
    seen = event.lsn;
    TRY_ASSIGN(Candidate candidate, trace_database_drop(event));
    if (in_time(candidate.end.time)) candidates.push_back(std::move(candidate));
  }
  return candidates;
}

// Since 2023 all majors mark the entry in pg_database as invalid before they drop the files, in place, so
// that it counts at once (src/backend/commands/dbcommands.c, dropdb); that record may belong to no
// transaction yet.
Result<Candidate> CandidateFinder::trace_database_drop(const pg::SummaryEvent& event) {
  struct Place {
    pg::RelationLocator relation;
    pg::RowAddress row;
    auto operator<=>(const Place&) const = default;
  };
  std::map<Place, Lsn> marked;         // rows of shared catalogues that were written in place
  std::map<uint32_t, Lsn> first;       // records of transactions
  std::map<uint32_t, Lsn> first_mark;  // of rows that the transaction then deleted
  uint32_t xid = 0;
  std::optional<pg::NotedEnd> found;
  Candidate candidate;
  candidate.target = event.lsn;
  candidate.dropped_database = event.database;

  uint64_t index = index_of(event.lsn);
  std::set<uint64_t> indexes = {index, index + 1};
  if (index > 0) indexes.insert(index - 1);
  const pg::VersionTraits* version = nullptr;
  TRY(visit_segments(indexes, version, [&](const pg::WalRecord& record) {
    if (found) return;
    if (record.lsn <= event.lsn && record.xid != 0) first.try_emplace(record.xid, record.lsn);
    if (auto change = pg::read_row_change(record); change && change->relation.database == 0) {
      if (change->kind == pg::RowChangeKind::in_place) {
        marked[{change->relation, change->new_row}] = record.lsn;
      } else if (change->kind == pg::RowChangeKind::remove) {
        auto mark = marked.find({change->relation, change->old_row});
        if (mark != marked.end()) first_mark.try_emplace(record.xid, mark->second);
      }
    }
    if (record.lsn == event.lsn) xid = record.xid;
    if (xid == 0 || record.rmgr != pg::Rmgr::xact) return;
    auto end = pg::read_transaction_end(record, *version);
    if (end && end->xid == xid && pg::event_of(record, *version) == pg::WalEvent::commit)
      found = pg::NotedEnd{xid, true, record.lsn, end->time, end->database, end->subxids, {}};
  }));
  if (auto at = first.find(xid); at != first.end()) candidate.target = std::min(candidate.target, at->second);
  if (auto at = first_mark.find(xid); at != first_mark.end())
    candidate.target = std::min(candidate.target, at->second);
  candidate.end.xid = xid;
  candidate.end.lsn = event.lsn;
  if (found) candidate.end = std::move(*found);
  return candidate;
}

// --- many rows

Result<std::vector<Candidate>> CandidateFinder::many_rows(
    const std::function<bool(const pg::RelationLocator&)>& small) {
  bool deleted = request_.what == FindWhat::deleted;
  auto counts = [&](const pg::RowCounts& rows) { return deleted ? rows.deleted : rows.updated; };
  std::map<pg::RelationLocator, bool> is_small;  // of files in which such rows were changed
  std::set<uint64_t> to_read;
  for (const SurveyedSegment& segment : survey_.segments) {
    // Commits of what it did may be in a later segment, never in an earlier one.
    if (request_.since && segment.commits != 0 && segment.last_commit < *request_.since) continue;
    for (const pg::RelationActivity& activity : segment.relations) {
      if (counts(activity.rows) == 0 || activity.relation.number < pg::kFirstNormalOid) continue;
      auto [entry, is_new] = is_small.try_emplace(activity.relation, false);
      if (is_new) entry->second = small(activity.relation);
      if (entry->second) to_read.insert(segment.index);
    }
  }
  if (to_read.size() > kMostScanned) {
    size_t skipped = to_read.size() - kMostScanned;
    to_read.erase(to_read.begin(), std::next(to_read.begin(), static_cast<ptrdiff_t>(skipped)));
    notes_.push_back(
        cat("transactions that changed few rows of small tables were not looked for in the oldest ", skipped,
            " segments; narrow the search with --table or --since"));
  }
  std::map<uint32_t, RowsByFile> rows;
  for (const auto& [xid, transaction] : survey_.transactions) {
    for (const auto& [file, of] : transaction.rows) {
      auto entry = is_small.find(file);
      if (counts(of) != 0 && entry != is_small.end() && !entry->second) rows[xid][file] = of;
    }
  }
  Scanned scanned;
  Wanted wanted;
  wanted.rows = [&](uint32_t, const pg::RelationLocator& file) {
    auto entry = is_small.find(file);
    return entry != is_small.end() && entry->second;
  };
  wanted.ends = [&](uint32_t xid, const std::vector<uint32_t>& subxids) {
    return scanned.rows.contains(xid) ||
           std::ranges::any_of(subxids, [&](uint32_t sub) { return scanned.rows.contains(sub); });
  };
  TRY(scan(to_read, wanted, scanned));
  for (const pg::NotedEnd& end : scanned.ends) learn(end);
  for (auto& [xid, files] : scanned.rows) {
    for (const auto& [file, of] : files) {
      if (counts(of) != 0) add(rows[xid][file], of);
    }
  }
  return settle(rows);
}

Result<std::vector<Candidate>> CandidateFinder::busiest() {
  std::map<uint32_t, RowsByFile> rows;
  for (const auto& [xid, transaction] : survey_.transactions) {
    if (total(transaction.rows) != 0) rows[xid] = transaction.rows;
  }
  TRY_ASSIGN(std::vector<Candidate> candidates, settle(rows));
  std::ranges::stable_sort(candidates, std::greater(), [](const Candidate& c) { return total(c.rows); });
  // Some may turn out to be indexes of catalogues or the like.
  if (candidates.size() > request_.limit * 2) candidates.resize(request_.limit * 2);
  return candidates;
}

Status CandidateFinder::find_ends(std::set<uint32_t> xids) {
  auto settled = [&](uint32_t xid) { return ends_.contains(xid) || top_.contains(xid); };
  std::erase_if(xids, settled);
  auto last_seen = [&](uint32_t xid) -> uint64_t {
    auto transaction = survey_.transactions.find(xid);
    return transaction == survey_.transactions.end() ? 0 : transaction->second.last_index;
  };
  size_t read = 0;
  for (const SurveyedSegment& segment : survey_.segments) {
    if (xids.empty() || read == kMostScanned) break;
    bool hopeful = std::ranges::any_of(
        xids, [&](uint32_t xid) { return last_seen(xid) <= segment.index && segment.may_end(xid); });
    if (!hopeful) continue;
    ++read;
    Scanned scanned;
    Wanted wanted;
    wanted.rows = [](uint32_t, const pg::RelationLocator&) { return false; };
    wanted.ends = [&](uint32_t xid, const std::vector<uint32_t>& subxids) {
      return xids.contains(xid) ||
             std::ranges::any_of(subxids, [&](uint32_t sub) { return xids.contains(sub); });
    };
    TRY(scan({segment.index}, wanted, scanned));
    for (const pg::NotedEnd& end : scanned.ends) learn(end);
    std::erase_if(xids, settled);
  }
  return {};
}

Result<std::vector<Candidate>> CandidateFinder::settle(const std::map<uint32_t, RowsByFile>& rows) {
  std::set<uint32_t> xids;
  for (const auto& [xid, files] : rows) xids.insert(xid);
  TRY(find_ends(std::move(xids)));
  std::map<uint32_t, RowsByFile> by_top;
  for (const auto& [xid, files] : rows) {
    auto top = top_.find(xid);
    RowsByFile& sum = by_top[top == top_.end() ? xid : top->second];
    for (const auto& [file, counts] : files) add(sum[file], counts);
  }
  std::vector<Candidate> candidates;
  for (auto& [xid, files] : by_top) {
    auto end = ends_.find(xid);
    if (end == ends_.end() || !end->second.committed || !in_time(end->second.time)) continue;
    candidates.push_back({end->second, std::move(files), {}});
  }
  return candidates;
}

// --- by transaction and by time

Result<std::vector<Candidate>> CandidateFinder::one(uint32_t xid) {
  TRY(find_ends({xid}));
  auto top = top_.find(xid);
  auto end = ends_.find(top == top_.end() ? xid : top->second);
  if (end == ends_.end()) return std::vector<Candidate>();
  std::set<uint32_t> xids = {end->first};
  xids.insert(end->second.subxids.begin(), end->second.subxids.end());
  // What it did is counted in the segment of its end, the one before, and those in which it did much.
  uint64_t last = index_of(end->second.lsn);
  uint64_t first = last == 0 ? 0 : last - 1;
  for (uint32_t one : xids) {
    auto known = survey_.transactions.find(one);
    if (known != survey_.transactions.end()) first = std::min(first, known->second.first_index);
  }
  if (last - first >= kMostScanned) first = last - kMostScanned + 1;
  std::set<uint64_t> indexes;
  for (uint64_t index = first; index <= last; ++index) {
    if (segment_at(index) != nullptr) indexes.insert(index);
  }
  Scanned scanned;
  Wanted wanted;
  wanted.rows = [&](uint32_t of, const pg::RelationLocator&) { return xids.contains(of); };
  wanted.ends = [](uint32_t, const std::vector<uint32_t>&) { return false; };
  TRY(scan(indexes, wanted, scanned));
  Candidate candidate{end->second, {}, {}};
  for (const auto& [of, files] : scanned.rows) {
    for (const auto& [file, counts] : files) add(candidate.rows[file], counts);
  }
  return std::vector<Candidate>{std::move(candidate)};
}

Result<std::vector<Candidate>> CandidateFinder::around() {
  std::vector<const SurveyedSegment*> near;
  for (const SurveyedSegment& segment : survey_.segments) {
    if (segment.commits != 0 && distance(segment, request_.around) <= request_.within_us)
      near.push_back(&segment);
  }
  std::ranges::stable_sort(near, {}, [&](const SurveyedSegment* s) { return distance(*s, request_.around); });
  // Commit times rise along WAL but for a little: the nearest segments have the nearest commits.
  std::set<uint64_t> indexes;
  uint64_t commits = 0;
  for (const SurveyedSegment* segment : near) {
    if (commits > request_.limit * 4 && distance(*segment, request_.around) > 0) break;
    commits += segment->commits;
    indexes.insert(segment->index);
    if (segment->index > 0 && segment_at(segment->index - 1) != nullptr) indexes.insert(segment->index - 1);
    if (indexes.size() >= kMostScanned) break;
  }
  Scanned scanned;
  Wanted wanted;
  wanted.rows = [](uint32_t, const pg::RelationLocator&) { return true; };
  wanted.ends = [](uint32_t, const std::vector<uint32_t>&) { return true; };
  TRY(scan(indexes, wanted, scanned));
  std::vector<Candidate> candidates;
  for (const pg::NotedEnd& end : scanned.ends) {
    if (!end.committed || distance(end.time, request_.around) > request_.within_us || !in_time(end.time))
      continue;
    candidates.push_back({end, {}, {}});
  }
  std::ranges::stable_sort(candidates, {},
                           [&](const Candidate& c) { return distance(c.end.time, request_.around); });
  if (candidates.size() > request_.limit) candidates.resize(request_.limit);
  for (Candidate& candidate : candidates) {
    std::vector<uint32_t> xids = candidate.end.subxids;
    xids.push_back(candidate.end.xid);
    for (uint32_t xid : xids) {
      auto rows = scanned.rows.find(xid);
      if (rows == scanned.rows.end()) continue;
      for (const auto& [file, counts] : rows->second) add(candidate.rows[file], counts);
    }
  }
  return candidates;
}

}  // namespace lifeboat::ops
