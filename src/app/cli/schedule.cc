// lifeboat schedule systemd, lifeboat schedule cron: the daemon's jobs for those who do not run it.
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/daemon/plan.h"
#include "app/daemon/units.h"
#include "app/invocation.h"
#include "app/later.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "ops/wal/commands.h"
#include "pg/client/conninfo.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFileScheme = "file://";
constexpr int64_t kMinuteUs = 60'000'000;
constexpr int64_t kMostMinutes = 30;  // an hour that cron divides
constexpr mode_t kFileMode = 0644;    // systemd and people read them; nothing secret is in them

// What jobs of this cluster may write: the repository, the data directory, the spool.
std::vector<std::string> writable_directories(const Invocation& invocation, const ServedCluster& cluster) {
  std::vector<std::string> paths;
  if (cluster.repo.url.starts_with(kFileScheme)) paths.push_back(cluster.repo.url.substr(kFileScheme.size()));
  const ConfigBlock* block = invocation.config().find(ConfigSection::cluster, cluster.name);
  if (block == nullptr) return paths;
  for (const ConfigValue& value : block->values) {
    const std::string_view name = value.option->name;
    if (name == "pgdata" || name == "spool")
      paths.insert(paths.end(), value.values.begin(), value.values.end());
  }
  return paths;
}

// --pg of this cluster's jobs. What was typed goes before the file, as ever; the environment's LIFEBOAT_PG
// and libpq's variables would be missing when a timer starts the job.
struct JobsServer {
  std::string conninfo;
  bool differs = false;  // from what the configuration says
};
JobsServer server_of_jobs(const Invocation& invocation, const std::string& cluster) {
  std::string stated;
  if (const ConfigBlock* block = invocation.config().find(ConfigSection::cluster, cluster))
    for (const ConfigValue& value : block->values)
      if (value.option->name == "pg") stated = value.values.front();
  const Source source = invocation.source("pg");
  const bool typed = source == Source::command_line || source == Source::environment;
  const std::string wanted = conninfo_for_later(invocation, typed ? invocation.conninfo() : stated);
  return {wanted, wanted != stated};
}

Result<UnitSettings> unit_settings(const Invocation& invocation, const ServicePlan& plan) {
  UnitSettings settings;
  TRY_ASSIGN(settings.program, ops::own_program_path());
  TRY_ASSIGN(OsUser user, OsUser::by_uid(geteuid()));
  settings.user = user.name;
  settings.state_directory = invocation.value("state-dir");
  for (const ServedCluster& cluster : plan.clusters) {
    settings.writable[cluster.name] = writable_directories(invocation, cluster);
    const JobsServer server = server_of_jobs(invocation, cluster.name);
    if (server.differs) settings.conninfo[cluster.name] = server.conninfo;
    // A socket below /tmp must not be hidden from the job.
    if (const std::string sockets = pg::socket_directory(server.conninfo); !sockets.empty())
      settings.writable[cluster.name].push_back(sockets);
  }
  warn_of_password(invocation);
  return settings;
}

// What the daemon does between its jobs wherever somebody is to be told: without it nothing else would.
void add_alerts(const Invocation& invocation, ServicePlan& plan) {
  if (invocation.config().receivers.empty()) return;
  for (const ServedCluster& cluster : plan.clusters) {
    const bool has_its_own = std::ranges::any_of(
        plan.jobs, [&](const Job& job) { return job.cluster == cluster.name && job.beside; });
    if (has_its_own || cluster.signals_us == 0) continue;
    const int64_t minutes = std::clamp<int64_t>(cluster.signals_us / kMinuteUs, 1, kMostMinutes);
    auto when = CronExpression::parse(minutes == 1 ? "* * * * *" : cat("*/", minutes, " * * * *"));
    CHECK(when);
    plan.jobs.push_back({cluster.name, "alerts", std::move(*when), 0, {"alert", "check"}, true});
  }
}

Result<ServicePlan> plan_jobs(const Invocation& invocation) {
  TRY_ASSIGN(ServicePlan plan, plan_service(invocation));
  add_alerts(invocation, plan);
  carry_state_directory(invocation, plan);
  if (!plan.jobs.empty()) return plan;
  const std::string& config = invocation.config_path();
  return make_error(ErrorKind::config, config.empty() ? std::string(kDefaultConfigPath) : config,
                    "has no jobs")
      .with_hint(cat("write a section [cluster.", invocation.cluster(),
                     ".schedule], as in backup = \"15 1 * * *\""));
}

// Prints the files, or writes them into the directory of --to.
Status hand_out(const Invocation& invocation, const std::vector<UnitFile>& files) {
  auto to = invocation.text("to");
  if (to) TRY(create_dirs(*to));
  Json json = Json::array();
  std::string text;
  for (const UnitFile& file : files) {
    if (to) {
      const std::string path = join_path(*to, file.name);
      TRY(write_file_durable(path, as_bytes(file.text), kFileMode));
      text += cat(path, "\n");
    } else {
      text += files.size() == 1 ? file.text : cat("# ---- ", file.name, "\n", file.text, "\n");
    }
    json.push_back({{"name", file.name}, {"text", file.text}});
  }
  invocation.output().text(text);
  invocation.output().document(
      to_json_text(Json{{"directory", to ? Json(*to) : Json(nullptr)}, {"files", std::move(json)}}));
  return {};
}

Result<int> systemd(const Invocation& invocation) {
  TRY_ASSIGN(ServicePlan plan, plan_jobs(invocation));
  TRY_ASSIGN(UnitSettings settings, unit_settings(invocation, plan));
  TRY(hand_out(invocation, systemd_units(plan, settings)));
  return 0;
}

Result<int> cron(const Invocation& invocation) {
  TRY_ASSIGN(ServicePlan plan, plan_jobs(invocation));
  TRY_ASSIGN(UnitSettings settings, unit_settings(invocation, plan));
  for (const ServedCluster& cluster : plan.clusters)
    for (const Resident& resident : cluster.residents)
      invocation.output().note(
          LogLevel::warning,
          cat("cluster ", cluster.name, ": ", resident.name,
              " runs all the time and is not in the crontab: have lifeboat serve or a service run it"));
  TRY(hand_out(invocation, {{"lifeboat.crontab", crontab(plan, settings)}}));
  return 0;
}

constexpr Option kOwn[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "write the files into this directory instead of printing them"},
    {.name = "state-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where the lock files are that keep jobs from overlapping, and what jobs remember",
     .default_text = "/var/lib/lifeboat",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kGroup = {"Schedule", kOwn};

#define LIFEBOAT_FILES_SCHEMA                                                               \
  R"({"type": "object", "required": ["directory", "files"],)"                               \
  R"("properties": {"directory": {"type": ["string", "null"]},)"                            \
  R"("files": {"type": "array", "items": {"type": "object", "required": ["name", "text"],)" \
  R"("properties": {"name": {"type": "string"}, "text": {"type": "string"}}}}}})"

}  // namespace

extern const Command kScheduleSystemdCommand;
constinit const Command kScheduleSystemdCommand = {
    .path = "schedule systemd",
    .summary = "units of systemd that run the configured jobs without the daemon",
    .description =
        "Makes a service and a timer for each line of the configuration's [cluster.NAME.schedule], and a "
        "service for `wal receive` and `wal beacon` where [cluster.NAME.serve] has them. Times are UTC, runs "
        "that were missed are made up for by one run, jobs of one cluster wait for each other. A job may "
        "write the repository, the data directory, the spool and --state-dir, nothing else of the host; "
        "/usr/bin/flock (package util-linux) is needed.\n\n"
        "Without the daemon `wal push` does its work by itself. Where the configuration has receivers, "
        "sections [alert.NAME], `alert check` runs every minute, or as often as `signals` of "
        "[cluster.NAME.serve] says; it waits for no other job.",
    .danger = Danger::write,
    .groups = {&kGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples =
        "# then copy them to /etc/systemd/system, and systemctl enable --now lifeboat-main-backup.timer\n"
        "lifeboat schedule systemd --to /tmp/units",
    .schema = LIFEBOAT_FILES_SCHEMA,
    .handler = systemd,
};

extern const Command kScheduleCronCommand;
constinit const Command kScheduleCronCommand = {
    .path = "schedule cron",
    .summary = "a crontab that runs the configured jobs without the daemon",
    .description =
        "Makes a crontab with a line for each line of the configuration's [cluster.NAME.schedule]. Times are "
        "UTC where cron knows CRON_TZ (cronie); Debian's takes the zone of the host. A run is left out "
        "while the one before it goes on, and jobs of one cluster wait for each other, by lock files in "
        "--state-dir and flock(1); `alert check`, which is added where there are receivers, waits for none. "
        "Cron does not make up for missed runs: `schedule systemd` and the daemon "
        "do.",
    .danger = Danger::write,
    .groups = {&kGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .creates = "to",
    .examples = "(crontab -u postgres -l; lifeboat schedule cron --cluster main) | crontab -u postgres -",
    .schema = LIFEBOAT_FILES_SCHEMA,
    .handler = cron,
};

}  // namespace lifeboat::app
