#include "app/readings.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "app/daemon/daemon.h"
#include "app/daemon/http_server.h"
#include "app/daemon/schedule.h"
#include "app/later.h"
#include "app/location.h"
#include "app/output.h"
#include "app/parse.h"
#include "app/render.h"
#include "ops/dump/dump.h"
#include "ready/plan/rates.h"
#include "ready/report/standing.h"
#include "ready/signals/facts.h"
#include "ready/signals/history.h"
#include "ready/signals/report_json.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using ready::Rank;
using ready::Reading;
using ready::Verdict;

constexpr std::string_view kOneCause =
    "one cause for all of these: lifeboat doctor names it, and what mends it";
constexpr uint64_t kRecordsLimit = 4 << 20;

// What the daemon remembers of the cluster's jobs; nothing where there is no daemon.
Result<std::vector<ready::JobFacts>> remembered_jobs(const Invocation& invocation,
                                                     const std::string& state_directory) {
  std::vector<ready::JobFacts> jobs;
  const ConfigBlock* section = invocation.cluster_section();
  if (section == nullptr || section->schedule.empty()) return jobs;
  const std::string path = join_path(state_directory, kRecordsFile);
  auto text = read_text(path, kRecordsLimit);
  if (!text && text.error().kind == ErrorKind::not_found) return jobs;
  TRY(text);
  TRY_ASSIGN(auto records, decode_records(path, *text));
  for (const ConfigJob& line : section->schedule) {
    auto record = records.find(cat(section->name, "/", line.name));
    if (record == records.end()) continue;
    jobs.push_back({line.name, join(line.words, " "), record->second.failures, record->second.error,
                    record->second.started});
  }
  return jobs;
}

std::string trend_text(const Reading& reading) {
  if (!reading.trend.per_day) return "-";
  const double change = *reading.trend.per_day;
  std::string text = cat(change >= 0 ? "+" : "", ready::format_value(change, reading.signal->unit), "/day");
  if (reading.trend.reaches_critical_seconds && rank_of(reading.verdict) != Rank::critical)
    text += cat(", critical in ",
                ready::format_value(*reading.trend.reaches_critical_seconds, ready::Unit::seconds));
  return text;
}

// What its newest drill, else its newest verification, found; "": nothing is known against it.
std::string known_failure(const ops::BackupProofs& proofs) {
  if (proofs.drilled && !proofs.drilled->passed) return ops::first_problem(*proofs.drilled);
  const ops::BackupProof* failed = proofs.good() ? nullptr : ops::failed_proof(proofs);
  return failed == nullptr ? "" : ops::first_problem(*failed);
}

// What can be read of them goes to `dumps`; the error is of what cannot.
Status complete_dumps(const repo::Repository& repository, const std::string& cluster,
                      std::vector<ready::LogicalBackup>& dumps) {
  TRY_ASSIGN(ops::DumpList list, ops::list_dumps(repository, cluster, false));
  for (const ops::DumpEntry& entry : list.dumps) {
    if (entry.card.state != repo::BackupState::complete) continue;
    const auto& dump = entry.card.dump;
    dumps.push_back({entry.card.id.text, entry.card.stopped,
                     !dump || (!dump->schema_only && !dump->chosen_tables), known_failure(entry.proofs),
                     dump ? dump->databases : std::vector<std::string>()});
  }
  if (!list.problems.empty()) return std::move(list.problems.front());
  return {};
}

// Nothing where the repository, or its catalogue, cannot be read: signals say so elsewhere.
Status read_evidence(SignalsRead& read) {
  const ops::RepositoryFacts& known = read.facts.doctor.repository;
  if (!known.opened || known.catalogue_problem || known.lineages.empty()) return {};
  Status dumps = complete_dumps(*known.opened, known.cluster, read.dumps);
  auto chosen = ops::choose_lineage(*known.opened, known.cluster, read.facts.doctor.lineage());
  if (!chosen) return dumps;  // of a server that was never registered
  TRY_ASSIGN(read.rehearsals, ready::read_rehearsals(chosen->repo));
  read.rates = ready::measured_rates(chosen->repo);
  const auto& backups = read.facts.doctor.repository.backups;
  auto newest = std::find_if(backups.rbegin(), backups.rend(), [](const repo::Card& card) {
    return card.state == repo::BackupState::complete;
  });
  if (auto verdict = ready::read_wal_verdict(chosen->repo))
    ready::apply_wal_verdict(read.report, *verdict, newest == backups.rend() ? nullptr : &*newest);
  return dumps;
}

constexpr int64_t kMetricsTimeoutMs = 2'000;
constexpr double kWatchedSeconds = 900;

// What the configuration wants of the daemon, and is not there: `watched` is when signals were last watched.
std::string daemon_problem(const Invocation& invocation, const SignalsRead& read, Timestamp now) {
  const std::string& metrics = invocation.config().serve.metrics;
  if (!read.metrics_problem.empty())
    return cat("metrics are configured at ", metrics, ", and ", read.metrics_problem);
  const ConfigBlock* section = invocation.cluster_section();
  const bool served = section != nullptr && (section->service.line > 0 || !section->schedule.empty());
  const bool wanted = served && (!metrics.empty() || !invocation.config().receivers.empty());
  const double interval = served ? static_cast<double>(section->service.signals_us) / 1e6 : 0;
  const double most = std::max(kWatchedSeconds, 3 * interval);
  if (!wanted || !read.watched.valid() || now.seconds_since(read.watched) <= most) return "";
  return cat("nothing has watched the signals since ", read.watched.to_string());
}

// By who looks himself: the daemon's own readings are proof enough.
void tell_of_daemon(const Invocation& invocation, SignalsRead& read) {
  const std::string& metrics = invocation.config().serve.metrics;
  if (!metrics.empty() && !somebody_listens(metrics, kMetricsTimeoutMs))
    read.metrics_problem = "nothing answers there";
  const std::string problem = daemon_problem(invocation, read, read.report.time);
  auto jobs = std::ranges::find_if(read.report.readings,
                                   [](const Reading& one) { return one.signal->id == "job_failures"; });
  if (problem.empty() || jobs == read.report.readings.end()) return;
  jobs->verdict = ready::worse_of(jobs->verdict, Verdict::warning);
  jobs->found = cat("lifeboat serve seems not to run: ", problem, "; ", jobs->found);
}

constexpr Option kOptions[] = {
    {.name = "owner",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "who is called when a signal is not well, unless the signal has an owner of its own",
     .section = ConfigSection::cluster},
    {.name = "state-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where the history of signals and the state of alerts are kept",
     .default_text = "/var/lib/lifeboat",
     .section = ConfigSection::cluster},
};

}  // namespace

constinit const OptionGroup kSignalOptions = {"Signals", kOptions};

Status need_state_directory(const Invocation& invocation, std::string_view keeps) {
  const std::string directory = invocation.value("state-dir");
  auto made = create_dirs(directory);
  if (made && ::access(directory.c_str(), W_OK | X_OK) != 0)
    made = errno_error(errno, directory, "write into");
  if (made) return {};
  auto user = OsUser::by_uid(geteuid());
  return std::move(made).error().with_hint(
      cat("it keeps ", keeps, ": give --state-dir DIR, set state-dir in [cluster.", invocation.cluster(),
          "] of the configuration, or as root: install -d -o ", user ? user->name : std::string("postgres"),
          " -m 700 ", shell_quote(directory)));
}

Result<ready::SignalSettings> signal_settings(const Invocation& invocation, Owners owners) {
  ready::SignalSettings settings;
  settings.owner = invocation.text("owner").value_or("");
  const ConfigBlock* section = invocation.cluster_section();
  if (section != nullptr) settings.overrides = section->signals;
  Status owned = settings.require_owners(invocation.cluster());
  if (owned || owners == Owners::judged_later) return settings;
  if (owners == Owners::required || section != nullptr) return std::move(owned).error();
  invocation.output().note(LogLevel::warning, cat(owned.error().to_string(), "; ", owned.error().hint));
  return settings;
}

Result<SignalsRead> read_signals_and_facts(const Invocation& invocation, Owners owners, Readers readers) {
  SignalsRead read;
  TRY_ASSIGN(read.settings, signal_settings(invocation, owners));
  const ready::SignalSettings& settings = read.settings;
  const std::string state_directory = invocation.value("state-dir");
  ready::SignalRequest request;
  TRY_ASSIGN(request.doctor.where, repo_location(invocation));
  // Advice is read later, and elsewhere: in a report, an alert, a runbook.
  request.doctor.conninfo = conninfo_for_later(invocation);
  request.doctor.pgdata = invocation.pgdata();
  request.doctor.config_path = invocation.config_path();
  request.doctor.pg_bin = invocation.pg_bin().value_or("");
  request.doctor.now = Timestamp{invocation.clock().unix_us()};
  request.doctor.stop = &invocation.stop();
  request.doctor.refuses = why_refused;
  if (auto jobs = remembered_jobs(invocation, state_directory))
    request.jobs = *std::move(jobs);
  else
    request.jobs_problem = jobs.error().to_string();
  auto enabled = [&](std::string_view id) { return settings.policy(*ready::find_signal(id)).enabled; };
  request.bloat = enabled("table_bloat") || enabled("index_bloat");
  const std::string path = ready::history_path(state_directory, request.doctor.where.cluster);
  ready::SignalHistory history = ready::read_history(path);
  read.watched = history.watched;
  const int64_t began_us = invocation.clock().monotonic_us();
  TRY_ASSIGN(read.facts, ready::gather_signals(request));
  ready::SignalReport& report = read.report;
  report = ready::evaluate(read.facts, settings);
  const Status evidence = read_evidence(read);
  ready::apply_evidence(report, read.rehearsals, read.dumps);
  if (!evidence) ready::apply_unread(report, evidence.error());
  if (readers == Readers::once) tell_of_daemon(invocation, read);
  report.seconds = static_cast<double>(invocation.clock().monotonic_us() - began_us) / 1e6;
  history.apply(report);
  history.add(report);
  if (readers == Readers::watching) history.watched = report.time;
  auto kept = write_file_durable(path, as_bytes(history.encode()), 0600);
  if (!kept) invocation.output().note(LogLevel::debug, cat("no history is kept: ", kept.error().to_string()));
  return read;
}

Result<ready::SignalReport> read_signals(const Invocation& invocation, Owners owners, Readers readers) {
  TRY_ASSIGN(SignalsRead read, read_signals_and_facts(invocation, owners, readers));
  return std::move(read.report);
}

namespace {

// One cause may keep many signals from being read. It is told in full with the first of them.
const Reading& first_with_this_cause(const ready::SignalReport& report, const Reading& reading) {
  if (reading.verdict != Verdict::unknown) return reading;
  return *std::ranges::find_if(report.readings, [&](const Reading& one) {
    return one.verdict == Verdict::unknown && one.found == reading.found;
  });
}

std::string ids_with_this_cause(const ready::SignalReport& report, const Reading& first) {
  std::vector<std::string> ids;
  for (const Reading& reading : report.readings)
    if (&first_with_this_cause(report, reading) == &first) ids.emplace_back(reading.signal->id);
  return join(ids, ", ");
}

}  // namespace

std::string report_text(const ready::SignalReport& report) {
  Table table({{"result"}, {"signal"}, {"value", Align::right}, {"trend"}, {"owner"}, {"found"}});
  for (const Reading& reading : report.readings) {
    const Reading& first = first_with_this_cause(report, reading);
    table.add({std::string(to_string(reading.verdict)), std::string(reading.signal->id),
               reading.value ? ready::format_value(*reading.value, reading.signal->unit) : "-",
               trend_text(reading), reading.policy.owner.empty() ? "-" : reading.policy.owner,
               &first == &reading ? reading.found : cat("as ", first.signal->id, " says")});
  }
  std::string text = cat("cluster ", report.cluster, ", ", to_string(report.role), ", at ",
                         report.time.to_string(), ": ", ready::overall(report), "\n\n", table.to_string());
  for (Rank rank : {Rank::critical, Rank::attention}) {
    for (const Reading& reading : report.readings) {
      if (rank_of(reading.verdict) != rank || &first_with_this_cause(report, reading) != &reading) continue;
      const std::string ids = ids_with_this_cause(report, reading);
      text += cat("\n", to_string(reading.verdict), ": ", ids, ": ", reading.found, "\n",
                  wrap(ids == reading.signal->id ? reading.action : std::string(kOneCause), 2));
    }
  }
  return text;
}

}  // namespace lifeboat::app
