// lifeboat heal: what is wrong, and the few things that may be done about it by themselves.
#include "ready/heal/heal.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/cli/heal_actions.h"
#include "app/cli/heal_output.h"
#include "app/daemon/control.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/readings.h"
#include "app/render.h"
#include "app/reporter.h"
#include "app/run.h"
#include "ops/wal/prefetch.h"
#include "ops/wal/receive.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using ready::HealAction;
using ready::HealFinding;
using ready::HealState;

constexpr int64_t kDaemonMs = 5'000;  // a status is answered within milliseconds

// What holds in this call.
struct Healing {
  ready::HealPolicy policy;
  ops::RepoLocation where;
  std::optional<ops::RepoLocation> other;
};

// One look at everything.
struct Look {
  SignalsRead read;
  ready::HealProbe probe;
  std::vector<HealFinding> findings;
};

// --- reading

// The repository that rotate-to names, with the key of its section.
Result<ops::RepoLocation> other_repository(const Invocation& invocation, const ops::RepoLocation& where,
                                           const ConfigHeal& heal) {
  ops::RepoLocation other = where;
  other.key = {};
  const Config& config = invocation.config();
  const bool is_url = heal.rotate_to.find(':') != std::string::npos;
  const ConfigBlock* block =
      is_url ? config.repo_with_url(heal.rotate_to) : config.find(ConfigSection::repo, heal.rotate_to);
  if (!is_url && block == nullptr)
    return make_error(ErrorKind::config, cat(config.path, ":", heal.line),
                      cat("rotate-to: there is no section [repo.", heal.rotate_to, "]"));
  other.url = block != nullptr ? block->url : heal.rotate_to;
  if (block == nullptr) return other;
  for (const ConfigValue& value : block->values) {
    if (value.option->name == "key-file") other.key = {repo::KeySourceKind::key_file, value.values.front()};
    if (value.option->name == "passphrase-file")
      other.key = {repo::KeySourceKind::passphrase_file, value.values.front()};
  }
  return other;
}

Result<Healing> read_policy(const Invocation& invocation) {
  Healing healing;
  TRY_ASSIGN(healing.where, repo_location(invocation));
  const ConfigBlock* section = invocation.cluster_section();
  if (section == nullptr) return healing;
  healing.policy = section->heal.policy;
  if (!section->heal.rotate_to.empty()) {
    TRY_ASSIGN(healing.other, other_repository(invocation, healing.where, section->heal));
    healing.policy.rotate_to = healing.other->url;
  }
  return healing;
}

// The receiver of this cluster in the daemon's answer.
void read_receiver_state(const Invocation& invocation, const std::string& answer,
                         ready::DaemonProbe& daemon) {
  const Json status = Json::parse(answer, nullptr, false);
  if (!status.is_object() || !status.contains("clusters")) return;
  for (const Json& cluster : status["clusters"]) {
    if (cluster.value("cluster", "") != invocation.cluster()) continue;
    for (const Json& process : cluster.value("processes", Json::array())) {
      if (process.value("process", "") != "wal receive") continue;
      daemon.receiver = process.value("state", "");
      daemon.receiver_error = process.value("last_error", "");
      const Json since = process.value("since", Json());
      auto time = since.is_string() ? parse_time(since.get<std::string>()) : Result<Timestamp>(Timestamp{});
      if (time && time->valid())
        daemon.receiver_seconds = std::max(0.0, Timestamp{invocation.clock().unix_us()}.seconds_since(*time));
    }
  }
}

ready::DaemonProbe ask_for_daemon(const Invocation& invocation, const Healing& healing) {
  ready::DaemonProbe daemon;
  daemon.socket = invocation.value("socket");
  const int64_t began_us = invocation.clock().monotonic_us();
  DaemonLook look;
  // A store that does not answer keeps its threads for a while; what hangs, hangs all the time.
  do {
    look = look_at_daemon(daemon.socket, R"({"op":"status"})",
                          std::min(kDaemonMs, healing.policy.stuck_us / 1000));
  } while (look.state == DaemonLook::State::silent && !invocation.stop().stopped() &&
           invocation.clock().monotonic_us() - began_us < healing.policy.stuck_us);
  if (look.state == DaemonLook::State::answers) {
    daemon.state = ready::DaemonState::answers;
    read_receiver_state(invocation, look.answer, daemon);
  } else if (look.state == DaemonLook::State::silent) {
    daemon.state = ready::DaemonState::silent;
    if (look.listener > 0) daemon.process = ops::look_at_process(look.listener, {"serve"});
  }
  return daemon;
}

std::optional<ready::WantedSlot> wanted_slot(const Invocation& invocation) {
  const auto named = invocation.text("slot");
  const ConfigBlock* section = invocation.cluster_section();
  const bool receives = section != nullptr && section->service.receive;
  if (!named && !receives) return std::nullopt;
  std::string name = named.value_or(ops::default_slot_name(invocation.cluster()));
  // The daemon's receiver may have been given another one.
  if (receives) {
    const auto& words = section->service.receive_words;
    auto option = std::ranges::find(words, "--slot");
    if (option != words.end() && option + 1 != words.end()) name = *(option + 1);
  }
  return ready::WantedSlot{
      name, receives ? cat("[cluster.", invocation.cluster(), ".serve] receive") : std::string("slot")};
}

Result<Look> look_at_all(const Invocation& invocation, const Healing& healing,
                         const std::vector<ops::HealRecord>& trail) {
  Look look;
  TRY_ASSIGN(look.read, read_signals_and_facts(invocation, Owners::judged_later));
  ready::ProbeRequest request;
  request.where = healing.where;
  request.conninfo = invocation.conninfo();
  request.primary = invocation.text("primary").value_or("");
  request.spools = ops::default_spools(::geteuid());
  if (auto spool = invocation.text("spool")) request.spools = {*spool};
  request.daemon = ask_for_daemon(invocation, healing);
  request.wanted_slot = wanted_slot(invocation);
  request.stuck_us = healing.policy.stuck_us;
  request.stop = &invocation.stop();
  TRY_ASSIGN(look.probe, ready::probe_heal(request, look.read.facts));
  look.findings = ready::judge_heal({look.read.facts, look.read.report, look.probe}, healing.policy, trail);
  if (auto only = invocation.text("only")) {
    for (HealFinding& finding : look.findings)
      if (to_string(finding.action) != *only && finding.state == HealState::ready)
        finding.state = HealState::not_allowed;
  }
  return look;
}

// --- telling

Json finding_json(const HealFinding& finding) {
  return {{"id", finding.id},
          {"object", finding.object},
          {"severity", finding.rank == ready::Rank::critical ? "critical" : "warning"},
          {"found", finding.found},
          {"cites", finding.cites},
          {"action", finding.action == HealAction::none ? Json(nullptr) : Json(to_string(finding.action))},
          {"state", to_string(finding.state)},
          {"proposal", finding.proposal},
          {"not_before", json_time(finding.not_before)},
          {"attempts", finding.attempts}};
}

std::string_view verdict_name(ready::HealVerdict verdict) {
  switch (verdict) {
    case ready::HealVerdict::well:
      return "well";
    case ready::HealVerdict::left:
      return "left";
    case ready::HealVerdict::failed:
      break;
  }
  return "failed";
}

std::string why_not(const HealFinding& finding, std::string_view cluster) {
  switch (finding.state) {
    case HealState::ready:
      return cat("--apply does it (", to_string(finding.action), ")");
    case HealState::manual:
      return "for a person";
    case HealState::not_allowed:
      return cat("not done: allow = [\"", to_string(finding.action), "\"] in [cluster.", cluster,
                 ".heal] lets it");
    case HealState::cooling_down:
      return cat("was tried a moment ago; not again before ", finding.not_before.to_string());
    case HealState::exhausted:
      break;
  }
  return cat("was tried ", counted(finding.attempts, "time"),
             " within a day and did not last: somebody has to look; not again before ",
             finding.not_before.to_string());
}

// Healing knows few faults; signals know more.
std::string unwell_text(const ready::SignalReport& report) {
  std::vector<std::string> ids;
  for (const ready::Reading& one : report.readings)
    if (rank_of(one.verdict) != ready::Rank::fine) ids.emplace_back(one.signal->id);
  return ids.empty()
             ? ""
             : wrap(cat("signals that are not well: ", join(ids, ", "), "; lifeboat status says why"), 0);
}

std::string findings_text(const std::vector<HealFinding>& findings, std::string_view cluster) {
  if (findings.empty()) return "nothing to heal\n";
  std::string text;
  for (const HealFinding& finding : findings) {
    text += cat(finding.rank == ready::Rank::critical ? "critical: " : "warning: ", finding.id, ": ",
                finding.object, "\n", wrap(finding.found, 2));
    for (const std::string& cite : finding.cites) text += wrap(cat("seen: ", cite), 2);
    text += wrap(cat("what to do: ", finding.proposal), 2);
    text += wrap(why_not(finding, cluster), 2);
  }
  return text;
}

void show(const Invocation& invocation, const Healing& healing, const Look& look,
          const std::vector<ops::HealRecord>& done) {
  const ready::HealVerdict verdict = ready::heal_verdict(look.findings, done);
  Json findings = Json::array();
  for (const HealFinding& finding : look.findings) findings.push_back(finding_json(finding));
  Json actions = Json::array();
  for (const ops::HealRecord& record : done) actions.push_back(heal_record_json(record));
  Json allowed = Json::array();
  for (HealAction action : healing.policy.allowed) allowed.push_back(to_string(action));
  invocation.output().document(to_json_text({{"cluster", look.read.report.cluster},
                                             {"repository", look.read.report.repository},
                                             {"role", to_string(look.read.report.role)},
                                             {"time", json_time(look.read.report.time)},
                                             {"applied", invocation.flag("apply")},
                                             {"verdict", verdict_name(verdict)},
                                             {"allowed", std::move(allowed)},
                                             {"findings", std::move(findings)},
                                             {"actions", std::move(actions)}}));
  if (!done.empty()) invocation.output().text(cat("done:\n", heal_records_table(done), "\n"));
  invocation.output().text(
      cat(findings_text(look.findings, look.read.report.cluster), unwell_text(look.read.report)));
}

Result<int> verdict_of(const Look& look, const std::vector<ops::HealRecord>& done) {
  const std::string object = cat("cluster ", look.read.report.cluster);
  std::vector<std::string> ids;
  for (const HealFinding& finding : look.findings) ids.push_back(finding.id);
  switch (ready::heal_verdict(look.findings, done)) {
    case ready::HealVerdict::well:
      return 0;
    case ready::HealVerdict::left:
      return make_error(ErrorKind::attention, object, cat("found: ", join(ids, ", ")));
    case ready::HealVerdict::failed:
      break;
  }
  std::vector<std::string> failed;
  for (const ops::HealRecord& record : done)
    if (record.outcome != ops::HealOutcome::done)
      failed.push_back(cat(record.action, " failed: ", record.says));
  for (const HealFinding& finding : look.findings)
    if (finding.state == HealState::exhausted)
      failed.push_back(cat(to_string(finding.action), " was tried ", counted(finding.attempts, "time"),
                           " and did not last"));
  return make_error(ErrorKind::check_failed, object, join(failed, "; "))
      .with_hint("lifeboat heal log has the whole trail");
}

// --- acting

ops::HealRecord record_of(const Invocation& invocation, const HealFinding& finding) {
  ops::HealRecord record = new_heal_record(invocation);
  record.action = to_string(finding.action);
  record.object = finding.object;
  record.finding = finding.id;
  record.saw = finding.found;
  record.cites = finding.cites;
  return record;
}

// The journal has the attempt before anything happens, and what came of it after.
Result<ops::HealRecord> act(const Invocation& invocation, const Healing& healing, const Look& look,
                            const HealFinding& finding, ops::HealJournal& journal) {
  OutputReporter reporter(invocation.output());
  ops::HealRecord record = record_of(invocation, finding);
  TRY(journal.begin(record));
  invocation.output().note(LogLevel::info, cat(finding.id, ": ", finding.proposal));
  const HealContext context{invocation, healing.where, healing.other, look.read.facts, look.probe};
  auto result = carry_out(context, finding, record.did, reporter);
  record.ended = {invocation.clock().unix_us()};
  record.outcome = result ? ops::HealOutcome::done : ops::HealOutcome::failed;
  record.says = result ? *result : result.error().to_string();
  TRY(journal.end(record));
  if (!result) invocation.output().note(LogLevel::warning, cat(record.action, " failed: ", record.says));
  return record;
}

// A repository that does not take it gets it from a later run; the journal has it.
void file_trail(const Invocation& invocation, const Healing& healing, const Look& look,
                ops::HealJournal& journal) {
  auto file = [&]() -> Status {
    auto ours = look.read.facts.doctor.lineage();
    TRY_ASSIGN(repo::Repository repository, ops::open_repository(healing.where));
    TRY_ASSIGN(ops::ChosenLineage lineage, ours ? ops::lineage_of(repository, healing.where.cluster, *ours)
                                                : ops::choose_lineage(repository, healing.where.cluster));
    TRY(journal.file_in(lineage.repo));
    return {};
  };
  if (Status filed = file(); !filed)
    invocation.output().note(
        LogLevel::warning,
        cat("the trail is kept on this host until the repository takes it: ", filed.error().to_string()));
}

// Before anything is done, what would be is agreed to.
Status agree(const Invocation& invocation, const Healing& healing, const Look& look) {
  std::vector<std::string> plan;
  for (const HealFinding& finding : look.findings) {
    if (finding.state == HealState::ready)
      plan.push_back(cat(to_string(finding.action), " (", finding.id, ")"));
  }
  if (plan.empty() || invocation.yes()) return {};
  show(invocation, healing, look, {});
  return invocation.confirm(cat("Do ", join(plan, ", "), "?"));
}

Result<int> apply(const Invocation& invocation, const Healing& healing, Look look,
                  const std::vector<ops::HealRecord>& trail, const std::string& path) {
  const bool to_file = std::ranges::any_of(
      trail, [](const ops::HealRecord& one) { return !one.filed && one.outcome != ops::HealOutcome::begun; });
  if (ready::next_to_do(look.findings, {}) == nullptr && !to_file) {
    show(invocation, healing, look, {});
    return verdict_of(look, {});
  }
  TRY(agree(invocation, healing, look));
  TRY(need_state_directory(invocation, "the trail of what was done"));
  TRY_ASSIGN(ops::HealJournal journal, ops::HealJournal::open(path));
  std::vector<ops::HealRecord> done;
  std::set<std::string> tried;
  for (;;) {
    // What was found before is looked at again right before it is acted upon.
    TRY_ASSIGN(look, look_at_all(invocation, healing, journal.records()));
    const HealFinding* next = ready::next_to_do(look.findings, tried);
    if (next == nullptr) break;
    tried.insert(next->id);
    TRY_ASSIGN(ops::HealRecord record, act(invocation, healing, look, *next, journal));
    done.push_back(std::move(record));
    TRY(invocation.stop().check());
  }
  file_trail(invocation, healing, look, journal);
  for (ops::HealRecord& record : done) {
    auto known = std::ranges::find(journal.records(), record.id, &ops::HealRecord::id);
    if (known != journal.records().end()) record.filed = known->filed;
  }
  show(invocation, healing, look, done);
  return verdict_of(look, done);
}

Result<int> handle(const Invocation& invocation) {
  if (auto only = invocation.text("only"); only && !ready::parse_heal_action(*only)) {
    std::vector<std::string> known;
    for (const ready::HealActionInfo& one : ready::heal_actions()) known.emplace_back(one.name);
    return make_error(ErrorKind::usage, "--only",
                      cat("there is no action '", *only, "', known are ", join(known, ", ")));
  }
  TRY_ASSIGN(Healing healing, read_policy(invocation));
  const std::string path = ops::HealJournal::path_in(invocation.value("state-dir"), invocation.cluster());
  TRY_ASSIGN(std::vector<ops::HealRecord> trail, ops::HealJournal::read(path));
  TRY_ASSIGN(Look look, look_at_all(invocation, healing, trail));
  if (invocation.flag("apply")) return apply(invocation, healing, std::move(look), trail, path);
  show(invocation, healing, look, {});
  return verdict_of(look, {});
}

constexpr Option kOwn[] = {
    {.name = "apply", .help = "do what is allowed and would help; without it nothing is changed"},
    {.name = "only",
     .kind = ValueKind::text,
     .placeholder = "ACTION",
     .help = "with --apply: no other action than this"},
    {.name = "socket",
     .kind = ValueKind::path,
     .placeholder = "PATH",
     .help = "the daemon's local socket",
     .default_text = kControlSocket,
     .section = ConfigSection::cluster},
    {.name = "slot",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "replication slot that has to be there for wal receive (default: that of the daemon's, where it "
             "receives)",
     .section = ConfigSection::cluster},
    {.name = "primary",
     .kind = ValueKind::conninfo,
     .placeholder = "CONNINFO",
     .help = "of a standby: its primary (default: its primary_conninfo)",
     .section = ConfigSection::cluster},
    {.name = "spool",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where wal get keeps what it fetched ahead (default: as wal get has it)",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kGroup = {"Heal", kOwn};

}  // namespace

extern const Command kHealCommand;
constinit const Command kHealCommand = {
    .path = "heal",
    .summary = "what is wrong, and the few things that may be done about it by themselves",
    .description =
        "Looks at the signals of `status`, the checks of `doctor`, the archiver's processes, the daemon, the "
        "receiver's slot, a standby and its primary, the spool, and checksum failures. Shows what was found, "
        "from which facts, and what would be done. Nothing is changed without --apply.\n\n"
        "With --apply those actions are carried out that [cluster.NAME.heal] lists in `allow`, one at a "
        "time, "
        "each after another look:\n"
        "  spool     remove WAL that killed fetchers left in the spool of wal get\n"
        "  archiver  end a wal push or a daemon of ours that hangs, so that the archiver tries again\n"
        "  rotate    have archive_command push into the repository that `rotate-to` names; a backup there\n"
        "  slot      make the slot of wal receive again, and record what WAL is lost\n"
        "  receiver  have the daemon start its wal receive again\n"
        "  backup    store a missing segment that pg_wal still has, else take a backup behind the gap\n"
        "  standby   make a standby that is beyond repair anew; the old directory is kept\n\n"
        "An action is not repeated within `cooldown` (30min), nor tried more than `attempts` (3) times a "
        "day: "
        "then it says so and leaves it to people. `stuck-after` (5min) is how long something hangs or fails "
        "before it counts. Who did what, when, why, and what came of it is in `lifeboat heal log`.\n\n"
        "WAL is never deleted from pg_wal, and damaged pages are never repaired by themselves: `heal blocks` "
        "does that on request.\n\n"
        "Run it on the host of the server that --pg names, as its owner: processes of another host are not "
        "seen. In the daemon it is a job: heal = [\"*/5 * * * *\", \"--apply\"].",
    .danger = Danger::destructive,
    .groups = {&kGroup, &kSignalOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# what is wrong, and what would be done?\n"
        "lifeboat heal --repo /srv/backup --pgdata /var/lib/postgresql/15/main\n"
        "# do what the configuration allows\n"
        "lifeboat heal --apply --yes",
    .exit_notes =
        "0: nothing was found, or all of it was mended. 23: something was found that was not acted upon. 17: "
        "an "
        "action failed, or was tried as often as is allowed.",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "applied", "verdict", "allowed", "findings", "actions"],
  "properties": {
    "cluster": {"type": "string"},
    "repository": {"type": "string"},
    "role": {"enum": ["unknown", "primary", "standby"]},
    "time": {"type": ["string", "null"], "format": "date-time"},
    "applied": {"type": "boolean"},
    "verdict": {"enum": ["well", "left", "failed"], "description": "left: something is there that was not acted upon"},
    "allowed": {"type": "array", "items": {"type": "string"}},
    "findings": {"type": "array", "description": "that are there now, after the actions", "items": {
      "type": "object",
      "required": ["id", "object", "severity", "found", "cites", "action", "state", "proposal"],
      "properties": {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "severity": {"enum": ["critical", "warning"]},
        "found": {"type": "string"},
        "cites": {"type": "array", "items": {"type": "string"}, "description": "signals and facts that it came from"},
        "action": {"type": ["string", "null"], "description": "null: for a person"},
        "state": {"enum": ["ready", "manual", "not_allowed", "cooling_down", "exhausted"]},
        "proposal": {"type": "string"},
        "not_before": {"type": ["string", "null"], "format": "date-time"},
        "attempts": {"type": "integer", "description": "of the action, within a day"}
      }}},
    "actions": {"type": "array", "description": "carried out by this call", "items": )" LIFEBOAT_HEAL_RECORD_SCHEMA
              R"(}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
