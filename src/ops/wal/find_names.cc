#include "ops/wal/find_names.h"

#include <algorithm>
#include <utility>

#include "ops/wal/scan.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// A table is rewritten (VACUUM FULL, CLUSTER, ALTER TABLE, REFRESH MATERIALIZED VIEW) by filling one of this
// name and exchanging the files (src/backend/commands/cluster.c, make_new_heap).
constexpr std::string_view kTransientBegins = "pg_temp_";

bool holds_rows(char kind) {
  return kind == 'r' || kind == 'p' || kind == 'm';
}

std::vector<uint32_t> all_xids(const pg::NotedEnd& end) {
  std::vector<uint32_t> xids = {end.xid};
  xids.insert(xids.end(), end.subxids.begin(), end.subxids.end());
  return xids;
}

// What remains of a transaction's changes of one relation.
struct NetChange {
  std::optional<pg::ClassRow> before;
  std::optional<pg::ClassRow> after;
  bool made = false;
  bool removed = false;
};

}  // namespace

Result<FindNames> FindNames::open(const ChosenLineage& lineage, const Survey& survey,
                                  const repo::Manifest* base, const std::vector<Candidate>& candidates,
                                  const std::set<Oid>& databases, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(CatalogueHistory history, CatalogueHistory::open(lineage, base));
  FindNames names(survey, base, std::move(history));
  for (Oid database : databases) {
    if (database != 0) TRY(names.history_.follow(database));
  }
  Lsn from = base != nullptr ? base->card.start_lsn : Lsn{};
  Lsn to = from;
  for (const Candidate& candidate : candidates) {
    for (uint32_t xid : all_xids(candidate.end)) names.history_.watch(xid);
    to = std::max(to, candidate.end.lsn + 1);
  }
  TRY(names.feed(lineage, from, to, reporter, stop));
  return names;
}

// Segments in which a catalogue changed, runs of them together.
Status FindNames::feed(const ChosenLineage& lineage, Lsn from, Lsn to, Reporter& reporter, StopToken& stop) {
  const uint64_t bytes = lineage.record.segment_size.bytes;
  ScanOptions scan;
  scan.reporter = &reporter;
  scan.stop = &stop;
  auto visit = [&](const pg::WalRecord& record) {
    history_.record(record);
    return ScanNext::more;
  };
  auto matters = [&](const SurveyedSegment& segment) {
    bool in_range = (segment.index + 1) * bytes > from.value && segment.index * bytes < to.value;
    return in_range && std::ranges::any_of(segment.relations, [&](const pg::RelationActivity& activity) {
             return activity.rows.total() != 0 && history_.concerns(activity.relation);
           });
  };
  for (auto segment = survey_->segments.begin(); segment != survey_->segments.end(); ++segment) {
    if (!matters(*segment)) continue;
    uint64_t first = segment->index;
    uint64_t last = first;
    while (std::next(segment) != survey_->segments.end() && std::next(segment)->index == last + 1 &&
           matters(*std::next(segment))) {
      ++segment;
      ++last;
    }
    const WalPath* path = survey_->path_at({first * bytes});
    // A path begins inside the segment where its backup starts.
    if (path == nullptr) path = survey_->path_at({(first + 1) * bytes - 1});
    if (path == nullptr) continue;
    Lsn begin = std::max(path->from, Lsn{first * bytes});
    TRY(scan_wal(lineage, *path, begin, {(last + 1) * bytes}, visit, scan));
  }
  return {};
}

// --- describing

FoundTable FindNames::found(Oid database, const pg::ClassRow& row, Lsn at) const {
  FoundTable table;
  table.database_oid = database;
  table.database = history_.database_name(database);
  table.schema = history_.schema_name(database, row.schema, at);
  table.table = row.name;
  table.file = row.file;
  table.kind = row.kind;
  return table;
}

FoundTable FindNames::name_of(const pg::RelationLocator& file, Lsn at) const {
  if (auto row = history_.find_file(file.database, file.number, at)) return found(file.database, *row, at);
  FoundTable table;
  table.database_oid = file.database;
  table.database = history_.database_name(file.database);
  table.file = file.number;
  return table;
}

bool FindNames::is_table(const pg::RelationLocator& file, Lsn at) const {
  if (file.number < pg::kFirstNormalOid) return false;
  auto row = history_.find_file(file.database, file.number, at);
  return !row || (row->oid >= pg::kFirstNormalOid && holds_rows(row->kind));
}

std::optional<double> FindNames::recorded_rows(const FoundTable& table) const {
  if (base_ == nullptr) return std::nullopt;
  for (const repo::TableEstimate& estimate : base_->tables) {
    if (estimate.database != table.database || estimate.schema != table.schema ||
        estimate.table != table.table)
      continue;
    if (estimate.reltuples > 0) return static_cast<double>(estimate.reltuples);
    // Never analysed: what the statistics counted.
    int64_t left = estimate.inserted - estimate.deleted;
    if (left > 0) return static_cast<double>(left);
  }
  return std::nullopt;
}

// What the backup says, and what WAL since then added and took away.
std::optional<double> FindNames::rows_before(const pg::RelationLocator& file, Lsn at) const {
  auto row = history_.find_file(file.database, file.number, at);
  double since = 0;
  bool made_since = false;
  const uint64_t bytes = survey_->paths.empty() ? 1 : survey_->paths.front().segment_size.bytes;
  for (const SurveyedSegment& segment : survey_->segments) {
    bool before_base = base_ != nullptr && (segment.index + 1) * bytes <= base_->card.start_lsn.value;
    if (before_base || segment.index * bytes > at.value) continue;
    for (const pg::RelationActivity& activity : segment.relations) {
      if (activity.relation != file) continue;
      made_since = made_since || activity.created;
      since += static_cast<double>(activity.rows.inserted) - static_cast<double>(activity.rows.deleted);
    }
  }
  if (made_since) return std::max(since, 0.0);
  if (row && row->rows > 0) return std::max(row->rows + since, 0.0);
  if (auto recorded = row ? recorded_rows(found(file.database, *row, at)) : std::nullopt)
    return std::max(*recorded + since, 0.0);
  return std::nullopt;
}

// Which of the files that it dropped were those of dropped tables, and which of truncated ones.
void FindNames::classify(const Candidate& candidate, WalFinding& finding) const {
  std::vector<RelationChange> changes;
  for (uint32_t xid : all_xids(candidate.end)) {
    std::vector<RelationChange> more = history_.changes(xid);
    changes.insert(changes.end(), more.begin(), more.end());
    for (std::string& schema : history_.dropped_schemas(xid))
      finding.dropped_schemas.push_back(std::move(schema));
  }
  std::ranges::stable_sort(changes, {}, &RelationChange::lsn);

  std::map<std::pair<Oid, Oid>, NetChange> net;  // by database and relation
  std::set<std::string> transient;
  std::set<std::pair<Oid, uint32_t>> explained;  // files
  for (const RelationChange& change : changes) {
    for (const auto* one : {&change.before, &change.after}) {
      if (*one) explained.insert({change.database, (*one)->file});
    }
    const std::optional<pg::ClassRow>& row = change.before ? change.before : change.after;
    if (!row) continue;
    auto [entry, is_new] = net.try_emplace({change.database, row->oid});
    if (is_new) {
      entry->second.before = change.before;
      entry->second.made = change.made;
    }
    entry->second.after = change.after;
    entry->second.removed = change.removed;
    if (change.made && row->name.starts_with(kTransientBegins)) transient.insert(row->name);
  }

  for (const auto& [key, change] : net) {
    auto [database, oid] = key;
    if (change.made || !change.before || !holds_rows(change.before->kind)) continue;
    if (oid < pg::kFirstNormalOid) continue;
    if (change.removed) {
      finding.dropped.push_back(found(database, *change.before, candidate.end.lsn));
      continue;
    }
    bool exchanged = change.after && change.after->file != change.before->file &&
                     change.after->tablespace == change.before->tablespace;
    if (exchanged && !transient.contains(cat(kTransientBegins, oid)))
      finding.truncated.push_back(found(database, *change.before, candidate.end.lsn));
  }
  // Files whose entries could not be followed: at least what they were is said.
  for (const pg::RelationLocator& file : candidate.end.dropped) {
    if (explained.contains({file.database, file.number})) continue;
    auto row = history_.find_file(file.database, file.number, candidate.end.lsn);
    bool known_table = row && row->oid >= pg::kFirstNormalOid && holds_rows(row->kind);
    if (known_table || (!row && net.empty())) finding.dropped.push_back(name_of(file, candidate.end.lsn));
  }
}

WalFinding FindNames::describe(const Candidate& candidate) const {
  WalFinding finding;
  finding.xid = candidate.end.xid;
  finding.time = candidate.end.time;
  finding.commit = candidate.end.lsn;
  finding.target = candidate.target.valid() ? candidate.target : candidate.end.lsn;
  finding.committed = candidate.end.committed;
  if (!candidate.end.dropped.empty()) classify(candidate, finding);
  if (candidate.dropped_database) {
    std::string name = history_.database_name(*candidate.dropped_database);
    finding.dropped_database = name.empty() ? cat("with oid ", *candidate.dropped_database) : name;
  }
  for (const auto& [file, rows] : candidate.rows) {
    if (!is_table(file, candidate.end.lsn)) continue;
    FoundTable table = name_of(file, candidate.end.lsn);
    table.rows = rows;
    table.rows_before = rows_before(file, candidate.end.lsn);
    // Before this transaction: what it made and took is in the sum.
    if (table.rows_before) {
      *table.rows_before += static_cast<double>(rows.deleted) - static_cast<double>(rows.inserted);
      table.rows_before = std::max(*table.rows_before, static_cast<double>(rows.deleted));
    }
    finding.changed.push_back(std::move(table));
  }
  return finding;
}

}  // namespace lifeboat::ops
