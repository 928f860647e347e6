#include "app/readiness.h"

#include <algorithm>

#include "app/alerting.h"
#include "app/daemon/cron.h"
#include "app/output.h"
#include "app/readings.h"
#include "app/retention.h"
#include "app/run.h"
#include "app/values.h"
#include "model/timestamp.h"
#include "ready/report/item.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr int64_t kMinuteUs = 60'000'000;

ready::Stated stated(const Invocation& invocation, std::string_view name, std::optional<double> value) {
  ready::Stated result{value, ""};
  if (!value) return result;
  switch (invocation.source(name)) {
    case Source::command_line:
      result.source = cat("--", name);
      break;
    case Source::environment:
      result.source = cat("the environment's LIFEBOAT_ variable of --", name);
      break;
    default:
      result.source =
          cat("`", name, "` in [cluster.", invocation.cluster(), "] of ", invocation.config_path());
      break;
  }
  return result;
}

ready::Stated stated_seconds(const Invocation& invocation, std::string_view name) {
  auto us = invocation.duration_us(name);
  return stated(invocation, name, us ? std::optional(static_cast<double>(*us) / 1e6) : std::nullopt);
}

// A hundred runs tell of what is rare, and a week of what runs by day or on some days only: no expression has
// a rarer gap but those of 29 February.
double longest_gap(std::string_view when, Timestamp now) {
  constexpr int64_t kWeekUs = 7 * 86'400'000'000;
  auto expression = CronExpression::parse(when);
  if (!expression) return 0;
  double longest = 0;
  const Timestamp week = now.plus_us(kWeekUs);
  Timestamp run = expression->next(now);
  for (int i = 0; i < 100 || run < week; ++i) {
    const Timestamp next = expression->next(run);
    longest = std::max(longest, next.seconds_since(run));
    run = next;
  }
  return longest;
}

std::vector<Timestamp> times_due(std::string_view when, Timestamp from, Timestamp now) {
  std::vector<Timestamp> due;
  auto expression = CronExpression::parse(when);
  if (!expression) return due;
  for (Timestamp run = expression->next(from); run <= now; run = expression->next(run)) due.push_back(run);
  return due;
}

std::string verb_of(const std::vector<std::string>& words) {
  std::string verb;
  for (const std::string& word : words) {
    if (word.starts_with("-")) break;
    const std::string longer = verb.empty() ? word : cat(verb, " ", word);
    if (find_command(longer) == nullptr && !verb.empty()) break;
    verb = longer;
  }
  // With these it is another job: of dumps, or one that only looks.
  for (std::string_view other : {"--dump", "--history", "--gate", "--dry-run"}) {
    const bool has = std::ranges::any_of(
        words, [&](const std::string& word) { return word == other || word.starts_with(cat(other, "=")); });
    if (has) verb += cat(" ", other);
  }
  return verb;
}

// When the cluster came into the repository: nothing could run before.
Timestamp registered(const ops::DoctorFacts& doctor) {
  const auto& lineages = doctor.repository.lineages;
  const auto lineage = doctor.lineage();
  auto ours = std::ranges::find_if(
      lineages, [&](const repo::LineageRecord& one) { return lineage && one.lineage == *lineage; });
  if (ours != lineages.end()) return ours->registered;
  return lineages.empty() ? Timestamp() : lineages.back().registered;
}

std::vector<ready::ScheduledJob> scheduled_jobs(const Invocation& invocation,
                                                const std::vector<ready::JobFacts>& remembered,
                                                Timestamp registered) {
  std::vector<ready::ScheduledJob> jobs;
  const ConfigBlock* section = invocation.cluster_section();
  if (section == nullptr) return jobs;
  const Timestamp now{invocation.clock().unix_us()};
  for (const ConfigJob& line : section->schedule) {
    ready::ScheduledJob job{line.name,
                            line.when,
                            verb_of(line.words),
                            join(line.words, " "),
                            longest_gap(line.when, now),
                            0,
                            {},
                            static_cast<double>(section->service.jitter_us) / 1e6,
                            {}};
    const auto two_gaps_us = static_cast<int64_t>(2e6 * job.longest_gap_seconds);
    const Timestamp earliest = registered.plus_us(-kMinuteUs);  // of which a moment is the beginning
    job.due = times_due(line.when, std::max(earliest, {now.unix_us - two_gaps_us}), now);
    auto known = std::ranges::find(remembered, line.name, &ready::JobFacts::name);
    job.known_to_daemon = known != remembered.end();
    if (job.known_to_daemon) {
      job.failures = known->failures;
      job.started = known->started;
    }
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::vector<ready::AlertReceiver> receivers(const Invocation& invocation) {
  std::vector<ready::AlertReceiver> found;
  const auto known = known_receivers(invocation);
  for (const ready::Receiver& one : invocation.config().receivers) {
    const bool ours =
        one.clusters.empty() || std::ranges::find(one.clusters, invocation.cluster()) != one.clusters.end();
    if (!ours) continue;
    ready::AlertReceiver receiver{one.name, std::string(to_string(one.type)), !one.heartbeats_only, {}, ""};
    if (auto state = known.find(one.name); state != known.end()) {
      receiver.delivered = state->second.delivered;
      if (state->second.failures > 0) receiver.failing = state->second.last_error;
    }
    found.push_back(std::move(receiver));
  }
  return found;
}

// "ITEM: REASON"
Result<std::vector<ready::Waiver>> waivers(const Invocation& invocation) {
  std::vector<ready::Waiver> found;
  for (const std::string& text : invocation.list("not-applicable")) {
    const size_t colon = text.find(':');
    ready::Waiver waiver{std::string(trim(std::string_view(text).substr(0, colon))), ""};
    if (colon != std::string::npos) waiver.reason = trim(std::string_view(text).substr(colon + 1));
    const ready::ItemInfo* item = ready::find_item(waiver.item);
    if (waiver.reason.empty())
      return make_error(ErrorKind::usage, cat("--not-applicable '", text, "'"), "expected ITEM: REASON");
    if (item == nullptr)
      return make_error(ErrorKind::usage, cat("--not-applicable '", text, "'"), "there is no such item")
          .with_hint("the report names them");
    if (!item->waivable)
      return make_error(ErrorKind::usage, cat("--not-applicable '", text, "'"), "this item always applies");
    found.push_back(std::move(waiver));
  }
  return found;
}

// "2026-03-10 by the platform team"
Result<std::optional<ready::StatedRehearsal>> stated_failover(const Invocation& invocation) {
  auto text = invocation.text("failover-rehearsed");
  if (!text) return std::optional<ready::StatedRehearsal>();
  const std::string_view words = trim(*text);
  const size_t blank = std::min(words.find(' '), words.size());
  auto time = parse_time(cat(words.substr(0, blank), " 00:00:00+00"));
  const bool named = !trim(words.substr(blank)).empty();
  if (time && named && time->unix_us <= invocation.clock().unix_us())
    return std::optional(ready::StatedRehearsal{*time, std::string(words)});
  return make_error(ErrorKind::usage, cat("--failover-rehearsed '", *text, "'"),
                    "expected a day that has been, and by whom")
      .with_hint("as in \"2026-03-10 by the platform team\"");
}

// "0.023 USD"
Result<ready::StoragePrice> storage_price(const Invocation& invocation) {
  ready::StoragePrice price;
  price.storage_class = invocation.text("storage-class").value_or("");
  auto text = invocation.text("storage-price");
  if (!text) return price;
  const std::string_view words = trim(*text);
  const size_t blank = std::min(words.find(' '), words.size());
  price.per_gb_month = parse_decimal(words.substr(0, blank));
  price.currency = trim(words.substr(blank));
  if (price.per_gb_month && *price.per_gb_month >= 0 && *price.per_gb_month < 1e9) return price;
  return make_error(ErrorKind::usage, cat("--storage-price '", *text, "'"),
                    "expected a number and a currency")
      .with_hint("what a GB (10^9 bytes) costs a month, as in \"0.023 USD\"");
}

// None where the repository cannot be read: the report says so elsewhere.
std::optional<ops::StoredBytes> stored_bytes(const ops::RepositoryFacts& known) {
  if (!known.opened) return std::nullopt;
  auto stored = ops::measure_stored(*known.opened, known.cluster);
  return stored ? std::optional(*stored) : std::nullopt;
}

// None where the repository cannot be read: the report says so elsewhere. Errors: cancelled.
Result<std::optional<std::vector<ops::LostMoments>>> find_lost_moments(const Invocation& invocation,
                                                                       const ops::DoctorFacts& facts) {
  std::optional<std::vector<ops::LostMoments>> none;
  const ops::RepositoryFacts& known = facts.repository;
  if (!known.opened) return none;
  auto chosen = ops::choose_lineage(*known.opened, known.cluster, facts.lineage());
  if (!chosen) return none;
  SilentReporter reporter;
  auto status = ops::wal_status_of(*chosen, {invocation.clock().unix_us()}, reporter, invocation.stop());
  if (!status && status.error().kind == ErrorKind::cancelled) return std::move(status).error();
  return status ? std::optional(ops::lost_moments(*status)) : none;
}

Result<ready::ReportSettings> read_settings(const Invocation& invocation) {
  ready::ReportSettings settings;
  settings.config_path = invocation.config_path();
  settings.rpo = stated_seconds(invocation, "rpo");
  settings.rto = stated_seconds(invocation, "rto");
  auto compliance = invocation.integer("compliance-days");
  settings.compliance_days =
      stated(invocation, "compliance-days",
             compliance ? std::optional(static_cast<double>(*compliance)) : std::nullopt);
  settings.decision_record = invocation.text("decision-record").value_or("");
  if (!settings.decision_record.empty()) {
    auto there = path_exists(settings.decision_record);
    settings.decision_record_exists = there && *there;
  }
  const RetentionRules rules = read_retention(invocation);
  settings.legal_hold = rules.legal_hold;
  settings.key_escrow = invocation.text("key-escrow").value_or("");
  settings.retention = rules.backups;
  settings.dump_retention = rules.dumps;
  TRY_ASSIGN(settings.price, storage_price(invocation));
  TRY_ASSIGN(settings.failover, stated_failover(invocation));
  settings.receivers = receivers(invocation);
  settings.metrics_endpoint = invocation.config().serve.metrics;
  settings.runbook_directory = invocation.value("runbook-dir");
  TRY_ASSIGN(settings.waivers, waivers(invocation));
  return settings;
}

constexpr Option kStated[] = {
    {.name = "rpo",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "the target: how much may be lost at most",
     .section = ConfigSection::cluster},
    {.name = "rto",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "the target: how long a recovery may take at most",
     .section = ConfigSection::cluster},
    {.name = "decision-record",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "an open decision about targets",
     .section = ConfigSection::cluster},
    {.name = "key-escrow",
     .kind = ValueKind::text,
     .placeholder = "WHERE",
     .help = "where a key that opens the repository is kept away from this host, as in \"safe 3, sealed "
             "envelope\"",
     .section = ConfigSection::cluster},
    {.name = "failover-rehearsed",
     .kind = ValueKind::text,
     .placeholder = "DAY WHO",
     .help = "when a failover was rehearsed and by whom, as in \"2026-03-10 by the platform team\"; good for "
             "a quarter",
     .section = ConfigSection::cluster},
    {.name = "storage-price",
     .kind = ValueKind::text,
     .placeholder = "PRICE",
     .help = "what a GB (10^9 bytes) of the repository costs a month, as in \"0.023 USD\"",
     .section = ConfigSection::cluster},
    {.name = "storage-class",
     .kind = ValueKind::text,
     .placeholder = "CLASS",
     .help = "of the repository's objects, as the provider calls it: STANDARD_IA, COOL, NEARLINE",
     .section = ConfigSection::cluster},
    {.name = "not-applicable",
     .kind = ValueKind::text,
     .placeholder = "ITEM: REASON",
     .help = "an item of the report that does not apply here; those that always apply refuse it",
     .repeatable = true,
     .section = ConfigSection::cluster},
};

constexpr Option kRunbookPlace[] = {
    {.name = "runbook-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where the runbooks lie that lifeboat runbook wrote",
     .default_text = "/var/lib/lifeboat/runbooks",
     .section = ConfigSection::cluster},
};

}  // namespace

constinit const OptionGroup kStatedOptions = {"Targets and policy", kStated};
constinit const OptionGroup kRunbookPlaceOptions = {"Runbooks", kRunbookPlace};

Result<ready::ReportFacts> read_readiness(const Invocation& invocation) {
  ready::ReportFacts facts;
  TRY_ASSIGN(facts.settings, read_settings(invocation));
  TRY_ASSIGN(SignalsRead read, read_signals_and_facts(invocation, Owners::judged_later));
  facts.signals = std::move(read.facts);
  facts.report = std::move(read.report);
  facts.settings.owner = read.settings.owner;
  facts.settings.signals_read = read.watched;
  facts.settings.metrics_problem = read.metrics_problem;
  facts.settings.jobs = scheduled_jobs(invocation, facts.signals.jobs, registered(facts.doctor()));
  facts.rehearsals = std::move(read.rehearsals);
  facts.dumps = std::move(read.dumps);
  facts.rates = std::move(read.rates);
  facts.stored = stored_bytes(facts.doctor().repository);
  TRY_ASSIGN(facts.lost_moments, find_lost_moments(invocation, facts.doctor()));
  facts.runbooks = ready::written_runbooks(facts.settings.runbook_directory, invocation.cluster());
  facts.place = ready::place_of(facts.doctor());
  facts.tool_version = kVersion;
  return facts;
}

}  // namespace lifeboat::app
