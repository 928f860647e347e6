// lifeboat recover: through a recovery step by step, with a plan before and a record after.
//
//   assess → find the moment → choose the target → preflight → plan (the dry run ends here) → execute
//   → validate → hand over, with the post-mortem record
#include <nlohmann/json.hpp>

#include "app/before.h"
#include "app/cli/proofs.h"
#include "app/cli/recover_questions.h"
#include "app/cli/restore_output.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/restored.h"
#include "app/run.h"
#include "app/target.h"
#include "app/terminal.h"
#include "app/who.h"
#include "ops/doctor/doctor.h"
#include "ops/restore/start.h"
#include "ready/plan/rates.h"
#include "ready/recover/record.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// A server that is down is not waited for.
constexpr int64_t kServerTimeoutMs = 5'000;

Timestamp now(const Invocation& invocation) {
  return {invocation.clock().unix_us()};
}

std::optional<double> seconds_of(const Invocation& invocation, std::string_view name) {
  auto us = invocation.duration_us(name);
  return us ? std::optional(static_cast<double>(*us) / 1e6) : std::nullopt;
}

void say_step(const Invocation& invocation, int number, std::string_view what) {
  invocation.output().note(LogLevel::info, cat("step ", number, " of 8: ", what));
}

void add_server_facts(const ops::Diagnosis& diagnosis, std::vector<std::string>& found) {
  const ops::DoctorFacts& facts = diagnosis.facts;
  if (facts.server) {
    found.push_back(cat("the server answers: PostgreSQL ", facts.server->version_text,
                        facts.server->in_recovery ? ", in recovery" : ", primary"));
  } else {
    found.push_back(cat("the server does not answer: ", facts.server_problem
                                                            ? facts.server_problem->to_string()
                                                            : std::string("it was not asked")));
  }
  if (facts.data) {
    found.push_back(cat("data directory ", facts.data->path, ": ", to_string(facts.data->control.state)));
  } else if (facts.data_problem) {
    found.push_back(facts.data_problem->to_string());
  }
  for (const ops::Finding& finding : diagnosis.findings) {
    const bool said = finding.id == "server" || finding.id == "data_directory";
    if (finding.severity == ops::Severity::critical && !said)
      found.push_back(cat(finding.id, ": ", finding.found));
  }
}

void add_repository_facts(const ops::RepositoryFacts& repository, std::vector<std::string>& found) {
  if (repository.problem) return found.push_back(repository.problem->to_string());
  found.push_back(repository.backups.empty()
                      ? std::string("no backup is stored")
                      : cat("newest backup ", repository.backups.back().id.text, ", stopped ",
                            repository.backups.back().stopped.to_string()));
  if (!repository.newest_verified)
    return found.push_back("of no backup is it proven that it can be recovered");
  const ops::BackupProofs* proofs = repository.proofs.of(*repository.newest_verified);
  found.push_back(cat("newest backup of which it is proven that it can be recovered ",
                      repository.newest_verified->text, ": ", proofs != nullptr ? proofs_text(*proofs) : ""));
}

Result<ready::Assessment> assess(const Invocation& invocation) {
  ready::Assessment assessment;
  assessment.cluster = invocation.cluster();
  assessment.began = now(invocation);
  assessment.noticed = invocation.time("noticed").value_or(assessment.began);
  if (assessment.noticed > assessment.began)
    return make_error(ErrorKind::usage, "--noticed", "lies in the future");
  ops::DoctorRequest request;
  TRY_ASSIGN(request.where, repo_location(invocation));
  request.conninfo = invocation.conninfo();
  request.pgdata = invocation.pgdata();
  request.pg_bin = invocation.pg_bin().value_or("");
  request.config_path = invocation.config_path();
  request.server_timeout_ms = kServerTimeoutMs;
  request.stop = &invocation.stop();
  TRY_ASSIGN(ops::Diagnosis diagnosis, ops::diagnose(request));
  add_server_facts(diagnosis, assessment.found);
  assessment.primary_answers = diagnosis.facts.server && !diagnosis.facts.server->in_recovery;
  add_repository_facts(diagnosis.facts.repository, assessment.found);
  for (const std::string& fact : assessment.found) invocation.output().note(LogLevel::info, fact);
  return assessment;
}

Result<std::string> server_conninfo(const ops::RestoreOptions& options, const ops::RestoreOutcome& outcome) {
  TRY_ASSIGN(ops::RestoreSource source, ops::open_restore(options));
  TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(source.repo(), outcome.plan.backup.id));
  const std::string role = ops::bootstrap_role(manifest);
  return cat("host=", outcome.recovery->socket_directory, " port=", outcome.recovery->port,
             " dbname=postgres user=", role.empty() ? outcome.plan.owner : role);
}

// Stored in the repository, and in --record.
std::string keep_record(const Invocation& invocation, const ops::RestoreOptions& options,
                        const ready::PostMortem& record, std::vector<std::string>& files) {
  std::string evidence;
  auto kept = [&]() -> Result<std::string> {
    TRY_ASSIGN(ops::RestoreSource source, ops::open_restore(options));
    return ready::write_recovery_evidence(source.repo(), record);
  }();
  if (kept) {
    evidence = *kept;
  } else {
    invocation.output().note(LogLevel::warning,
                             cat("the record is not kept in the repository: ", kept.error().to_string()));
  }
  auto directory = invocation.text("record");
  if (!directory) return evidence;
  const std::string name = cat("recovery-", record.ended.to_compact());
  const std::string markdown = join_path(*directory, name + ".md");
  const std::string json = join_path(*directory, name + ".json");
  auto written = [&]() -> Status {
    TRY(create_dirs(*directory));
    TRY(write_file_durable(markdown, as_bytes(ready::post_mortem_markdown(record, evidence)), 0644));
    return write_file_durable(json, as_bytes(to_json_text(ready::post_mortem_json(record, evidence)) + "\n"),
                              0644);
  }();
  if (written) {
    files = {markdown, json};
  } else {
    invocation.output().note(LogLevel::warning,
                             cat("the record was not written: ", written.error().to_string()));
  }
  return evidence;
}

Json plan_document(const ready::RecoverPlan& plan, bool dry_run) {
  Json steps = Json::array();
  for (const ops::RollbackStep& step : plan.steps.steps)
    steps.push_back({{"what", step.what}, {"seconds", step.seconds ? Json(*step.seconds) : Json(nullptr)}});
  const std::string warning = ready::warning_of(plan.assessment);
  return {{"dry_run", dry_run},
          {"failure", to_string(plan.assessment.failure)},
          {"found_before", plan.assessment.found},
          {"warning", warning.empty() ? Json(nullptr) : Json(warning)},
          {"in_place", plan.in_place},
          {"expected_loss", plan.loss.says},
          {"expected_loss_seconds", plan.loss.seconds ? Json(*plan.loss.seconds) : Json(nullptr)},
          {"downtime_estimate_seconds", plan.downtime_seconds ? Json(*plan.downtime_seconds) : Json(nullptr)},
          {"stakeholder_text", ready::stakeholder_text(plan)},
          {"plan", plan_json(plan.steps.restore)},
          {"steps", steps},
          {"post_mortem", nullptr},
          {"preserved_command", nullptr},
          {"next_commands", Json::array()},
          {"files", Json::array()}};
}

std::vector<std::string> next_commands(const Invocation& invocation, const ready::PostMortem& record,
                                       const ops::RestoreOptions& options) {
  std::vector<std::string> commands;
  const std::string& next = record.outcome->restored.next_command;
  if (!next.empty()) commands.push_back(next);
  if (!record.plan.in_place) return commands;
  ops::FollowUp us = {options.program, options.location, invocation.conninfo(), options.directory};
  commands.push_back(ops::command_line(us, "doctor", ops::Needs::server));
  commands.push_back(ops::command_line(us, "backup", ops::Needs::server));
  return commands;
}

std::string verdict_text(const ready::PostMortem& record) {
  Table table({{"verdict"}, {"point"}, {"found"}});
  for (const ready::JudgedPoint& one : ready::judge(record))
    table.add({std::string(to_string(one.verdict)), one.id, one.says});
  return cat(ready::headline(record), "\n\n", table.to_string());
}

std::string kept_text(const ops::RollbackOutcome& outcome) {
  std::string text;
  if (!outcome.preserved.empty())
    text += cat("the state before is kept in ", outcome.preserved, ", until you remove it\n");
  for (const std::string& kept : outcome.restored.kept)
    if (kept != outcome.preserved)
      text += cat(kept, outcome.preserved == outcome.restored.kept.front()
                            ? " belongs to the state before\n"
                            : " is what an earlier call had left, and no state before\n");
  if (!outcome.preserved_command.empty())
    text += cat("read-only beside it:\n", outcome.preserved_command, "\n");
  return text;
}

// In place, what is there is moved aside, and perhaps a server stopped.
Status get_consent(const Invocation& invocation, const std::optional<ready::RecoverPlan>& plan,
                   ops::RollbackRequest& request) {
  if (!request.restore.replace) return {};
  TRY(invocation.confirm(
      cat("Recover in place of ", request.restore.directory, "? What is there now is kept aside.",
          plan && !ready::warning_of(plan->assessment).empty() ? " The primary answers: is it really lost?"
                                                               : "")));
  if (plan && plan->steps.running && !request.stops_server && may_ask(invocation)) {
    TRY_ASSIGN(bool stop, ask_yes("A server runs there, and has to be stopped for it."));
    request.stops_server = stop;
  }
  return {};
}

// Restore's advice names options that are not ours.
Error as_recover_says(Error error) {
  if (error.hint.find("--replace") != std::string::npos)
    error.hint =
        "give a new or empty directory with --to, or leave --to out: in place of --pgdata what is there is "
        "kept aside";
  return error;
}

// A name that was mistyped looks like a host that was lost.
std::string doubt_of_place(const ops::RestoreOptions& options) {
  if (!options.replace) return "";
  auto there = path_exists(options.directory);
  if (there && !*there)
    return cat(options.directory, " (--pgdata) does not exist: the recovery makes it anew. Is it mistyped?");
  auto cluster = path_exists(join_path(options.directory, "PG_VERSION"));
  if (cluster && !*cluster)
    return cat(options.directory, " (--pgdata) holds no cluster: no PG_VERSION is in it. Is it mistyped?");
  return "";
}

Result<ready::RecoverPlan> preflight(const ops::RollbackRequest& request, ready::Assessment assessment,
                                     Reporter& reporter, StopToken& stop) {
  auto planned = ops::plan_rollback(request, reporter, stop);
  if (!planned) return as_recover_says(std::move(planned).error());
  ops::RollbackPlan steps = std::move(*planned);
  if (auto source = ops::open_restore(request.restore))
    ready::estimate_from(ready::measured_rates(source->repo()), steps.restore);
  return ready::make_recover_plan(std::move(assessment), std::move(steps));
}

void show_plan(const Invocation& invocation, const ready::RecoverPlan& plan, bool dry_run) {
  const std::string text = ready::render_recover_plan(plan);
  invocation.output().text(text);
  invocation.output().document(to_json_text(plan_document(plan, dry_run)));
}

// Settings tell nothing of whether WAL arrives.
Status try_archiving(const Invocation& invocation, const ops::RestoreOptions& options,
                     const std::string& conninfo, ready::PostMortem& record) {
  ready::Validation& seen = *record.validation;
  if (!record.plan.in_place || !seen.answers || seen.in_recovery || !seen.archives) return {};
  OutputReporter reporter(invocation.output());
  ops::WalCheckRequest request;
  request.where = options.location;
  request.conninfo = conninfo;
  request.pgdata = options.directory;
  request.config_path = invocation.config_path();
  request.pg_bin = invocation.pg_bin().value_or("");
  return ready::validate_archiving(request, seen, reporter, invocation.stop());
}

// Validates what runs now, judges, keeps the record, says what comes next.
Result<int> hand_over(const Invocation& invocation, const ops::RestoreOptions& options,
                      ready::PostMortem record) {
  say_step(invocation, 7, "validate");
  if (record.outcome && record.outcome->restored.recovery) {
    TRY_ASSIGN(std::string conninfo, server_conninfo(options, record.outcome->restored));
    TRY_ASSIGN(record.validation, ready::validate_server(conninfo, invocation.stop()));
    TRY(try_archiving(invocation, options, conninfo, record));
  }
  say_step(invocation, 8, "hand over");
  record.ended = now(invocation);
  record.rpo_target = seconds_of(invocation, "rpo");
  record.rto_target = seconds_of(invocation, "rto");
  record.host = host_name();
  record.tool_version = kVersion;
  std::vector<std::string> files;
  const std::string evidence = keep_record(invocation, options, record, files);
  Json document = plan_document(record.plan, false);
  document["post_mortem"] = ready::post_mortem_json(record, evidence);
  document["files"] = files;
  std::string text = verdict_text(record);
  for (const std::string& file : files) text += cat("wrote ", file, "\n");
  if (record.outcome) {
    text += kept_text(*record.outcome);
    const std::vector<std::string> commands = next_commands(invocation, record, options);
    document["next_commands"] = commands;
    if (!record.outcome->preserved_command.empty())
      document["preserved_command"] = record.outcome->preserved_command;
    text += "next:\n";
    for (const std::string& command : commands) text += cat(command, "\n");
  }
  invocation.output().text(text);
  invocation.output().document(to_json_text(document));
  if (record.error) return std::move(*record.error);
  if (ready::recovered(record) && ready::archives(record)) return 0;
  if (ready::recovered(record))
    return make_error(ErrorKind::check_failed, cat("cluster ", invocation.cluster()),
                      "the data is back, and its WAL is not archived: what is written from now on cannot be "
                      "recovered")
        .with_hint("lifeboat doctor names what keeps WAL away");
  return make_error(ErrorKind::check_failed, cat("cluster ", invocation.cluster()),
                    "the recovery ended, and not all of it is well");
}

Result<int> handle(const Invocation& invocation) {
  OutputReporter reporter(invocation.output());
  say_step(invocation, 1, "assess");
  TRY_ASSIGN(ready::Assessment assessment, assess(invocation));
  say_step(invocation, 2, "find the moment");
  TRY_ASSIGN(RecoverWish wish, read_wish(invocation, reporter));
  ops::RollbackRequest& request = wish.request;
  assessment.failure = wish.failure;
  const std::string warning = ready::warning_of(assessment);
  if (!warning.empty()) invocation.output().note(LogLevel::warning, warning);
  if (const std::string doubt = doubt_of_place(request.restore); !doubt.empty()) {
    invocation.output().note(LogLevel::warning, doubt);
    assessment.found.push_back(doubt);
  }
  if (wish.found)
    assessment.found.push_back(cat("transaction ", wish.found->xid, ": ", wish.found->to_string()));
  say_step(invocation, 3, cat("the target: ", request.restore.target.to_string()));
  assessment.last_known_commit =
      ops::last_commit_stored(request.restore, assessment.began, reporter, invocation.stop());
  say_step(invocation, 4, "preflight");
  auto planned = preflight(request, assessment, reporter, invocation.stop());
  const bool dry_run = invocation.flag("dry-run");
  // What only the data directory has may be what the target needs: without a server it is stored before the
  // real preflight.
  if (!planned && (dry_run || !request.restore.replace || planned.error().kind != ErrorKind::unreachable))
    return std::move(planned).error();
  std::optional<ready::RecoverPlan> plan;
  if (planned) plan = std::move(*planned);
  say_step(invocation, 5, "plan");
  if (plan) show_plan(invocation, *plan, dry_run);
  if (dry_run) return 0;
  TRY(get_consent(invocation, plan, request));
  say_step(invocation, 6, "execute");
  bool begun = false;
  request.restore.begins = [&](const ops::RestorePlan& restore) {
    begun = true;
    if (!plan) plan = ready::make_recover_plan(assessment, {restore, {}, "", {}});
  };
  auto outcome = ops::run_rollback(request, reporter, invocation.stop());
  ready::PostMortem record;
  if (outcome) {
    record.outcome = std::move(*outcome);
  } else {
    // Where nothing was touched there is nothing to tell afterwards.
    if (!begun && (!plan || outcome.error().kind == ErrorKind::precondition))
      return std::move(outcome).error();
    record.error = std::move(outcome).error();
  }
  record.plan = std::move(*plan);
  return hand_over(invocation, request.restore, std::move(record));
}

}  // namespace

extern const Command kRecoverCommand;
constinit const Command kRecoverCommand = {
    .path = "recover",
    .summary = "through a recovery step by step, with a plan before and a record after",
    .description =
        "Assesses what is there, finds the moment, chooses the target, makes the preflight, and shows the "
        "plan: what "
        "failed, what will be lost, how it is done, how long it takes, and a text for the people who wait. "
        "After "
        "consent it restores, recovers and promotes, in place of --pgdata (what is there is kept aside, its "
        "WAL stored "
        "first) or beside it with --to; then it validates the server and hands over.\n\n"
        "At a terminal it asks for what the options leave open. With --failure and --yes it asks nothing.\n\n"
        "The post-mortem record has verdicts that are computed: target reached, server open, indexes valid, "
        "archiving "
        "on, RPO and RTO met, estimate held. It is kept in the repository's evidence, and with --record as "
        "Markdown and "
        "JSON. Single tables: restore --table. Within seconds: restore --instant.",
    .danger = Danger::destructive,
    .groups = {&kRecoverOptions, &kRestoredOptions, &kBeforeOptions, &kTargetOptions, &kBackupChoiceOptions,
               &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples =
        "# what would be done; nothing is touched\n"
        "lifeboat recover --repo /srv/backup --pgdata /var/lib/postgresql/15/main --failure primary-lost "
        "--dry-run\n"
        "# a dropped table: a copy of the moment before, beside the cluster\n"
        "lifeboat recover --repo /srv/backup --failure data-changed --before-drop app.public.orders --to "
        "/srv/copy --yes",
    .exit_notes =
        "0: recovered, and its WAL is archived; whether RPO and RTO were met is in the record. 17: it ended, "
        "and is "
        "not recovered, or its WAL is not archived; the record says why.",
    .schema = R"({
  "type": "object",
  "required": ["dry_run", "failure", "expected_loss", "plan", "steps", "stakeholder_text", "post_mortem"],
  "properties": {
    "dry_run": {"type": "boolean"},
    "failure": {"enum": ["primary-lost", "data-changed", "corruption", "region-lost"]},
    "found_before": {"type": "array", "items": {"type": "string"}},
    "warning": {"type": ["string", "null"], "description": "what speaks against recovering at all"},
    "in_place": {"type": "boolean"},
    "expected_loss": {"type": "string"},
    "expected_loss_seconds": {"type": ["number", "null"]},
    "downtime_estimate_seconds": {"type": ["number", "null"]},
    "stakeholder_text": {"type": "string"},
    "plan": {"type": "object", "description": "as lifeboat restore has it"},
    "steps": {"type": "array", "items": {"type": "object", "properties": {"what": {"type": "string"}, "seconds": {"type": ["number", "null"]}}}},
    "post_mortem": {"type": ["object", "null"], "properties": {
      "recovered": {"type": "boolean"},
      "loss_seconds": {"type": ["number", "null"]},
      "downtime_seconds": {"type": "number"},
      "verdicts": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"},
        "verdict": {"enum": ["pass", "fail", "not_applicable", "unknown"]}, "found": {"type": "string"}}}},
      "evidence": {"type": ["string", "null"]}}},
    "preserved_command": {"type": ["string", "null"], "description": "starts the state before beside it, read-only"},
    "next_commands": {"type": "array", "items": {"type": "string"}},
    "files": {"type": "array", "items": {"type": "string"}}
  }
})",
    .hooks = true,
    .handler = handle,
};

}  // namespace lifeboat::app
