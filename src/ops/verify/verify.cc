#include "ops/verify/verify.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ops/catalogue/catalogue.h"
#include "ops/dump/dump.h"
#include "ops/verify/parts.h"
#include "repo/evidence.h"
#include "repo/lease.h"
#include "repo/tombstone.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

using verification::WalCheck;

struct Scope {
  ChosenLineage lineage;
  bool dumps = false;             // the lineage's dumps, which need no WAL
  std::vector<repo::Card> cards;  // complete and damaged, not condemned, by time
};

bool is_damage(const Error& error) {
  return error.kind == ErrorKind::damaged;
}

Status find_cards(Scope& scope) {
  TRY_ASSIGN(auto condemned, repo::read_condemned(scope.lineage.repo));
  auto cards = repo::read_cards(scope.lineage.repo);
  if (!cards && !is_damage(cards.error())) return std::move(cards).error();
  for (repo::Card& card : cards ? *cards : std::vector<repo::Card>()) {
    if (card.state == repo::BackupState::aborted || condemned.condemns(card.id)) continue;
    scope.cards.push_back(std::move(card));
  }
  return {};
}

// The lineages whose registration and cards can be read. What cannot be read is damage that the report has.
Result<std::vector<Scope>> find_scopes(const repo::Repository& repository,
                                       const std::optional<std::string>& cluster) {
  std::vector<Scope> scopes;
  TRY_ASSIGN(auto clusters, repo::list_clusters(repository));
  if (cluster && std::ranges::find(clusters, *cluster) == clusters.end()) {
    return make_error(ErrorKind::not_found, cat("cluster ", *cluster),
                      cat("not registered in ", repository.store().url()));
  }
  for (const std::string& name : clusters) {
    if (cluster && name != *cluster) continue;
    TRY_ASSIGN(auto directories, repository.store().list_dirs(cat("clusters/", name, "/")));
    for (const std::string& directory : directories) {
      auto lineage = Lineage::parse(directory);
      if (!lineage) continue;
      auto chosen = lineage_of(repository, name, *lineage);
      if (!chosen && (repo::is_lost(chosen.error()) || chosen.error().kind == ErrorKind::foreign)) continue;
      TRY(chosen);
      Scope backups{std::move(*chosen), false, {}};
      Scope dumps = backups;
      dumps.dumps = true;
      dumps.lineage.repo = dumps.lineage.repo.dumps();
      TRY(find_cards(backups));
      TRY(find_cards(dumps));
      scopes.push_back(std::move(backups));
      if (!dumps.cards.empty()) scopes.push_back(std::move(dumps));
    }
  }
  return scopes;
}

VerifiedBackup begin(const Scope& scope, const repo::Card& card) {
  VerifiedBackup backup;
  backup.cluster = scope.lineage.repo.cluster();
  backup.lineage = scope.lineage.repo.lineage();
  backup.id = card.id;
  backup.dump = scope.dumps;
  backup.marked_damaged = card.state == repo::BackupState::damaged;
  return backup;
}

void finish(const VerifyRequest& request, VerifiedBackup& backup) {
  backup.passed = backup.problems.empty() && !backup.inconclusive;
  if (backup.passed) backup.level = request.level;
}

// What the reading of the whole repository says about each backup.
void take_verdicts(const repo::VerifyReport& report, const std::vector<Scope>& scopes,
                   std::vector<VerifiedBackup>& backups) {
  for (const Scope& scope : scopes) {
    for (const repo::Card& card : scope.cards) {
      VerifiedBackup backup = begin(scope, card);
      auto verdict = std::ranges::find_if(report.backups, [&](const auto& one) {
        return one.cluster == backup.cluster && one.lineage == backup.lineage && one.id == backup.id;
      });
      bool whole = verdict != report.backups.end() && verdict->whole;
      for (const repo::Damage& damage : report.damage) {
        if (damage.cluster != backup.cluster || damage.lineage != backup.lineage.to_string()) continue;
        if (std::ranges::find(damage.backups, backup.id.text) == damage.backups.end()) continue;
        backup.problems.push_back(cat(damage.object, ": ", damage.message));
        if (damage.kind == repo::DamageKind::unreadable) backup.inconclusive = true;
      }
      if (!whole && backup.problems.empty()) {
        // Either it was condemned or committed while we read, or the report names no object for it.
        if (verdict == report.backups.end()) continue;
        backup.problems.push_back("it cannot be restored whole");
      }
      backups.push_back(std::move(backup));
    }
  }
}

// nullopt where that cannot be told: what is damaged is said elsewhere, and an outage too.
Result<std::optional<std::vector<LostMoments>>> find_lost_moments(const Scope& scope,
                                                                  const VerifyRequest& request) {
  SilentReporter silent;
  const StopToken never;
  auto status =
      wal_status_of(scope.lineage, request.now, request.reporter == nullptr ? silent : *request.reporter,
                    request.stop == nullptr ? never : *request.stop);
  std::optional<std::vector<LostMoments>> lost;
  if (!status && status.error().kind == ErrorKind::cancelled) return std::move(status).error();
  if (!status) return lost;
  lost = lost_moments(*status);
  std::erase_if(*lost, [](const LostMoments& one) { return one.expired; });
  return lost;
}

Status check_wal(const Scope& scope, const VerifyRequest& request, VerifySummary& summary) {
  WalWindow window;
  window.cluster = scope.lineage.repo.cluster();
  window.lineage = scope.lineage.repo.lineage();
  auto wal = WalCheck::load(scope.lineage);
  if (!wal && !is_damage(wal.error())) return std::move(wal).error();
  if (!wal) {
    window.problems.push_back(wal.error().to_string());
    summary.windows.push_back(std::move(window));
    return {};
  }
  TRY(wal->read_all(request));
  for (const repo::Card& card : scope.cards) {
    auto backup = std::ranges::find_if(summary.backups, [&](const VerifiedBackup& one) {
      return one.cluster == window.cluster && one.lineage == window.lineage && one.id == card.id;
    });
    if (backup != summary.backups.end()) TRY(wal->judge_backup(card, *backup));
  }
  auto newest = std::find_if(scope.cards.rbegin(), scope.cards.rend(), [](const repo::Card& card) {
    return card.state == repo::BackupState::complete;
  });
  if (newest != scope.cards.rend()) {
    TRY(wal->judge_window(*newest, window));
    TRY_ASSIGN(window.lost, find_lost_moments(scope, request));
    summary.windows.push_back(std::move(window));
  }
  return {};
}

// Names alone show these, to whoever lists: they are gone when the segment is back.
bool shown_by_names(std::string_view problem) {
  return problem.find(" is missing; ") != std::string_view::npos ||
         problem.ends_with(" is stored with two contents");
}

// A verdict that is kept: one record per lineage.
Status write_proofs(const Scope& scope, const VerifyRequest& request, Timestamp now, VerifySummary& summary) {
  ProofRecord record;
  record.kind = "verify";
  record.time = now;
  for (const VerifiedBackup& backup : summary.backups) {
    if (backup.cluster != scope.lineage.repo.cluster() || backup.lineage != scope.lineage.repo.lineage() ||
        backup.dump != scope.dumps)
      continue;
    if (backup.inconclusive) continue;
    ProofRecord::Item item{backup.id, backup.level, backup.passed, backup.problems};
    if (backup.marked_damaged) {
      // Its bytes may be whole, but they are not those of a sound database: it never counts as verified.
      item.passed = false;
      item.level = ProofLevel::none;
      item.problems.push_back("pages were broken when it was taken");
    }
    record.backups.push_back(std::move(item));
  }
  nlohmann::ordered_json more = {
      {"host", request.host}, {"tool_version", request.tool_version}, {"bytes", summary.report.totals.bytes}};
  std::optional<std::vector<std::string>> wal_problems;
  for (const WalWindow& window : summary.windows) {
    if (scope.dumps || window.cluster != scope.lineage.repo.cluster() ||
        window.lineage != scope.lineage.repo.lineage())
      continue;
    more[verification::kLatestProblems] = window.problems;
    wal_problems.emplace();
    std::ranges::remove_copy_if(window.problems, std::back_inserter(*wal_problems), shown_by_names);
    if (!window.lost) continue;
    record.lost.emplace();
    for (const LostMoments& one : *window.lost)
      record.lost->push_back({one.after, one.until, one.first.to_string()});
  }
  if (record.backups.empty()) return {};
  if (wal_problems) more["wal_problems"] = *wal_problems;
  record.more = more.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  auto written = repo::write_evidence(scope.lineage.repo, now, encode_proof(record));
  if (!written) return std::move(written).error();
  summary.evidence.push_back(std::move(*written));
  return {};
}

// The WAL that this backup needs.
Status check_wal_of(const ChosenLineage& lineage, const repo::Card& card, const VerifyRequest& request,
                    VerifiedBackup& backup) {
  auto wal = WalCheck::load(lineage);
  if (!wal && !is_damage(wal.error())) return std::move(wal).error();
  if (!wal) {
    backup.problems.push_back(wal.error().to_string());
    return {};
  }
  if (request.level != ProofLevel::present) TRY(wal->read_for(card, request));
  return wal->judge_backup(card, backup);
}

// A backup, or a dump where no backup has that id.
Result<Scope> find_named(const repo::Repository& repository, const std::string& cluster,
                         const std::string& id) {
  auto found = find_backup(repository, cluster, id);
  if (found) return Scope{std::move(found->lineage), false, {std::move(found->card)}};
  if (found.error().kind != ErrorKind::not_found) return std::move(found).error();
  auto dump = id == "latest" ? Result<FoundDump>(found.error()) : find_dump(repository, cluster, id);
  if (!dump) return std::move(found).error();
  TRY_ASSIGN(ChosenLineage lineage, lineage_of(repository, cluster, dump->repo.lineage()));
  lineage.repo = dump->repo;
  return Scope{std::move(lineage), true, {std::move(dump->card)}};
}

Status verify_named_backup(const repo::Repository& repository, const VerifyRequest& request,
                           std::vector<Scope>& scopes, VerifySummary& summary) {
  TRY_ASSIGN(Scope scope, find_named(repository, request.cluster.value_or("main"), *request.backup));
  const repo::LineageRepo repo = scope.lineage.repo;
  const repo::Card card = scope.cards.front();
  if (card.state == repo::BackupState::aborted) {
    return make_error(ErrorKind::not_found, cat("backup ", card.id.text),
                      cat("never completed: ", card.reason));
  }
  TRY_ASSIGN(auto lease, repo::ReaderLease::acquire(repo, "verify", {card.id}));
  scopes.push_back(std::move(scope));
  VerifiedBackup backup = begin(scopes.back(), card);
  if (request.level == ProofLevel::present) {
    TRY(verification::check_presence(repo, card, backup));
  } else {
    TRY(verification::check_bytes(repo, card, request, backup, summary.report.totals));
  }
  summary.report.totals.backups = 1;
  if (!scopes.back().dumps) TRY(check_wal_of(scopes.back().lineage, card, request, backup));
  finish(request, backup);
  summary.backups.push_back(std::move(backup));
  return lease.end();
}

Status verify_presence(const std::vector<Scope>& scopes, const VerifyRequest& request,
                       VerifySummary& summary) {
  for (const Scope& scope : scopes) {
    std::optional<WalCheck> wal;
    if (!scope.dumps) {
      TRY_ASSIGN(wal, WalCheck::load(scope.lineage));
    }
    for (const repo::Card& card : scope.cards) {
      if (request.stop != nullptr) TRY(request.stop->check());
      VerifiedBackup backup = begin(scope, card);
      TRY(verification::check_presence(scope.lineage.repo, card, backup));
      if (wal) TRY(wal->judge_backup(card, backup));
      finish(request, backup);
      summary.backups.push_back(std::move(backup));
      ++summary.report.totals.backups;
    }
  }
  return {};
}

Status verify_everything(const repo::Repository& repository, const VerifyRequest& request,
                         std::vector<Scope>& scopes, VerifySummary& summary) {
  repo::VerifyOptions options;
  options.workers = request.workers;
  options.cluster = request.cluster.value_or("");
  options.stop = request.stop;
  if (request.reporter != nullptr) {
    options.progress = [&](const repo::VerifyTotals& totals) {
      request.reporter->progress("reading", totals.bytes, 0, ProgressUnit::bytes);
    };
  }
  TRY_ASSIGN(summary.report, repo::verify_repository(repository, options));
  take_verdicts(summary.report, scopes, summary.backups);
  if (request.level >= ProofLevel::wal) {
    for (const Scope& scope : scopes) {
      if (!scope.dumps) TRY(check_wal(scope, request, summary));
    }
  }
  for (VerifiedBackup& backup : summary.backups) finish(request, backup);
  return {};
}

}  // namespace

bool VerifySummary::ok() const {
  return report.ok() && std::ranges::all_of(backups, &VerifiedBackup::passed) &&
         std::ranges::all_of(windows, [](const WalWindow& window) { return window.problems.empty(); });
}

Result<VerifySummary> verify(const repo::Repository& repository, const VerifyRequest& request) {
  CHECK(request.level == ProofLevel::present || request.level == ProofLevel::hashed ||
        request.level == ProofLevel::wal);
  const int64_t started = Clock::system().monotonic_us();
  VerifySummary summary;
  std::vector<Scope> scopes;
  if (request.backup) {
    TRY(verify_named_backup(repository, request, scopes, summary));
  } else {
    TRY_ASSIGN(scopes, find_scopes(repository, request.cluster));
    if (request.level == ProofLevel::present) {
      TRY(verify_presence(scopes, request, summary));
    } else {
      TRY(verify_everything(repository, request, scopes, summary));
    }
  }
  // By the store's clock, as everything that is compared between hosts.
  auto now = request.now.valid() ? Result<Timestamp>(request.now) : repository.store().now();
  if (!now) now = Timestamp{Clock::system().unix_us()};  // a store that cannot be written has no clock to ask
  for (const Scope& scope : scopes) {
    if (auto written = write_proofs(scope, request, *now, summary); !written) {
      summary.evidence_problem = std::move(written).error();
    }
  }
  summary.seconds = static_cast<double>(Clock::system().monotonic_us() - started) / 1e6;
  return summary;
}

}  // namespace lifeboat::ops
