// lifeboat plan: from stated requirements and measured facts to a backup plan, and into the configuration.
#include "ready/plan/plan.h"

#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/later.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/plan_apply.h"
#include "app/plan_ask.h"
#include "app/render.h"
#include "app/reporter.h"
#include "ops/restore/restore.h"
#include "ops/wal/commands.h"
#include "pg/format/version.h"
#include "ready/plan/inspect.h"
#include "ready/plan/rates.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using ready::Plan;
using ready::PlanFacts;
using ready::PlanStatus;
using ready::Requirements;

constexpr uint64_t kFileLimit = 4 << 20;
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
  auto text = read_text(path, kFileLimit);
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

// PostgreSQL's programs of the server's major, else of the newest that is here.
Result<pg::PgBin> some_pg_bin(const Invocation& invocation, const PlanFacts& facts) {
  const std::string directory = invocation.pg_bin().value_or("");
  if (facts.server && facts.server->version_num > 0)
    return pg::find_pg_bin(facts.server->version_num / 10000, directory);
  constexpr int kNewest = 18;
  constexpr int kOldest = 13;
  for (int major = kNewest; major > kOldest; --major)
    if (auto bin = pg::find_pg_bin(major, directory)) return bin;
  return pg::find_pg_bin(kOldest, directory);
}

// What fetching and decoding of the newest backup takes now and here, by the preflight of a restore; nullopt:
// there is none, or it cannot be told.
std::optional<double> fetch_rate(const Invocation& invocation, const std::string& directory) {
  auto where = repo_location(invocation);
  auto program = ops::own_program_path();
  if (!where || !program) return std::nullopt;
  ops::RestoreOptions options;
  options.location = std::move(*where);
  options.directory = join_path(directory, temporary_name());
  options.unmapped = ops::UnmappedTablespaces::beside;
  options.program = std::move(*program);
  options.pg_bin = invocation.pg_bin().value_or("");
  options.jobs = invocation.jobs();
  auto source = ops::open_restore(options);
  if (!source) return std::nullopt;
  OutputReporter reporter(invocation.output());
  auto plan = ops::plan_restore(*source, options, reporter, invocation.stop());
  if (!plan || !plan->estimate.copy_seconds || *plan->estimate.copy_seconds <= 0) return std::nullopt;
  return static_cast<double>(plan->bytes) / *plan->estimate.copy_seconds;
}

Status add_calibration(const Invocation& invocation, PlanFacts& facts) {
  const bool wanted = invocation.value("calibration") == "auto";
  const bool drilled = facts.rates.basis != ready::RateBasis::none;
  const bool dumps_only = facts.rates.samples + facts.rates.instant_samples == 0;
  const bool enough = drilled && (facts.rates.replay_bytes_per_second || dumps_only);
  if (enough || !wanted) return {};
  auto bin = some_pg_bin(invocation, facts);
  if (!bin) {
    invocation.output().note(LogLevel::warning, cat("no calibration: ", bin.error().to_string()));
    return {};
  }
  invocation.output().note(LogLevel::info,
                           drilled ? "drills have replayed too little WAL to tell a rate: a calibration of "
                                     "some seconds"
                                   : "no drill has measured this cluster yet: a calibration of some seconds");
  ready::CalibrationOptions options;
  options.directory = invocation.text("to").value_or("/var/tmp");
  options.bin = std::move(*bin);
  options.stop = &invocation.stop();
  options.jobs = invocation.jobs();
  TRY(create_dirs(options.directory));
  TRY_ASSIGN(ready::Calibration calibration, ready::calibrate(options, facts.time));
  if (!calibration.problem.empty())
    invocation.output().note(LogLevel::warning, cat("calibration: ", calibration.problem));
  if (!drilled) slow_down_by_fetching(calibration.rates, fetch_rate(invocation, options.directory));
  ready::fill_in(facts.rates, calibration.rates);
  return {};
}

Result<PlanFacts> gather_facts(const Invocation& invocation) {
  const Timestamp now{invocation.clock().unix_us()};
  if (auto path = invocation.text("facts")) {
    TRY_ASSIGN(std::string text, read_text(*path, kFileLimit));
    TRY_ASSIGN(PlanFacts facts, ready::parse_facts(text, *path));
    facts.now = now;
    return facts;
  }
  ready::InspectRequest request;
  request.cluster = invocation.cluster();
  request.now = now;
  request.stop = &invocation.stop();
  auto where = repo_location(invocation);
  if (where) request.repository = std::move(*where);
  if (invocation.flag("inspect")) {
    request.conninfo = invocation.conninfo();
    request.tools = true;
  }
  TRY_ASSIGN(PlanFacts facts, ready::inspect(request));
  if (const ConfigBlock* section = invocation.cluster_section())
    for (const ConfigJob& job : section->schedule)
      facts.jobs.push_back(cat(job.name, ": ", job.when, ": ", join(job.words, " ")));
  TRY(add_calibration(invocation, facts));
  return facts;
}

std::string toml_text(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' || c == '\\' ? cat('\\', c) : std::string(1, c);
  return quoted + "\"";
}

// Is this option to be written down, because it is not the file's own?
bool outlives(const Invocation& invocation, std::string_view name) {
  const Source source = invocation.source(name);
  return source != Source::file && source != Source::default_text;
}

// The section that the file has, or would have, for its own repository; "" where this call is about another
// one.
std::string section_of_repository(const Invocation& invocation, const ConfigBlock* cluster,
                                  const std::string& name) {
  const Config& config = invocation.config();
  const ConfigBlock* found = config.only_repo();
  std::string url = found != nullptr ? found->url : "";
  if (cluster != nullptr && !cluster->repo.empty()) {
    const bool direct = cluster->repo.find(':') != std::string::npos;
    found = direct ? config.repo_with_url(cluster->repo) : config.find(ConfigSection::repo, cluster->repo);
    url = direct ? cluster->repo : found != nullptr ? found->url : "";
  }
  auto used = invocation.repo();
  if (!used || url != *used) return "";
  return cat("repo.", found != nullptr ? found->name : name);
}

// The repository and its key, as far as the file does not have them: what it says of its repositories stays.
void add_repository(const Invocation& invocation, const Plan& plan, const ready::ConfigLine& planned,
                    std::vector<ready::ConfigLine>& lines) {
  const Config& config = invocation.config();
  const ConfigBlock* block = config.find(ConfigSection::cluster, plan.cluster);
  const bool there = (block != nullptr && !block->repo.empty()) || config.only_repo() != nullptr;
  const KeySource key = invocation.key();
  const std::string option = key.kind == KeySource::Kind::key_file ? "key-file" : "passphrase-file";
  if (key.kind == KeySource::Kind::none) {
    if (!there) lines.push_back(planned);
    return;
  }
  std::string section = cat("repo.", plan.cluster);
  std::string url = planned.value;
  if (there) {
    if (!outlives(invocation, option)) return;
    section = section_of_repository(invocation, block, plan.cluster);
    if (section.empty()) return;
    url = toml_text(*invocation.repo());
  } else {
    lines.push_back({planned.section, "repo", toml_text(plan.cluster)});
  }
  if (config.find(ConfigSection::repo, section.substr(std::string_view("repo.").size())) == nullptr)
    lines.push_back({section, "url", url});
  lines.push_back({section, option, toml_text(key.path)});
}

// The plan's lines, and what the command line or the environment said and would be missing when the daemon
// reads the file.
std::vector<ready::ConfigLine> lines_of(const Invocation& invocation, const Plan& plan) {
  const std::string cluster = cat("cluster.", plan.cluster);
  std::vector<ready::ConfigLine> lines;
  for (const ready::ConfigLine& line : plan.configuration) {
    if (line.key == "repo" && line.section == cluster)
      add_repository(invocation, plan, line, lines);
    else
      lines.push_back(line);
  }
  for (const char* name : {"pgdata", "pg-bin", "os-user"})
    if (outlives(invocation, name) && invocation.has(name))
      lines.push_back({cluster, name, toml_text(*invocation.text(name))});
  // PGDATA is the environment's, which the daemon has not.
  if (auto pgdata = invocation.pgdata(); pgdata && !invocation.has("pgdata"))
    lines.push_back({cluster, "pgdata", toml_text(*pgdata)});
  if (outlives(invocation, "pg"))
    if (const std::string conninfo = conninfo_for_later(invocation); !conninfo.empty())
      lines.push_back({cluster, "pg", toml_text(conninfo)});
  return lines;
}

struct NewConfiguration {
  std::vector<std::string> kept;  // jobs of the file that the plan would have otherwise
  std::string path;
  bool exists = false;
  std::string before;
  std::string after;
  mode_t mode = kFileMode;
  std::vector<ready::ConfigLine> lines;
};

Result<NewConfiguration> new_configuration(const Invocation& invocation, const Plan& plan) {
  NewConfiguration made;
  made.exists = !invocation.config_path().empty();
  made.path = invocation.text("config").value_or(std::string(kDefaultConfigPath));
  if (made.exists) {
    made.path = invocation.config_path();
    TRY_ASSIGN(made.before, read_text(made.path, kFileLimit));
    TRY_ASSIGN(FileInfo info, stat_path(made.path));
    made.mode = info.mode;
  }
  made.lines = lines_of(invocation, plan);
  made.kept = keep_own_jobs(made.before, plan.cluster, made.lines);
  made.after = with_plan_lines(made.before, made.lines);
  return made;
}

Status write_configuration(const NewConfiguration& made) {
  auto written = made.exists ? write_file_durable(made.path, as_bytes(made.after), made.mode)
                             : create_file_durable(made.path, as_bytes(made.after), made.mode);
  if (!written && written.error().kind == ErrorKind::permission)
    return std::move(written).error().with_hint(
        "--to DIR has the planned file as lifeboat.toml: install it from there as who may");
  return written;
}

Status apply(const Invocation& invocation, const NewConfiguration& made) {
  TRY(check_configuration(made.after, made.path, made.lines));
  const std::string directory = parent_path(made.path);
  TRY_ASSIGN(const bool has_directory, path_exists(directory));
  if (!has_directory)
    return make_error(ErrorKind::precondition, made.path,
                      cat("nothing was written: there is no directory ", directory))
        .with_hint(cat("mkdir -p ", shell_quote(directory)));
  const std::string difference = line_difference(made.before, made.after);
  for (const std::string& kept : made.kept) invocation.output().text(cat("\nkept ", kept, "\n"));
  if (difference.empty()) {
    invocation.output().text(cat("\n", made.path, " is already as planned\n"));
    return {};
  }
  invocation.output().text(
      cat("\n", made.path, made.exists ? ":\n" : ", which is not there yet:\n", difference));
  TRY(invocation.confirm(cat("Write this into ", made.path, "?")));
  TRY(write_configuration(made));
  invocation.output().text("written; lifeboat serve --check shows what runs when\n");
  return {};
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

Result<int> handle(const Invocation& invocation) {
  std::vector<std::string> files;
  // Without a target nothing is begun, but what can be read is kept all the same.
  auto demands = read_requirements(invocation, files);
  if (!demands && !invocation.flag("inspect")) return std::move(demands).error();
  TRY_ASSIGN(PlanFacts facts, gather_facts(invocation));
  if (!invocation.has("facts")) TRY(put(invocation, kFactsFile, ready::facts_json(facts), files));
  if (!demands) return std::move(demands).error();

  Plan plan = ready::make_plan(*demands, facts, facts.rates);
  TRY_ASSIGN(NewConfiguration made, new_configuration(invocation, plan));
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
  TRY(apply(invocation, made));
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
