#include "ops/backup/backup.h"

#include <unistd.h>

#include <set>

#include "ops/backup/basis.h"
#include "ops/backup/catalog.h"
#include "ops/backup/change_names.h"
#include "ops/backup/copy_tree.h"
#include "ops/backup/primary.h"
#include "ops/backup/source_wal.h"
#include "ops/backup/wal_wait.h"
#include "repo/lease.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

std::string host_name() {
  char text[256] = {};
  gethostname(text, sizeof text - 1);
  return text;
}

// The parts of a manifest that are known before the copy.
repo::Manifest describe(const BackupOptions& options, const Source& source, const repo::LineageRepo& repo,
                        const BackupId& id, const pg::BackupStart& start,
                        const std::vector<pg::TablespaceFacts>& tablespaces) {
  repo::Manifest m;
  m.card.id = id;
  m.card.type = BackupType::full;
  m.card.label = options.label;
  m.card.started = start.time;
  m.card.start_lsn = start.start_lsn;
  m.card.timeline = start.timeline;
  m.card.server_version_num = source.server.version_num;
  m.card.data_checksums = source.data_dir.control.checksums();
  m.card.encrypted = repo.keys().encrypted();
  m.card.key_id = repo.keys().current();
  m.card.compression = cat(codec::to_string(repo.compression().compression), " ", repo.compression().level);
  m.card.host = host_name();
  m.card.tool_version = options.tool_version;
  m.card.databases = source.catalog.databases.size();
  m.card.tables = source.catalog.table_count;
  m.card.estimated_rows = source.catalog.estimated_rows;
  m.block_size = source.data_dir.control.block_size;
  m.segment_size = {source.data_dir.control.wal_segment_size};
  m.catalog_version = source.data_dir.control.catalog_version;
  m.start_timeline = start.timeline;
  m.data_directory = source.data_dir.path;
  m.owner = source.owner;
  m.group = source.group;
  m.databases = source.catalog.databases;
  m.tables = source.catalog.tables;
  m.extensions = source.catalog.extensions;
  for (const pg::TablespaceFacts& t : tablespaces) {
    m.tablespaces.push_back({t.oid, t.name, t.location, !t.location.starts_with('/'), 0});
  }
  m.settings.push_back({std::string(kBootstrapRoleSetting), source.catalog.bootstrap_role});
  for (const auto& [name, value] : source.server.settings) {
    auto unit = source.server.setting_units.find(name);
    m.settings.push_back(
        {name, unit == source.server.setting_units.end() ? value : cat(value, " * ", unit->second)});
  }
  return m;
}

Status copy_files(const BackupOptions& options, const Source& source, const repo::LineageRepo& repo,
                  pg::FileSource& files, repo::PackNumbers& numbers, Incremental* incremental,
                  PageChecker& checker, repo::Manifest& manifest, std::vector<std::string>& warnings,
                  Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(Measure measure, measure_tree(files, stop));
  CopyOptions copy;
  copy.workers = options.jobs;
  copy.block_size = manifest.block_size;
  copy.segment_blocks = source.data_dir.control.relation_segment_blocks;
  copy.bytes_per_second = options.bytes_per_second;
  copy.start = manifest.card.start_lsn;
  if (options.prove && incremental != nullptr && incremental->reference() != nullptr)
    copy.prove = {incremental->reference()->card.start_lsn, manifest.card.start_lsn};
  if (incremental != nullptr) copy.carry = incremental->carry();
  CopyPool pool(repo, numbers, checker, copy, reporter, stop);
  pool.expect_bytes(measure.bytes);
  std::set<Oid> tablespaces;
  for (const repo::TablespaceInfo& tablespace : manifest.tablespaces) tablespaces.insert(tablespace.oid);
  TRY_ASSIGN(CopiedTree tree, copy_tree(pool, files, repo, incremental, source.server.major, tablespaces,
                                        source.config_files, stop));
  TRY(pool.finish());
  warnings.insert(warnings.end(), tree.warnings.begin(), tree.warnings.end());
  manifest.root = pool.root();
  manifest.usage = pool.usage();
  manifest.changed_directories = pool.changes().directories();
  std::erase_if(manifest.changed_directories, [](const repo::ChangeCount& directory) {
    return !pg::RelationDirectory::parse(
        std::string_view(directory.path).substr(directory.path.find('/') + 1));
  });
  manifest.changed_relations = pool.changes().relations();
  manifest.external_files = std::move(tree.external_files);
  for (repo::TablespaceInfo& tablespace : manifest.tablespaces) {
    tablespace.bytes = tree.tablespace_bytes[tablespace.oid];
  }
  CopyTotals totals = pool.totals();
  manifest.card.totals.files = totals.files;
  manifest.card.totals.directories = totals.directories;
  manifest.card.totals.plain_bytes = totals.plain_bytes;
  manifest.card.totals.read_bytes += totals.read_bytes;
  manifest.card.totals.stored_bytes += totals.stored_bytes;
  manifest.card.totals.pages_checked = checker.pages();
  return {};
}

void record_stop(const pg::BackupStop& stopped, const PageChecker& checker, repo::Manifest& manifest) {
  manifest.card.stopped = stopped.time;
  manifest.card.stop_lsn = stopped.stop_lsn;
  manifest.backup_label = stopped.backup_label;
  manifest.tablespace_map = stopped.tablespace_map;
  PageChecker::Verdict verdict = checker.judge(stopped.stop_lsn);
  manifest.card.broken_pages = verdict.count;
  manifest.broken_pages = std::move(verdict.broken);
  if (verdict.count != 0) {
    manifest.card.state = repo::BackupState::damaged;
    manifest.card.reason = cat(verdict.count, " broken page", verdict.count == 1 ? "" : "s");
  }
}

// Everything between the lease and the card. Any error leaves an attempt without a card.
Result<BackupOutcome> back_up(const BackupOptions& options, const Source& source,
                              const ChosenLineage& lineage, pg::FileSource& files, const Reference& reference,
                              const std::vector<repo::Attempt>& attempts, const BackupId& id,
                              repo::BackupLease& lease, BackupOutcome outcome, int64_t began_us,
                              Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(options.source.conninfo, connect_options(stop)));
  reporter.progress("starting", 0, 0, ProgressUnit::items);
  TRY_ASSIGN(pg::BackupSession session,
             pg::BackupSession::start(std::move(client), options.label, options.checkpoint));
  const pg::BackupStart& start = session.started();
  TRY(lease.set_start(start.timeline, start.start_lsn, {source.data_dir.control.wal_segment_size}));
  TRY_ASSIGN(std::vector<pg::TablespaceFacts> tablespaces, check_session(session, source));
  repo::Manifest manifest = describe(options, source, lineage.repo, id, start, tablespaces);
  manifest.lease_sequence = lease.sequence();

  PageChecker checker({manifest.block_size, manifest.card.data_checksums, start.start_lsn});
  const pg::ControlFile& control = source.data_dir.control;
  TRY_ASSIGN(Basis basis, find_basis(lineage, reference, attempts, files, control, start, reporter, stop));
  TRY(require_basis(options.type, basis));
  for (const std::string& damaged : reference.damaged)
    outcome.warnings.push_back(
        cat(damaged, "; nothing is taken over from it: this backup ",
            basis.reference ? cat("stands on the older ", basis.reference->card.id.text) : "is a full one"));
  basis.trust_attempts = options.type != BackupType::full && (basis.reference || !options.prove);
  TRY(repo::write_attempt(lineage.repo, {id, start.time, start.timeline, start.start_lsn, manifest.block_size,
                                         manifest.card.data_checksums}));
  repo::PackNumbers numbers(id);
  auto copy = [&](Incremental* incremental) {
    return copy_files(options, source, lineage.repo, files, numbers, incremental, checker, manifest,
                      outcome.warnings, reporter, stop);
  };
  TRY(copy_by_basis(basis, files, control, start.start_lsn, copy, stop));
  outcome.proven_blocks = basis.proven_blocks;
  if (basis.warning) outcome.warnings.push_back(*basis.warning);
  TRY(lease.check());
  const bool standby = start.in_recovery;
  TRY_ASSIGN(pg::BackupStop stopped, session.stop());
  record_stop(stopped, checker, manifest);
  record_basis(options.type, basis, manifest.card);
  name_changes(options.source.conninfo, manifest, stop);

  if (standby && !options.primary.empty())
    TRY(switch_wal_on_primary(options.primary, source.data_dir.lineage, stop));
  SourceWal pg_wal(files);
  WalRequest wal;
  wal.pg_wal = &pg_wal;
  wal.where = files.absolute("pg_wal");
  wal.standby = standby;
  wal.timeline = start.timeline;
  wal.start = start.start_lsn;
  wal.stop = stopped.stop_lsn;
  wal.timeout_us = options.wal_timeout_us;
  TRY_ASSIGN(WalOutcome arrived, require_wal(lineage, wal, reporter, stop));
  outcome.wal_segments = arrived.segments;
  outcome.wal_stored_by_us = arrived.stored_by_us;

  manifest.card.totals.seconds = static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
  TRY(repo::write_manifest(lineage.repo, manifest));
  TRY(lease.confirm());
  TRY(repo::write_card(lineage.repo, manifest.card));
  outcome.card = manifest.card;
  outcome.read_from = source.where;
  outcome.remote = source.remote;
  outcome.standby = standby;
  outcome.changes = std::move(basis.changes);
  outcome.broken_pages = std::move(manifest.broken_pages);
  return outcome;
}

Result<Reference> find_reference(const BackupOptions& options, const Source& source,
                                 const ChosenLineage& lineage, pg::FileSource& files) {
  if (options.type == BackupType::full) return Reference{};
  auto history = server_history(files, lineage.repo, source.timeline());
  if (!history && history.error().kind != ErrorKind::not_found) return std::move(history).error();
  if (!history)
    return Reference{std::nullopt,
                     cat("the history of the server's timeline is unknown: ", history.error().to_string())};
  return choose_reference(lineage.repo, options.type.value_or(BackupType::incr), *history);
}

std::vector<BackupId> referred_to(const Reference& reference, const std::vector<repo::Attempt>& attempts) {
  std::vector<BackupId> ids;
  if (reference.card) ids.push_back(reference.card->id);
  for (const repo::Attempt& attempt : attempts) ids.push_back(attempt.id);
  return ids;
}

// Attempts that begin to expire at this moment are left alone, and so is the reference where that may be.
Result<repo::BackupLease> take_lease(const BackupOptions& options, const repo::LineageRepo& repo,
                                     Reference& reference, std::vector<repo::Attempt>& attempts, BackupId& id,
                                     StopToken& stop) {
  while (true) {
    repo::LeaseOptions lease_options;
    lease_options.stop = &stop;
    auto lease =
        repo::BackupLease::acquire(repo, id, referred_to(reference, attempts), std::move(lease_options));
    if (lease || lease.error().kind != ErrorKind::precondition) return lease;
    if (!attempts.empty()) {
      attempts.clear();
    } else if (reference.card && !options.type) {
      reference = {std::nullopt, lease.error().to_string()};
    } else {
      return lease;
    }
    id = new_backup_id();  // the lease that was given up has made the other one an attempt
  }
}

}  // namespace

Result<BackupOutcome> run_backup(const BackupOptions& options, Reporter& reporter, StopToken& stop) {
  int64_t began_us = Clock::system().monotonic_us();
  BackupOutcome outcome;
  TRY_ASSIGN(repo::Repository repository, open_repository(options.location));
  TRY_ASSIGN(Source source, open_source(options.source, reporter, stop, outcome.warnings));
  TRY_ASSIGN(ChosenLineage lineage, lineage_of(repository, options.location.cluster, source.data_dir));
  pg::FileSource& files = *source.files;
  if (!options.primary.empty()) {
    if (source.server.in_recovery)
      TRY(check_primary(options.primary, source.data_dir.lineage, stop));
    else
      reporter.note(NoteLevel::info, "--primary is of no use here: the server is no standby");
  }
  TRY_ASSIGN(Reference reference, find_reference(options, source, lineage, files));
  TRY_ASSIGN(std::vector<repo::Attempt> attempts, find_attempts(lineage.repo));

  BackupId id = new_backup_id();
  TRY_ASSIGN(repo::BackupLease lease, take_lease(options, lineage.repo, reference, attempts, id, stop));
  auto result = back_up(options, source, lineage, files, reference, attempts, id, lease, std::move(outcome),
                        began_us, reporter, stop);
  if (!result) {
    auto aborted = lease.abort(result.error().to_string());
    if (!aborted)
      reporter.note(NoteLevel::warning,
                    cat("the failed attempt could not be marked: ", aborted.error().to_string()));
  }
  return result;
}

}  // namespace lifeboat::ops
