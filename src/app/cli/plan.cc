// lifeboat plan: from stated requirements and measured facts to a backup plan, and into the configuration.
#include "ready/plan/plan.h"

#include <nlohmann/json.hpp>

#include "app/cli/plan_configuration.h"
#include "app/cli/plan_facts.h"
#include "app/invocation.h"
#include "app/later.h"
#include "app/options.h"
#include "app/output.h"
#include "app/plan_apply.h"
#include "app/plan_ask.h"
#include "app/render.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using ready::Plan;
using ready::PlanFacts;
using ready::PlanStatus;
using ready::Requirements;

constexpr mode_t kFileMode = 0644;
constexpr std::string_view kRequirementsFile = "backup_requirements.json";
constexpr std::string_view kFactsFile = "backup_facts.json";

// A file of the plan's directory; nothing without --to.
Status put(const Invocation& invocation, std::string_view name, const std::string& text,
           std::vector<std::string>& files, mode_t mode = kFileMode) {
  auto directory = invocation.text("to");
  if (!directory) return {};
  TRY(create_dirs(*directory));
  files.push_back(join_path(*directory, name));
  return write_file_durable(files.back(), as_bytes(text), mode);
}

std::string requirements_path(const Invocation& invocation) {
  if (auto path = invocation.text("requirements")) return *path;
  auto directory = invocation.text("to");
  return directory ? join_path(*directory, kRequirementsFile) : std::string(kRequirementsFile);
}

Result<Requirements> read_requirements(const Invocation& invocation, std::vector<std::string>& files) {
  if (invocation.flag("ask")) {
    TRY_ASSIGN(Requirements asked, ask_requirements());
    TRY(put(invocation, kRequirementsFile, ready::requirements_json(asked), files));
    return asked;
  }
  const std::string path = requirements_path(invocation);
  auto text = read_text(path, kPlanFileLimit);
  if (text) return ready::parse_requirements(*text, path);
  if (text.error().kind == ErrorKind::not_found && !invocation.has("requirements"))
    return make_error(ErrorKind::undecided, path, "RPO and RTO are not stated: there is no such file")
        .with_hint(
            "--requirements FILE, or --ask; how much may be lost and how long recovery may take is decided "
            "by the "
            "owner of the data");
  if (text.error().kind == ErrorKind::not_found)
    return make_error(ErrorKind::not_found, path, "there is no such file of requirements")
        .with_hint(
            "write it with rpo_seconds, rto_seconds, substrate and owner, as in {\"rpo_seconds\": 300, "
            "\"rto_seconds\": 900, \"substrate\": \"self-managed\", \"owner\": \"dba@example.org\"}; or let "
            "lifeboat plan --ask make it");
  return std::move(text).error();
}

std::string summary(const Plan& plan) {
  Table table(
      {{""}, {"target", Align::right}, {"delivered", Align::right}, {"error", Align::right}, {""}, {"by"}});
  for (const auto& [name, one] : {std::pair{"RPO", &plan.rpo}, std::pair{"RTO", &plan.rto}})
    table.add({name, format_seconds(one->target_seconds),
               one->seconds ? format_seconds(*one->seconds) : "not known",
               one->seconds ? cat("± ", format_seconds(one->error_seconds)) : "-",
               std::string(to_string(one->verdict)), one->path});
  std::string text = cat("cluster ", plan.cluster, ": ", to_string(plan.status), ": ", to_string(plan.method),
                         "\n\n", table.to_string(), "\n");
  for (const std::string& reason : plan.reasons) text += cat("- ", reason, "\n");
  return text;
}

// A plan sets a hold and never lifts one.
void tell_of_hold(const Invocation& invocation, const std::string& path) {
  const ConfigBlock* section = invocation.cluster_section();
  if (section == nullptr) return;
  for (const ConfigValue& value : section->values)
    if (value.option->name == "legal-hold" && value.values.front() == "true")
      invocation.output().note(
          LogLevel::warning,
          cat("legal-hold = true stands in ", path, ", line ", value.line,
              ", and no plan lifts it: nothing expires until somebody takes that line out"));
}

Result<int> handle(const Invocation& invocation) {
  std::vector<std::string> files;
  // Without a target nothing is begun, but what can be read is kept all the same.
  auto demands = read_requirements(invocation, files);
  const bool unstated = !demands && demands.error().kind == ErrorKind::undecided;
  if (!demands && !(unstated && invocation.flag("inspect"))) return std::move(demands).error();
  if (unstated)
    invocation.output().note(
        LogLevel::warning,
        "RPO and RTO are not stated, so there will be no plan; what can be read is kept all the same");
  TRY_ASSIGN(PlanFacts facts, gather_plan_facts(invocation));
  if (!invocation.has("facts")) TRY(put(invocation, kFactsFile, ready::facts_json(facts), files));
  if (!demands) return std::move(demands).error();

  Plan plan = ready::make_plan(*demands, facts, facts.rates);
  TRY_ASSIGN(NewConfiguration made, new_configuration(invocation, plan));
  if (!demands->legal_hold) tell_of_hold(invocation, made.path);
  plan.configuration = made.lines;
  plan.configuration_text = text_of_cluster(made.after, plan.cluster);
  // They quote the configuration, which not everybody may read.
  const mode_t quoting = made.mode & kFileMode;
  TRY(put(invocation, "backup_plan.json", ready::plan_json(plan), files, quoting));
  TRY(put(invocation, "backup_plan.md", ready::plan_markdown(plan), files, quoting));
  TRY(put(invocation, "lifeboat.toml", made.after, files, made.mode));
  Json document = {{"status", to_string(plan.status)},
                   {"reasons", plan.reasons},
                   {"files", files},
                   {"configuration", made.path},
                   {"applied", false},
                   {"kept", made.kept},
                   {"plan", Json::parse(ready::plan_json(plan))}};
  invocation.output().document(to_json_text(document));
  invocation.output().text(invocation.has("to") ? summary(plan) : ready::plan_markdown(plan));
  for (const std::string& file : files) invocation.output().note(LogLevel::info, cat("written: ", file));
  const bool blocked = plan.status == PlanStatus::blocked;
  if (blocked && invocation.flag("apply"))
    invocation.output().note(LogLevel::warning,
                             cat("nothing was applied, because the plan is blocked: ", made.path,
                                 made.exists ? " stays as it is" : " is not made"));
  if (blocked)
    return make_error(ErrorKind::blocked, cat("cluster ", plan.cluster), join(plan.reasons, "; "))
        .with_hint("the plan has a draft decision record for each");
  warn_of_password(invocation);
  if (!invocation.flag("apply")) return 0;
  TRY(apply_configuration(invocation, made));
  document["applied"] = true;
  invocation.output().document(to_json_text(document));
  return 0;
}

constexpr Option kPlanOptions[] = {
    {.name = "requirements",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "what is demanded (default: backup_requirements.json in the directory of --to)",
     .excludes = "ask"},
    {.name = "ask",
     .help = "ask for the requirements at the terminal and keep them as backup_requirements.json"},
    {.name = "inspect",
     .help = "read the live server and other tools too, not only the repository",
     .excludes = "facts"},
    {.name = "facts",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "take facts that plan --inspect has written, here or on another host"},
    {.name = "calibration",
     .kind = ValueKind::choice,
     .placeholder = "WHEN",
     .help = "auto: measure this host for some seconds where no drill has measured the cluster",
     .default_text = "auto",
     .choices = "auto|off"},
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "directory of the files, made when it is absent (default: the plan is printed)"},
    {.name = "apply", .help = "write the planned configuration and schedule after showing the difference"},
};
constinit const OptionGroup kPlanGroup = {"Plan", kPlanOptions};

}  // namespace

extern const Command kPlanCommand;
constinit const Command kPlanCommand = {
    .path = "plan",
    .summary = "a backup plan from RPO and RTO: method, cadence, what is delivered, retention, cost, gaps",
    .description =
        "Reads backup_requirements.json and what was measured, and writes backup_plan.json and "
        "backup_plan.md: the "
        "method for each requirement and why, the cadence, delivered RPO and RTO with their arithmetic and "
        "error, "
        "retention and its window, storage and cost, threats, gaps with draft decision records, and the "
        "configuration "
        "that implements it. The status is `ready`, `blocked` (a target cannot be met) or `unproven` "
        "(evidence is "
        "missing). A target is never weakened, and without RPO and RTO there is no plan.\n\n"
        "Required are `rpo_seconds`, `rto_seconds`, `substrate` (self-managed, managed, operator) and "
        "`owner`; "
        "docs/schema/backup_requirements.schema.json has all members. Rates come from drills in the "
        "repository; before "
        "there is one, from a calibration of this host, which the plan says.\n\n"
        "--inspect reads the server (pg_monitor is enough) and pgBackRest, Barman and WAL-G where they are "
        "in use. "
        "--apply sets the plan's keys in the configuration file and leaves everything else in it as it is; a "
        "job of the schedule that runs another command than any plan's stays, and is named. A file of "
        "--config "
        "that is not there is made, in a directory that is. Of a blocked plan nothing is applied.\n\n"
        "WAL a day comes from what the repository has stored in the last days, else from pg_stat_wal (14 and "
        "later), pg_stat_archiver, pg_wal and the last checkpoint, at last from a sample of some seconds; "
        "the "
        "plan names which. What covers less than a day is extrapolated and leaves the plan `unproven`, "
        "unless "
        "`wal_bytes_per_day` is stated.",
    .danger = Danger::write,
    .groups = {&kPlanGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .makes_config = "apply",
    .examples =
        "# what is there now, and what it can promise\n"
        "lifeboat plan --inspect --requirements backup_requirements.json --to /srv/plan\n"
        "# put it to work\n"
        "lifeboat plan --inspect --to /srv/plan --apply",
    .exit_notes =
        "0: ready or unproven, see `status`. 24: blocked; the files of --to are written, and --apply applies "
        "nothing. 25: RPO or RTO is not stated. 21: the difference was printed and not written, because "
        "nobody "
        "confirmed it.",
    .schema = R"({
  "type": "object",
  "required": ["status", "reasons", "files", "applied", "plan"],
  "properties": {
    "status": {"enum": ["ready", "blocked", "unproven"]},
    "reasons": {"type": "array", "items": {"type": "string"}},
    "files": {"type": "array", "items": {"type": "string"}},
    "configuration": {"type": "string", "description": "the file that --apply writes"},
    "applied": {"type": "boolean"},
    "kept": {"type": "array", "items": {"type": "string"}, "description": "jobs of the file that stay as they are although the plan has others of that name"},
    "plan": {"type": "object", "description": "as backup_plan.json", "required": ["schema", "status", "rpo", "rto", "gaps"]}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
