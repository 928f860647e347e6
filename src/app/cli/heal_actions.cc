#include "app/cli/heal_actions.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/daemon/control.h"
#include "app/run.h"
#include "ops/backup/backup.h"
#include "ops/heal/rotate.h"
#include "ops/heal/slot.h"
#include "ops/wal/commands.h"
#include "ops/wal/push.h"
#include "pg/client/client.h"
#include "repo/wal_store.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using ready::HealAction;
using ready::HealFinding;

constexpr int64_t kGraceMs = 5'000;         // for what is ended, before it is killed
constexpr int64_t kDaemonGraceMs = 60'000;  // as long as its own jobs have to end
constexpr int64_t kArchiverMs = 90'000;     // its longest sleep is a minute
constexpr int64_t kReceiverMs = 30'000;
constexpr int64_t kPollUs = 100'000;
constexpr int64_t kAskMs = 5'000;

Result<pg::PgClient> connect(const HealContext& context) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat heal";
  options.connect_timeout_ms = kAskMs;
  options.stop = &context.invocation.stop();
  return pg::PgClient::connect(context.invocation.conninfo(), options);
}

// Asks until it is true.
Status wait_for(const HealContext& context, std::string_view what, const std::string& sql, int64_t limit_ms,
                Reporter& reporter) {
  Clock& clock = context.invocation.clock();
  TRY_ASSIGN(pg::PgClient client, connect(context));
  const int64_t deadline_us = clock.monotonic_us() + limit_ms * 1000;
  for (;;) {
    TRY(context.invocation.stop().check());
    TRY_ASSIGN(auto value, client.value(sql));
    if (value.value_or("") == "t") return {};
    if (clock.monotonic_us() > deadline_us)
      return make_error(ErrorKind::timeout, std::string(what),
                        cat("not so after ", format_seconds(static_cast<double>(limit_ms) / 1000)));
    reporter.progress(cat("waiting for ", what), 0, 0, ProgressUnit::items);
    clock.sleep_us(kPollUs);
  }
}

// --- archiver

Result<std::string> free_archiver(const HealContext& context, const HealFinding& finding,
                                  std::vector<std::string>& did, Reporter& reporter) {
  const ready::HealProbe& probe = context.probe;
  auto ours = [&](const ops::ProcessFacts& one) { return finding.object == cat("process ", one.pid); };
  const ops::ProcessFacts* process = nullptr;
  if (finding.id == "daemon_stuck" && probe.daemon.process) process = &*probe.daemon.process;
  auto command = std::ranges::find_if(probe.archiver_commands, ours);
  if (finding.id == "archiver_stuck" && command != probe.archiver_commands.end()) process = &*command;
  if (process == nullptr) return make_error(ErrorKind::precondition, finding.object, "is not there any more");
  TRY_ASSIGN(pg::PgClient client, connect(context));
  TRY_ASSIGN(auto before, client.value("SELECT archived_count FROM pg_stat_archiver"));
  const int64_t grace_ms = finding.id == "daemon_stuck" ? kDaemonGraceMs : kGraceMs;
  TRY(ops::end_process(*process, grace_ms, context.invocation.stop()));
  did.push_back(cat("ended process ", process->pid, ": ", process->command));
  TRY(wait_for(context, "the archiver",
               cat("SELECT archived_count > ", before.value_or("0"),
                   " OR NOT EXISTS (SELECT FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')"
                   " FROM pg_stat_archiver"),
               kArchiverMs, reporter));
  return std::string("the archiver archives again");
}

// --- slot and receiver

Result<std::string> make_slot(const HealContext& context, const HealFinding& finding,
                              std::vector<std::string>& did) {
  ops::SlotRequest request;
  request.location = context.where;
  request.conninfo = context.invocation.conninfo();
  request.slot = finding.object;
  TRY_ASSIGN(ops::SlotOutcome outcome,
             ops::remake_slot(request, finding.id == "slot_lost", context.invocation.stop()));
  if (!outcome.made) return cat("the slot ", finding.object, " had been made meanwhile");
  did.push_back(
      cat("made the slot ", finding.object,
          outcome.reserved.valid() ? cat(", which keeps WAL from ", outcome.reserved.to_string()) : ""));
  if (!outcome.hole) return std::string("no WAL is lost");
  const std::string hole = cat("WAL from ", outcome.hole->from.to_string(), " to ",
                               outcome.hole->to.to_string(), " of timeline ", outcome.hole->timeline.value);
  did.push_back(cat("recorded in the repository: ", hole, " was removed before it was received"));
  return cat(hole, " is lost: a new backup begins behind it");
}

Result<std::string> restart_receiver(const HealContext& context, const HealFinding& finding,
                                     std::vector<std::string>& did, Reporter& reporter) {
  const nlohmann::ordered_json question = {
      {"op", "restart"}, {"cluster", context.invocation.cluster()}, {"process", "wal receive"}};
  const std::string socket = context.invocation.value("socket");
  auto answer = ask_daemon(socket, question.dump(), kAskMs);
  if (!answer || answer->find("restarts") == std::string::npos)
    return make_error(ErrorKind::unavailable, socket,
                      "the daemon did not take the request to restart wal receive");
  did.emplace_back("had the daemon restart its wal receive");
  TRY(wait_for(context, "the receiver",
               cat("SELECT EXISTS (SELECT FROM pg_replication_slots WHERE active AND slot_name = ",
                   sql_literal(finding.object), ")"),
               kReceiverMs, reporter));
  return cat("the slot ", finding.object, " is in use again");
}

// --- gaps

Status store_missing(const HealContext& context, const SegmentName& segment) {
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(context.where));
  TRY_ASSIGN(ops::ChosenLineage lineage,
             ops::lineage_of(repository, context.where.cluster, *context.facts.doctor.data));
  auto file = WalFileName::parse(segment.to_string());
  ops::WalDirectory pg_wal(cat(context.facts.doctor.data->path, "/pg_wal"));
  TRY(ops::store_wal_file(lineage, *file, pg_wal));
  return {};
}

Result<bool> is_stored(const HealContext& context, const SegmentName& segment) {
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(context.where));
  TRY_ASSIGN(ops::ChosenLineage lineage,
             ops::lineage_of(repository, context.where.cluster, *context.facts.doctor.data));
  TRY_ASSIGN(auto object, repo::WalStore(lineage.repo).find(*WalFileName::parse(segment.to_string())));
  return object.has_value();
}

Result<std::string> take_backup(const HealContext& context, const ops::RepoLocation& into,
                                std::vector<std::string>& did, Reporter& reporter) {
  ops::BackupOptions options;
  options.location = into;
  options.source.conninfo = context.invocation.conninfo();
  options.source.pgdata = context.invocation.pgdata();
  options.label = "lifeboat heal";
  options.jobs = context.invocation.jobs();
  options.tool_version = kVersion;
  TRY_ASSIGN(ops::BackupOutcome made, ops::run_backup(options, reporter, context.invocation.stop()));
  did.push_back(cat("took backup ", made.card.id.text, " into ", into.url));
  if (made.card.broken_pages != 0)
    return make_error(ErrorKind::backup_damaged, cat("backup ", made.card.id.text),
                      cat(counted(made.card.broken_pages, "broken page"), " of the database"));
  return cat("recovery begins anew with backup ", made.card.id.text);
}

enum class GapEnd : uint8_t { closed, not_in_pg_wal, stored_meanwhile };

// From the first missing segment on, until one is stored already or is still being written.
Result<GapEnd> store_gap(const HealContext& context, SegmentName segment, std::vector<std::string>& did) {
  const auto& server = context.facts.doctor.server;
  if (!server) return make_error(ErrorKind::unavailable, segment.to_string(), "the server does not answer");
  const SegmentSize size{context.facts.doctor.data->control.wal_segment_size};
  const SegmentName written = SegmentName::containing(server->current_timeline, server->current_lsn, size);
  for (bool any = false;; segment = segment.next(size), any = true) {
    const GapEnd end = any ? GapEnd::closed : GapEnd::stored_meanwhile;
    if (segment.timeline == written.timeline && segment >= written) return end;
    TRY_ASSIGN(bool there, is_stored(context, segment));
    if (there) return end;
    auto stored = store_missing(context, segment);
    if (stored) {
      did.push_back(cat("stored ", segment.to_string(), " from pg_wal"));
      continue;
    }
    // What pg_wal has under that name may be a recycled file; then it is lost, and the gap is left behind.
    did.push_back(cat("could not store ", segment.to_string(), " from pg_wal: ", stored.error().to_string()));
    return GapEnd::not_in_pg_wal;
  }
}

Result<std::string> close_gap(const HealContext& context, std::vector<std::string>& did, Reporter& reporter) {
  const auto& continuity = context.facts.doctor.repository.continuity;
  if (context.probe.gap_in_pg_wal && continuity && continuity->missing) {
    TRY_ASSIGN(GapEnd end, store_gap(context, *continuity->missing, did));
    if (end == GapEnd::closed) return std::string("the gap is closed");
    if (end == GapEnd::stored_meanwhile)
      return cat(continuity->missing->to_string(),
                 " is stored by now, and nothing was done; what is still missing the next look tells");
  }
  return take_backup(context, context.where, did, reporter);
}

// --- the others

Result<std::string> free_spool(const HealContext& context, const HealFinding& finding,
                               std::vector<std::string>& did) {
  auto spool = std::ranges::find(context.probe.spools, finding.object, &ready::SpoolFacts::directory);
  if (spool == context.probe.spools.end())
    return make_error(ErrorKind::precondition, finding.object, "has nothing any more that was left");
  TRY(ops::remove_abandoned(spool->directory));
  for (const ops::AbandonedSpool& one : spool->abandoned) did.push_back(cat("removed ", one.directory));
  return cat("freed ", format_bytes(spool->bytes()));
}

Result<std::string> rotate(const HealContext& context, const HealFinding& finding,
                           std::vector<std::string>& did, Reporter& reporter) {
  if (!context.other) return make_error(ErrorKind::config, "rotate-to", "names no repository");
  if (finding.id == "repository_rotated") {
    TRY_ASSIGN(std::string began, take_backup(context, *context.other, did, reporter));
    return cat("the rotation that was begun is complete: ", began, " in ", context.other->url);
  }
  ops::RotateRequest request;
  request.to = *context.other;
  request.conninfo = context.invocation.conninfo();
  TRY_ASSIGN(request.program, ops::own_program_path());
  TRY_ASSIGN(ops::RotateOutcome outcome,
             ops::rotate_archiving(request, did, reporter, context.invocation.stop()));
  did.push_back(cat("the archiver stored ", outcome.archived, " in ", request.to.url));
  TRY_ASSIGN(std::string began, take_backup(context, *context.other, did, reporter));
  return cat("WAL goes into ", request.to.url, "; ", began, " there");
}

Result<std::string> make_standby(const HealContext& context, const HealFinding& finding,
                                 std::vector<std::string>& did, Reporter& reporter) {
  const auto& standby = context.probe.standby;
  if (!standby || finding.object.empty())
    return make_error(ErrorKind::precondition, finding.object, "the standby cannot be looked at any more");
  ops::RecloneRequest request;
  request.location = context.where;
  request.data_directory = finding.object;
  request.primary = standby->conninfo;
  request.slot = standby->slot;
  TRY_ASSIGN(request.program, ops::own_program_path());
  request.pg_bin = context.invocation.pg_bin().value_or("");
  request.spool = context.invocation.text("spool").value_or("");
  request.jobs = context.invocation.jobs();
  TRY_ASSIGN(ops::RecloneOutcome outcome, ops::reclone_standby(request, reporter, context.invocation.stop()));
  did.push_back(cat("stopped the standby and made it anew from backup ", outcome.backup));
  for (const std::string& kept : outcome.kept) did.push_back(cat("kept the old directory as ", kept));
  if (!outcome.streaming) return std::string("the standby runs");
  return cat("it streams from ", outcome.streaming->sender, " after ",
             format_seconds(outcome.streaming->seconds));
}

}  // namespace

Result<std::string> carry_out(const HealContext& context, const HealFinding& finding,
                              std::vector<std::string>& did, Reporter& reporter) {
  switch (finding.action) {
    case HealAction::spool:
      return free_spool(context, finding, did);
    case HealAction::archiver:
      return free_archiver(context, finding, did, reporter);
    case HealAction::rotate:
      return rotate(context, finding, did, reporter);
    case HealAction::slot:
      return make_slot(context, finding, did);
    case HealAction::receiver:
      return restart_receiver(context, finding, did, reporter);
    case HealAction::backup:
      return close_gap(context, did, reporter);
    case HealAction::standby:
      return make_standby(context, finding, did, reporter);
    case HealAction::none:
      break;
  }
  return make_error(ErrorKind::internal, finding.id, "has no action");
}

}  // namespace lifeboat::app
