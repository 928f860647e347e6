#include "ops/wal/find.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "ops/given_names.h"
#include "ops/wal/find_candidates.h"
#include "ops/wal/find_names.h"
#include "ops/wal/history.h"
#include "ops/wal/survey.h"
#include "repo/tombstone.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Below this many rows summaries may not know a transaction; a transaction's rows are known to within 16.
constexpr double kSmallCount = 2.0 * pg::kLargeTransactionRows;
constexpr uint64_t kUncounted = 16;
constexpr size_t kNamedInText = 8;

// Control characters are legal in names, and not welcome on a terminal.
std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

// As typed, or as SQL reads what was typed: shop."Odd Schema".t.
bool names_table(const FoundTable& table, std::string_view wanted) {
  if (wanted.empty()) return true;
  if (table.table.empty()) return false;
  const std::string with_schema = cat(table.schema, ".", table.table);
  if (wanted == table.table || wanted == with_schema || wanted == cat(table.database, ".", with_schema))
    return true;
  auto given = parse_given_table(wanted);
  return given && given->table == table.table && (given->schema.empty() || given->schema == table.schema) &&
         (given->database.empty() || given->database == table.database);
}

bool names_database(const std::string& database, std::string_view wanted) {
  if (wanted == database) return true;
  auto given = parse_given_table(wanted);
  return given && given->schema.empty() && given->table == database;
}

class Finder {
 public:
  Finder(const ChosenLineage& lineage, const FindRequest& request, Reporter& reporter, StopToken& stop)
      : lineage_(lineage), request_(request), reporter_(reporter), stop_(stop) {}

  Result<FindResult> run() {
    TRY_ASSIGN(history_, WalHistory::load(lineage_));
    TRY(choose_timeline());
    TRY(read_backups());
    TRY(survey());
    TRY(collect());
    arrange();
    return std::move(result_);
  }

 private:
  Status choose_timeline() {
    for (const StoredTimeline& stored : history_.timelines()) {
      if (request_.timeline && stored.timeline != *request_.timeline) continue;
      if (stored.history) target_ = &stored;
    }
    result_.several_timelines = history_.timelines().size() > 1;
    if (target_ != nullptr) {
      result_.timeline = target_->timeline;
      return {};
    }
    std::string what = request_.timeline ? cat("timeline ", request_.timeline->value) : std::string("WAL");
    return make_error(
               ErrorKind::not_found, what,
               cat("nothing of it that can be followed is stored for cluster ", lineage_.repo.cluster()))
        .with_hint("lifeboat wal status shows what is there");
  }

  // On the timeline's history, by their end.
  Status read_backups() {
    TRY_ASSIGN(repo::Condemned condemned, repo::read_condemned(lineage_.repo));
    TRY_ASSIGN(std::vector<repo::Card> cards, repo::read_cards(lineage_.repo));
    for (repo::Card& card : cards) {
      if (card.state == repo::BackupState::aborted || condemned.condemns(card.id)) continue;
      if (target_->history->contains(card.timeline, card.stop_lsn)) backups_.push_back(std::move(card));
    }
    std::ranges::sort(backups_, {}, &repo::Card::stop_lsn);
    return {};
  }

  // Where the search begins: at a backup, because names come from one.
  Result<Lsn> beginning() const {
    if (request_.backup) {
      auto card = std::ranges::find(backups_, *request_.backup, &repo::Card::id);
      if (card != backups_.end()) return card->start_lsn;
      return make_error(ErrorKind::not_found, cat("backup ", request_.backup->text),
                        "is not on this timeline's history");
    }
    std::optional<Timestamp> since = request_.since;
    if (request_.what == FindWhat::around) since = request_.around.plus_us(-request_.within_us);
    const repo::Card* chosen = backups_.empty() ? nullptr : &backups_.front();
    for (const repo::Card& card : backups_) {
      if (since && card.stopped <= *since) chosen = &card;
    }
    if (chosen != nullptr) return chosen->start_lsn;
    // Without a backup: all there is.
    Lsn first{UINT64_MAX};
    for (const StoredTimeline& stored : history_.timelines()) {
      if (stored.runs.empty() || !target_->history->has(stored.timeline)) continue;
      first = std::min(first, Lsn{stored.runs.front().first * history_.segment_size().bytes});
    }
    return first == Lsn{UINT64_MAX} ? Lsn{} : first;
  }

  Status survey() {
    TRY_ASSIGN(result_.from, beginning());
    TRY_ASSIGN(survey_, survey_wal(lineage_, history_, target_->timeline, result_.from, reporter_, stop_));
    result_.to = survey_.paths.empty() ? result_.from : survey_.paths.back().end;
    result_.segments = survey_.segments.size();
    result_.summaries = survey_.summaries;
    result_.notes = survey_.notes;
    for (const SurveyedSegment& segment : survey_.segments)
      result_.last_commit = std::max(result_.last_commit, segment.last_commit);
    return {};
  }

  // --- what was found

  Status collect() {
    CandidateFinder finder(lineage_, survey_, request_, reporter_, stop_);
    std::vector<Candidate> candidates;
    switch (request_.what) {
      case FindWhat::dropped: {
        candidates = finder.dropped_files();
        TRY_ASSIGN(std::vector<Candidate> databases, finder.dropped_databases());
        candidates.insert(candidates.end(), databases.begin(), databases.end());
        break;
      }
      case FindWhat::truncated:
        candidates = finder.dropped_files();
        break;
      case FindWhat::deleted:
      case FindWhat::updated: {
        TRY_ASSIGN(candidates, with_many_rows(finder));
        break;
      }
      case FindWhat::busiest: {
        TRY_ASSIGN(candidates, finder.busiest());
        break;
      }
      case FindWhat::xid: {
        TRY_ASSIGN(candidates, finder.one(request_.xid));
        break;
      }
      case FindWhat::around: {
        TRY_ASSIGN(candidates, finder.around());
        break;
      }
    }
    result_.notes.insert(result_.notes.end(), finder.notes().begin(), finder.notes().end());
    return describe(candidates);
  }

  // How large tables are has to be known before it is known what is much.
  Result<std::vector<Candidate>> with_many_rows(CandidateFinder& finder) {
    const RowThreshold& threshold = request_.threshold;
    if (threshold.percent <= 0) {
      bool small = static_cast<double>(threshold.rows) < kSmallCount;
      return finder.many_rows([small](const pg::RelationLocator&) { return small; });
    }
    std::set<Oid> databases;
    for (const SurveyedSegment& segment : survey_.segments) {
      for (const pg::RelationActivity& activity : segment.relations)
        databases.insert(activity.relation.database);
    }
    const repo::Card* card = backup_before(result_.from, Lsn{UINT64_MAX});
    std::optional<repo::Manifest> base;
    if (card != nullptr) {
      TRY_ASSIGN(base, repo::read_manifest(lineage_.repo, card->id));
    }
    TRY_ASSIGN(FindNames names,
               FindNames::open(lineage_, survey_, base ? &*base : nullptr, {}, databases, reporter_, stop_));
    auto small = [&](const pg::RelationLocator& file) {
      auto then = names.rows_before(file, result_.from);
      auto now = names.rows_before(file, result_.to);
      if (!then && !now) return true;
      double least = std::min(then.value_or(*now), now.value_or(*then));
      return least * threshold.percent / 100 < kSmallCount;
    };
    return finder.many_rows(small);
  }

  // The newest backup that ended between two positions, or the oldest that began at the first.
  const repo::Card* backup_before(Lsn from, Lsn to) const {
    const repo::Card* chosen = nullptr;
    for (const repo::Card& card : backups_) {
      if (card.start_lsn >= from && card.stop_lsn <= to && (to != Lsn{UINT64_MAX} || chosen == nullptr))
        chosen = &card;
    }
    // What happened while the first one ran has names all the same.
    if (chosen == nullptr && !backups_.empty() && backups_.front().start_lsn <= to) return &backups_.front();
    return chosen;
  }

  // Candidates with one and the same backup before them are looked at together.
  Status describe(const std::vector<Candidate>& candidates) {
    std::map<const repo::Card*, std::vector<Candidate>> groups;
    for (const Candidate& candidate : candidates) {
      Lsn at = candidate.target.valid() ? candidate.target : candidate.end.lsn;
      groups[backup_before(result_.from, at)].push_back(candidate);
    }
    for (const auto& [card, group] : groups) TRY(describe_group(card, group));
    return {};
  }

  Status describe_group(const repo::Card* card, const std::vector<Candidate>& group) {
    std::optional<repo::Manifest> base;
    if (card != nullptr) {
      TRY_ASSIGN(base, repo::read_manifest(lineage_.repo, card->id));
    }
    std::set<Oid> databases;
    for (const Candidate& candidate : group) {
      databases.insert(candidate.end.database);
      for (const pg::RelationLocator& file : candidate.end.dropped) databases.insert(file.database);
      for (const auto& [file, rows] : candidate.rows) databases.insert(file.database);
    }
    TRY_ASSIGN(FindNames names, FindNames::open(lineage_, survey_, base ? &*base : nullptr, group, databases,
                                                reporter_, stop_));
    result_.notes.insert(result_.notes.end(), names.notes().begin(), names.notes().end());
    for (const Candidate& candidate : group) {
      WalFinding finding = names.describe(candidate);
      keep_wanted(finding);
      if (is_empty(finding)) continue;
      finding.backup = leading_backup(finding.target);
      result_.findings.push_back(std::move(finding));
    }
    return {};
  }

  // Takes away what was not asked for.
  void keep_wanted(WalFinding& finding) const {
    auto other = [&](const FoundTable& table) { return !names_table(table, request_.table); };
    switch (request_.what) {
      case FindWhat::dropped:
        finding.truncated.clear();
        finding.changed.clear();
        std::erase_if(finding.dropped, other);
        // Ours, of `dump restore --table`.
        if (finding.dropped_database.starts_with(kScratchDatabase)) finding.dropped_database.clear();
        if (!request_.table.empty() && !names_database(finding.dropped_database, request_.table))
          finding.dropped_database.clear();
        break;
      case FindWhat::truncated:
        finding.dropped.clear();
        finding.dropped_schemas.clear();
        finding.changed.clear();
        std::erase_if(finding.truncated, other);
        break;
      case FindWhat::deleted:
      case FindWhat::updated:
        finding.dropped.clear();
        finding.dropped_schemas.clear();
        finding.truncated.clear();
        std::erase_if(finding.changed,
                      [&](const FoundTable& table) { return other(table) || !is_much(table); });
        break;
      case FindWhat::busiest:
      case FindWhat::xid:
      case FindWhat::around:
        break;
    }
  }

  bool is_much(const FoundTable& table) const {
    uint64_t rows = request_.what == FindWhat::deleted ? table.rows.deleted : table.rows.updated;
    if (rows == 0) return false;
    uint64_t at_most = rows < pg::kLargeTransactionRows ? rows : rows + kUncounted;
    if (request_.threshold.percent <= 0) return at_most >= request_.threshold.rows;
    // Of a table whose size nobody knows, what is large by itself is shown.
    if (!table.rows_before) return rows >= pg::kLargeTransactionRows;
    return static_cast<double>(at_most) >= *table.rows_before * request_.threshold.percent / 100;
  }

  bool is_empty(const WalFinding& finding) const {
    switch (request_.what) {
      case FindWhat::dropped:
        return finding.dropped.empty() && finding.dropped_database.empty();
      case FindWhat::truncated:
        return finding.truncated.empty();
      case FindWhat::deleted:
      case FindWhat::updated:
      case FindWhat::busiest:
        return finding.changed.empty();
      case FindWhat::xid:
      case FindWhat::around:
        return false;
    }
    return false;
  }

  std::optional<BackupId> leading_backup(Lsn target) const {
    std::optional<BackupId> found;
    for (const repo::Card& card : backups_) {
      if (card.stop_lsn > target) break;
      WalPath path = history_.path(target_->timeline, card.start_lsn);
      if (path.tail) path.go_on_with(PartialSegment(*path.tail));
      if (path.end > target) found = card.id;
    }
    return found;
  }

  void arrange() {
    auto& findings = result_.findings;
    if (request_.what == FindWhat::busiest) {
      auto rows = [](const WalFinding& finding) {
        uint64_t sum = 0;
        for (const FoundTable& table : finding.changed) sum += table.rows.total();
        return sum;
      };
      std::ranges::stable_sort(findings, std::greater(), rows);
      if (findings.size() > request_.limit) findings.resize(request_.limit);
      return;
    }
    std::ranges::stable_sort(findings, {}, &WalFinding::commit);
    if (findings.size() <= request_.limit) return;
    result_.left_out = findings.size() - request_.limit;
    findings.erase(findings.begin(), findings.begin() + static_cast<ptrdiff_t>(result_.left_out));
  }

  const ChosenLineage& lineage_;
  const FindRequest& request_;
  Reporter& reporter_;
  StopToken& stop_;
  WalHistory history_;
  const StoredTimeline* target_ = nullptr;
  std::vector<repo::Card> backups_;
  Survey survey_;
  FindResult result_;
};

std::string list_of(const std::vector<FoundTable>& tables) {
  std::string text;
  for (size_t i = 0; i < tables.size() && i < kNamedInText; ++i)
    text += cat(i > 0 ? ", " : "", tables[i].to_string());
  if (tables.size() > kNamedInText) text += cat(" and ", tables.size() - kNamedInText, " more");
  return text;
}

std::string rows_of(const FoundTable& table) {
  std::vector<std::string> parts;
  auto add = [&](std::string_view verb, uint64_t rows) {
    if (rows != 0) parts.push_back(cat(verb, " ", counted(rows, "row")));
  };
  add("deleted", table.rows.deleted);
  add("updated", table.rows.updated);
  add("inserted", table.rows.inserted);
  std::string text = cat(join(parts, ", "), " in ", table.to_string());
  if (table.rows_before && *table.rows_before >= 1 && table.rows.deleted + table.rows.updated != 0) {
    text += cat(" (of about ", static_cast<uint64_t>(*table.rows_before), ")");
  }
  return text;
}

}  // namespace

Result<RowThreshold> RowThreshold::parse(std::string_view text) {
  bool percent = text.ends_with('%');
  auto number = parse_u64(percent ? text.substr(0, text.size() - 1) : text);
  if (!number || *number == 0 || (percent && *number > 100)) {
    return make_error(ErrorKind::usage, std::string(text),
                      "neither a number of rows nor a share of a table, as in 5000 or 90%");
  }
  if (percent) return RowThreshold{0, static_cast<double>(*number)};
  return RowThreshold{*number, 0};
}

std::string FoundTable::to_string() const {
  std::string where =
      database.empty() ? cat("database with oid ", database_oid) : cat("database ", printable(database));
  if (table.empty()) return cat("the relation in file ", file, " of ", where, ", whose name is not known");
  return cat(schema.empty() ? "" : cat(printable(schema), "."), printable(table), " in ", where);
}

std::string WalFinding::to_string() const {
  std::vector<std::string> parts;
  if (!dropped_database.empty()) parts.push_back(cat("dropped database ", printable(dropped_database)));
  for (const std::string& schema : dropped_schemas)
    parts.push_back(cat("dropped schema ", printable(schema)));
  if (dropped.size() == 1) parts.push_back(cat("dropped table ", list_of(dropped)));
  if (dropped.size() > 1) parts.push_back(cat("dropped ", dropped.size(), " tables: ", list_of(dropped)));
  if (!truncated.empty()) parts.push_back(cat("truncated ", list_of(truncated)));
  for (size_t i = 0; i < changed.size() && i < kNamedInText; ++i) parts.push_back(rows_of(changed[i]));
  if (changed.size() > kNamedInText)
    parts.push_back(cat("and ", changed.size() - kNamedInText, " tables more"));
  if (!committed && dropped_database.empty()) parts.insert(parts.begin(), "was rolled back");
  return parts.empty() ? "changed no rows of tables" : join(parts, "; ");
}

Result<FindResult> find_wal(const ChosenLineage& lineage, const FindRequest& request, Reporter& reporter,
                            StopToken& stop) {
  return Finder(lineage, request, reporter, stop).run();
}

std::string target_words(const FindResult& result, const WalFinding& finding) {
  std::string words = cat("--target-lsn ", finding.target.to_string(), " --exclusive");
  if (result.several_timelines) words += cat(" --timeline ", result.timeline.value);
  return words;
}

Result<WalFinding> only_finding(const FindResult& result, const FindRequest& request) {
  bool by_xid = request.what == FindWhat::xid;
  std::string asked = by_xid ? cat("--before-xid ", request.xid) : cat("--before-drop ", request.table);
  if (result.findings.empty()) {
    std::string searched = cat("from ", result.from.to_string(), " to ", result.to.to_string());
    if (result.last_commit.valid())
      searched += cat(", whose last commit was at ", result.last_commit.to_string());
    return make_error(ErrorKind::not_found, asked, cat("no such transaction in the stored WAL, ", searched))
        .with_cause(join(result.notes, "; "))
        .with_hint(by_xid
                       ? "lifeboat wal find looks for what happened in other ways too"
                       : "lifeboat wal find --dropped lists all that were dropped; what happened lately may "
                         "not be stored yet: lifeboat wal check");
  }
  if (result.findings.size() + result.left_out == 1) return result.findings.front();
  std::string list;
  for (const WalFinding& finding : result.findings) {
    list += cat(list.empty() ? "" : "; ", "--before-xid ", finding.xid, ": at ", finding.time.to_string(),
                ", ", finding.to_string());
  }
  return make_error(ErrorKind::precondition, asked,
                    cat("happened ", result.findings.size() + result.left_out, " times: ", list))
      .with_hint("choose one with --before-xid");
}

}  // namespace lifeboat::ops
