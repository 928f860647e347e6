#include "ready/plan/inspect.h"

#include <algorithm>
#include <iterator>
#include <ranges>

#include "ops/catalogue/catalogue.h"
#include "ops/dump/dump.h"
#include "pg/client/client.h"
#include "pg/client/facts.h"
#include "ready/plan/inspect_wal.h"
#include "ready/plan/rates.h"
#include "ready/plan/tools.h"
#include "repo/evidence.h"
#include "repo/keyring.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr int64_t kServerMs = 10'000;
constexpr int64_t kLockMs = 1'000;
constexpr size_t kMostEvidence = 60;
constexpr double kDay = 86'400;
constexpr double kShortestSpan = 3'600;  // a rate from less says little
constexpr double kSampledSpan = 60;      // less than this by everybody else: a sample is no worse
constexpr double kTrendDays = 30;

const std::vector<std::string>& settings() {
  static const std::vector<std::string> names = {"archive_mode",
                                                 "archive_command",
                                                 "archive_library",
                                                 "archive_timeout",
                                                 "wal_level",
                                                 "full_page_writes",
                                                 "synchronous_standby_names",
                                                 "synchronous_commit",
                                                 "max_wal_senders",
                                                 "checkpoint_timeout",
                                                 "max_wal_size",
                                                 "wal_compression",
                                                 "ssl"};
  return names;
}

// A server that was asked, and may be asked again.
struct Asked {
  pg::PgClient client;
  std::string data_directory;
  std::optional<ServerWal> wal;
};

Result<Asked> read_server(const InspectRequest& request, std::optional<ServerState>& into) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat plan";
  options.connect_timeout_ms = kServerMs;
  options.statement_timeout_ms = kServerMs;
  options.stop = request.stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(*request.conninfo, options));
  TRY(client.exec(cat("SET lock_timeout = ", kLockMs)));
  pg::FactsRequest wanted;
  wanted.settings = settings();
  wanted.databases = true;
  wanted.archiver = true;
  wanted.replication = true;
  TRY_ASSIGN(pg::ServerFacts facts, pg::read_facts(client, wanted));
  ServerState& server = into.emplace();
  server.version_num = facts.version_num;
  server.in_recovery = facts.in_recovery;
  server.data_checksums = facts.data_checksums;
  server.settings = facts.settings;
  server.connection = facts.connection;
  double size = 0;
  for (const pg::DatabaseFacts& one : facts.databases) {
    size += static_cast<double>(one.size.value_or(0));
    if (!one.is_template && one.name != "postgres")
      server.databases.push_back({one.name, static_cast<double>(one.size.value_or(0))});
  }
  if (size > 0) server.size_bytes = size;
  for (const pg::SenderFacts& one : facts.senders) {
    if (one.state == "backup") continue;
    server.standbys.push_back({one.application_name, one.sync_state, one.replay_lsn.value == 0});
  }
  if (facts.archiver) {
    server.archived = facts.archiver->archived_count;
    server.archive_failures = facts.archiver->failed_count;
    server.last_archived = facts.archiver->last_archived_time;
  }
  std::optional<ServerWal> wal;
  if (!facts.in_recovery) wal = read_server_wal(client, facts);
  return Asked{std::move(client), facts.data_directory, std::move(wal)};
}

// The rate of WAL, once everybody has said what he knows; the sample of some seconds comes last.
Status settle_wal_rate(PlanFacts& facts, std::vector<WalEvidence> evidence, std::optional<Asked>& asked,
                       const StopToken* stop) {
  if (asked && asked->wal) {
    std::ranges::copy(asked->wal->evidence, std::back_inserter(evidence));
    const bool spanned =
        std::ranges::any_of(evidence, [](const WalEvidence& one) { return one.seconds >= kSampledSpan; });
    if (!spanned) {
      TRY_ASSIGN(auto sample, sample_wal(asked->client, *asked->wal, stop));
      if (sample) evidence.push_back(std::move(*sample));
    }
  }
  if (!facts.server) return {};
  const WalRate rate = best_wal_rate(evidence);
  facts.server->wal_bytes_per_day = rate.bytes_per_day;
  facts.server->wal_how = rate.how;
  facts.server->wal_weak = rate.weak;
  return {};
}

void read_backups(const ops::CatalogueLineage& lineage, RepositoryState& repository,
                  std::optional<ServerState>& server, Timestamp now) {
  std::vector<const ops::CatalogueEntry*> complete;
  for (const ops::CatalogueEntry& entry : lineage.backups)
    if (entry.card.state == repo::BackupState::complete) complete.push_back(&entry);
  repository.backups = complete.size();
  for (const ops::CatalogueEntry* entry : complete) {
    if (entry->proofs.good())
      repository.newest_verified = std::max(repository.newest_verified, entry->card.stopped);
    if (entry->proofs.drilled && entry->proofs.drilled->passed)
      repository.drill_passed = std::max(repository.drill_passed, entry->proofs.drilled->time);
  }
  if (complete.empty()) return;
  const repo::Card& first = complete.front()->card;
  const repo::Card& newest = complete.back()->card;
  repository.newest_backup = newest.stopped;
  repository.backup_seconds = newest.totals.seconds;
  if (first.type == BackupType::full && first.totals.plain_bytes > 0 && first.totals.stored_bytes > 0)
    repository.stored_ratio =
        static_cast<double>(first.totals.stored_bytes) / static_cast<double>(first.totals.plain_bytes);
  // Where the server was not asked, its backups still know it.
  if (!server) {
    server.emplace();
    server->version_num = newest.server_version_num;
    server->data_checksums = newest.data_checksums;
  }
  server->size_bytes =
      std::max(server->size_bytes.value_or(0), static_cast<double>(newest.totals.plain_bytes));
  // Trends from what is not older than a month.
  const ops::CatalogueEntry* oldest = nullptr;
  double added = 0;
  for (const ops::CatalogueEntry* entry : complete) {
    if (now.seconds_since(entry->card.stopped) > kTrendDays * kDay) continue;
    if (oldest == nullptr)
      oldest = entry;
    else
      added += static_cast<double>(entry->card.totals.stored_bytes);
  }
  if (oldest == nullptr || &oldest->card == &newest) return;
  const double seconds = newest.stopped.seconds_since(oldest->card.stopped);
  if (seconds < kShortestSpan) return;
  repository.stored_change_bytes_per_day = added / seconds * kDay;
  if (seconds < kDay) return;
  server->growth_bytes_per_day = std::max(0.0, (static_cast<double>(newest.totals.plain_bytes) -
                                                static_cast<double>(oldest->card.totals.plain_bytes)) /
                                                   seconds * kDay);
  server->growth_how = cat("sizes of the backups of the last ", format_seconds(seconds));
}

Status add_evidence(const repo::LineageRepo& repo, std::vector<EvidenceText>& evidence) {
  TRY_ASSIGN(std::vector<std::string> ids, repo::list_evidence(repo));
  for (const std::string& id : ids | std::views::reverse | std::views::take(kMostEvidence))
    if (auto text = repo::read_evidence(repo, id)) evidence.push_back({id, std::move(*text)});
  return {};
}

// What the repository says of WAL goes into `evidence` and into the facts.
Status read_wal(const InspectRequest& request, const ops::ChosenLineage& lineage,
                const ops::CatalogueLineage& catalogue, const std::optional<ServerWal>& server,
                PlanFacts& facts, std::vector<WalEvidence>& evidence) {
  std::vector<repo::Card> backups;
  for (const ops::CatalogueEntry& entry : catalogue.backups)
    if (entry.card.state == repo::BackupState::complete) backups.push_back(entry.card);
  TRY_ASSIGN(StoredWal wal, read_stored_wal(lineage, backups, server, request.now));
  if (wal.evidence) evidence.push_back(std::move(*wal.evidence));
  facts.repository->stored_wal_bytes_per_day = wal.stored_bytes_per_day;
  if (facts.server) facts.server->archive_seconds = wal.archive_seconds;
  return {};
}

Status read_repository(const InspectRequest& request, const std::optional<Asked>& asked, PlanFacts& facts,
                       std::vector<WalEvidence>& wal) {
  RepositoryState& repository = *facts.repository;
  TRY_ASSIGN(repo::Repository opened, ops::open_repository(*request.repository));
  repository.encrypted = opened.marker().encrypted;
  if (auto store = ops::open_store(*request.repository, storage::StoreMode::existing))
    if (auto slots = repo::list_slots(**store)) repository.key_slots = slots->size();
  TRY_ASSIGN(ops::Catalogue catalogue, ops::read_catalogue(opened, request.cluster, ops::ListAttempts::hide));
  if (catalogue.lineages.empty()) return {};
  read_backups(catalogue.lineages.back(), repository, facts.server, request.now);
  TRY_ASSIGN(ops::ChosenLineage lineage, ops::choose_lineage(opened, request.cluster));
  TRY(read_wal(request, lineage, catalogue.lineages.back(), asked ? asked->wal : std::nullopt, facts, wal));
  std::vector<EvidenceText> evidence;
  TRY(add_evidence(lineage.repo, evidence));
  TRY(add_evidence(lineage.repo.dumps(), evidence));
  std::ranges::sort(evidence, std::ranges::greater(), &EvidenceText::id);
  const std::optional<double> size = facts.server ? facts.server->size_bytes : std::nullopt;
  facts.rates = rates_of_drills(evidence, size);
  TRY_ASSIGN(ops::DumpList dumps, ops::list_dumps(opened, request.cluster, false));
  for (const ops::DumpEntry& dump : dumps.dumps)
    if (size && dump.card.totals.seconds > 0 && dump.card.dump && is_whole(*dump.card.dump))
      facts.rates.dump_bytes_per_second = *size / dump.card.totals.seconds;
  return {};
}

bool same_device(const std::string& url, const std::string& data_directory) {
  constexpr std::string_view kFile = "file://";
  if (!url.starts_with(kFile) || data_directory.empty()) return false;
  auto repository = stat_path(url.substr(kFile.size()));
  auto data = stat_path(data_directory);
  return repository && data && repository->device == data->device;
}

}  // namespace

Result<PlanFacts> inspect(const InspectRequest& request) {
  PlanFacts facts;
  facts.time = request.now;
  facts.cluster = request.cluster;
  std::optional<Asked> asked;
  std::vector<WalEvidence> wal;
  if (request.conninfo) {
    auto server = read_server(request, facts.server);
    if (server)
      asked.emplace(std::move(*server));
    else if (server.error().kind == ErrorKind::cancelled)
      return std::move(server).error();
    else
      facts.server_problem = server.error().to_string();
  }
  if (request.repository) {
    facts.repository.emplace();
    facts.repository->url = request.repository->url;
    auto read = read_repository(request, asked, facts, wal);
    if (!read && read.error().kind == ErrorKind::cancelled) return std::move(read).error();
    if (!read) facts.repository->problem = read.error().to_string();
    facts.repository->on_data_device =
        same_device(request.repository->url, asked ? asked->data_directory : "");
  }
  TRY(settle_wal_rate(facts, std::move(wal), asked, request.stop));
  if (request.tools) facts.tools = find_tools(request.stop);
  if (request.stop != nullptr) TRY(request.stop->check());
  return facts;
}

}  // namespace lifeboat::ready
