// lifeboat serve: the daemon.
#include <nlohmann/json.hpp>

#include "app/daemon/control.h"
#include "app/daemon/daemon.h"
#include "app/daemon/plan.h"
#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "ops/wal/commands.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kStatusTimeoutMs = 5'000;

// "2026-11-29 01:15:00+00", or "-" for null.
std::string shown_time(const Json& time) {
  if (!time.is_string()) return "-";
  auto parsed = parse_time(time.get<std::string>());
  return parsed ? parsed->to_string() : time.get<std::string>();
}

std::string last_of(const Json& job) {
  if (job.at("running").get<bool>()) return "running";
  if (job.at("exit_code").is_null()) return "-";
  const int code = job.at("exit_code").get<int>();
  return code == 0 ? "done" : cat("failed: ", job.at("error").get<std::string>());
}

// "wal receive: running; wal beacon: waiting, exited with 8"
std::string residents_text(const Json& residents) {
  std::vector<std::string> parts;
  for (const Json& resident : residents) {
    const auto state = resident.at("state").get<std::string>();
    const auto error = resident.at("last_error").get<std::string>();
    parts.push_back(cat(resident.at("process").get<std::string>(), ": ", state,
                        state == "running" || error.empty() ? "" : cat(", ", error)));
  }
  return parts.empty() ? "-" : join(parts, "; ");
}

std::string to_text(const Json& status) {
  Table clusters({{"cluster"}, {"wal push"}, {"processes"}});
  for (const Json& cluster : status.at("clusters")) {
    const bool archives = cluster.at("archives").get<bool>();
    clusters.add({cluster.at("cluster").get<std::string>(),
                  archives ? counted(cluster.at("pushed_files").get<uint64_t>(), "file") : "-",
                  residents_text(cluster.at("processes"))});
  }
  std::string text =
      cat("process ", status.at("pid").get<int64_t>(), " on ", status.at("socket").get<std::string>(),
          " since ", shown_time(status.at("since")), "\n\n", clusters.to_string());
  Table jobs({{"job"}, {"schedule (UTC)"}, {"next"}, {"last begun"}, {"last run"}});
  for (const Json& job : status.at("jobs")) {
    jobs.add({cat(job.at("cluster").get<std::string>(), "/", job.at("job").get<std::string>()),
              job.at("schedule").get<std::string>(), shown_time(job.at("next")),
              shown_time(job.at("last_started")), last_of(job)});
  }
  return jobs.empty() ? text : cat(text, "\n", jobs.to_string());
}

Result<int> show_status(const Invocation& invocation) {
  const std::string socket = invocation.value("socket");
  auto answer = ask_daemon(socket, R"({"op":"status"})", kStatusTimeoutMs);
  if (!answer) {
    return make_error(ErrorKind::unavailable, socket, "no daemon of this user answers there")
        .with_hint("is it running, and is --socket the one it was given?");
  }
  const Json status = Json::parse(*answer, nullptr, false);
  if (!status.is_object() || !status.contains("clusters"))
    return make_error(ErrorKind::failed, socket, "the daemon is of another version");
  invocation.output().document(to_json_text(status));
  invocation.output().text(to_text(status));
  return 0;
}

std::vector<std::string> resident_words(const ServedCluster& cluster) {
  std::vector<std::string> lines;
  for (const Resident& resident : cluster.residents) lines.push_back(join(resident.words, " "));
  return lines;
}

// "warning and worse", "heartbeats only"
std::string told_of(const ready::Receiver& receiver) {
  if (receiver.heartbeats_only) return "heartbeats only";
  return receiver.least == ready::Rank::critical ? "critical" : "warning, critical";
}

Json receivers_json(const std::vector<ready::Receiver>& receivers) {
  Json list = Json::array();
  for (const ready::Receiver& receiver : receivers)
    list.push_back({{"receiver", receiver.name},
                    {"type", to_string(receiver.type)},
                    {"told", told_of(receiver)},
                    {"clusters", receiver.clusters}});
  return list;
}

Json plan_json(const ServicePlan& plan, const std::vector<ready::Receiver>& receivers, Timestamp now) {
  Json clusters = Json::array();
  for (const ServedCluster& cluster : plan.clusters) {
    clusters.push_back({{"cluster", cluster.name},
                        {"repository", cluster.repo.url},
                        {"archives", cluster.archive},
                        {"signals_seconds", static_cast<double>(cluster.signals_us) / 1e6},
                        {"processes", resident_words(cluster)}});
  }
  Json jobs = Json::array();
  for (const Job& job : plan.jobs) {
    jobs.push_back({{"cluster", job.cluster},
                    {"job", job.name},
                    {"command", join(job.command, " ")},
                    {"schedule", job.when.text()},
                    {"next", json_time(job.when.next(now))}});
  }
  return {{"metrics", plan.metrics.empty() ? Json(nullptr) : Json(plan.metrics)},
          {"clusters", std::move(clusters)},
          {"jobs", std::move(jobs)},
          {"receivers", receivers_json(receivers)}};
}

std::string to_text(const ServicePlan& plan, const std::vector<ready::Receiver>& receivers, Timestamp now) {
  Table clusters({{"cluster"}, {"repository"}, {"wal push"}, {"processes"}});
  for (const ServedCluster& cluster : plan.clusters) {
    clusters.add({cluster.name, cluster.repo.url, cluster.archive ? "answered" : "-",
                  cluster.residents.empty() ? "-" : join(resident_words(cluster), "; ")});
  }
  Table jobs({{"job"}, {"schedule (UTC)"}, {"next"}, {"command"}});
  for (const Job& job : plan.jobs)
    jobs.add({job.key(), job.when.text(), job.when.next(now).to_string(), join(job.command, " ")});
  Table told({{"receiver"}, {"type"}, {"told of"}, {"clusters"}});
  for (const ready::Receiver& receiver : receivers)
    told.add({receiver.name, std::string(to_string(receiver.type)), told_of(receiver),
              receiver.clusters.empty() ? "all" : join(receiver.clusters, ", ")});
  std::string text = clusters.to_string();
  for (const Table& table : {jobs, told})
    if (!table.empty()) text += cat("\n", table.to_string());
  return text;
}

Status need_directory(const std::string& path, std::string_view option) {
  auto made = create_dirs(path);
  if (made) return {};
  return std::move(made).error().with_hint(
      cat("make it for the user who runs the daemon (systemd: StateDirectory, RuntimeDirectory), or name "
          "another with ",
          option));
}

// Everything that its jobs will need of the repository: that, its key, the cluster in it.
Status check_repository(const ServedCluster& cluster, const StopToken& stop) {
  ops::RepoLocation where = cluster.repo;
  where.patience.us = 0;  // the answer is wanted now
  where.patience.stop = &stop;
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
  TRY(ops::choose_lineage(repository, cluster.name));
  return {};
}

// Who cannot be served now may be later: the store comes back, a mount is made.
void tell_what_is_missing(const Invocation& invocation, const ServicePlan& plan) {
  for (const ServedCluster& cluster : plan.clusters) {
    auto good = check_repository(cluster, invocation.stop());
    if (good || invocation.stop().stopped()) continue;
    invocation.output().note(
        LogLevel::error,
        cat("cluster ", cluster.name, " is NOT protected: ", good.error().to_string(),
            "; its jobs fail until this is mended (lifeboat serve --check tells when it is)"));
  }
}

Result<int> check(const Invocation& invocation, const ServicePlan& plan, Timestamp now) {
  invocation.output().text(to_text(plan, invocation.config().receivers, now));
  if (invocation.config().receivers.empty())
    invocation.output().note(LogLevel::warning,
                             "nobody is told: the configuration has no section [alert.NAME]");
  for (const ServedCluster& cluster : plan.clusters) {
    auto good = check_repository(cluster, invocation.stop());
    if (!good) return std::move(good).error().within(cat("cluster ", cluster.name));
  }
  return 0;
}

Result<int> handle(const Invocation& invocation) {
  if (invocation.flag("status")) return show_status(invocation);
  TRY_ASSIGN(ServicePlan plan, plan_service(invocation));
  carry_state_directory(invocation, plan);
  const Timestamp now{invocation.clock().unix_us()};
  invocation.output().document(to_json_text(plan_json(plan, invocation.config().receivers, now)));
  DaemonOptions options;
  options.socket = invocation.value("socket");
  options.state_directory = invocation.value("state-dir");
  if (invocation.flag("check")) return check(invocation, plan, now);
  TRY(need_directory(options.state_directory, "--state-dir"));
  TRY(need_directory(parent_path(options.socket), "--socket"));
  TRY_ASSIGN(options.program, ops::own_program_path());
  tell_what_is_missing(invocation, plan);
  TRY_ASSIGN(auto daemon, Daemon::make(std::move(plan), std::move(options), invocation.output(),
                                       invocation.stop(), invocation.clock()));
  TRY(daemon->run());
  return 0;
}

constexpr Option kServeOptions[] = {
    {.name = "check",
     .help = "validate the configuration, open every repository with its key, print what would be served and "
             "who is told, and end",
     .excludes = "status"},
    {.name = "status", .help = "ask the daemon that runs what it does", .excludes = "check"},
    {.name = "socket",
     .kind = ValueKind::path,
     .placeholder = "PATH",
     .help = "the daemon's local socket",
     .default_text = kControlSocket,
     .section = ConfigSection::cluster},
    {.name = "state-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where it remembers when its jobs ran",
     .default_text = "/var/lib/lifeboat",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kServeGroup = {"Serve", kServeOptions};

}  // namespace

extern const Command kServeCommand;
constinit const Command kServeCommand = {
    .path = "serve",
    .summary = "the daemon: scheduled jobs, WAL receivers, and a socket for wal push",
    .description =
        "Serves the clusters whose section in the configuration file has [cluster.NAME.serve] or "
        "[cluster.NAME.schedule], until it is stopped by a signal. It may be stopped or killed and started "
        "again at "
        "any moment: what jobs do is in the repository, and a backup that was cut off is gone on with.\n\n"
        "[cluster.NAME.schedule] has one line a job: a cron expression in UTC, or a list of one and a "
        "command with "
        "its options. A line that is named like a command needs no command. Jobs of one cluster run one at a "
        "time; "
        "those that were missed meanwhile are made up for by one run. Destructive ones (expire) are not "
        "asked "
        "about: who wrote the policy has agreed to it. A drill that is not told where to recover to takes a "
        "random moment.\n\n"
        "[cluster.NAME.serve] has `receive` (true, or a list of options of wal receive), `archive` (whether "
        "wal push is answered; true when it is not said), `beacon` (how often wal beacon writes one; never "
        "when it is not said), `signals` (how often the signals of `status` are read; every minute when "
        "there is a section "
        "[alert.NAME] or metrics are offered) and `jitter` (by how much a job may be late, so that many "
        "hosts do not begin "
        "at once). [serve] has `metrics`, an address such as 127.0.0.1:9187: Prometheus finds /metrics "
        "there, and /health "
        "says whether signals are being read.\n\n"
        "`wal push` hands its file to the daemon when one of the same user listens on --socket and serves "
        "that "
        "repository; else it does the work itself.",
    .danger = Danger::write,
    .groups = {&kServeGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# in lifeboat.toml\n"
        "[cluster.main.schedule]\n"
        "backup = \"15 1 * * *\"\n"
        "expire = [\"45 1 * * *\", \"--keep-days\", \"14\"]\n"
        "weekly = [\"0 4 * * 0\", \"verify\"]\n"
        "# is it right, and when does what run?\n"
        "lifeboat serve --check\n"
        "# what does it do?\n"
        "lifeboat serve --status",
    .schema = R"({
  "type": "object",
  "required": ["clusters", "jobs"],
  "properties": {
    "pid": {"type": "integer"},
    "since": {"type": ["string", "null"], "format": "date-time"},
    "socket": {"type": "string"},
    "metrics": {"type": ["string", "null"], "description": "where Prometheus finds /metrics"},
    "clusters": {"type": "array", "items": {
      "type": "object",
      "required": ["cluster", "archives"],
      "properties": {
        "cluster": {"type": "string"},
        "repository": {"type": "string"},
        "archives": {"type": "boolean", "description": "wal push is answered"},
        "signals_seconds": {"type": "number", "description": "between two checks of its signals; 0: none"},
        "pushed_files": {"type": "integer", "description": "that wal push handed over since the daemon began"},
        "processes": {"type": "array", "description": "that run as long as the daemon does; with --check their command lines", "items": {
          "type": ["string", "object"], "properties": {
          "process": {"type": "string"},
          "state": {"enum": ["starting", "running", "waiting"]},
          "pid": {"type": ["integer", "null"]},
          "since": {"type": ["string", "null"], "format": "date-time"},
          "starts": {"type": "integer"},
          "last_error": {"type": "string"}
        }}}
      }}},
    "receivers": {"type": "array", "description": "of alerts; with --check", "items": {
      "type": "object",
      "required": ["receiver", "type", "told", "clusters"],
      "properties": {
        "receiver": {"type": "string"},
        "type": {"type": "string"},
        "told": {"type": "string", "description": "of what"},
        "clusters": {"type": "array", "description": "empty: all", "items": {"type": "string"}}
      }}},
    "jobs": {"type": "array", "items": {
      "type": "object",
      "required": ["cluster", "job", "command", "schedule", "next"],
      "properties": {
        "cluster": {"type": "string"},
        "job": {"type": "string"},
        "command": {"type": "string"},
        "schedule": {"type": "string", "description": "a cron expression in UTC"},
        "next": {"type": ["string", "null"], "format": "date-time"},
        "last_started": {"type": ["string", "null"], "format": "date-time"},
        "last_ended": {"type": ["string", "null"], "format": "date-time"},
        "running": {"type": "boolean"},
        "exit_code": {"type": ["integer", "null"], "description": "of the last run that ended"},
        "error": {"type": "string"},
        "runs": {"type": "integer"},
        "failures_in_a_row": {"type": "integer"}
      }}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
