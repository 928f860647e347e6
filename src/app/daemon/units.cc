#include "app/daemon/units.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr std::string_view kFlock = "/usr/bin/flock";
constexpr std::string_view kQuoted = " \t\n\"'\\;";     // what ends or begins a word of a unit file
constexpr std::string_view kSystemState = "/var/lib/";  // what StateDirectory= is relative to

// A part of a unit's name as systemd-escape(1) writes it, but that '-' stays: names are read by people.
std::string unit_word(std::string_view text) {
  std::string word;
  for (char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const bool plain = std::isalnum(byte) != 0 || c == '_' || c == '-' || (c == '.' && !word.empty());
    word += plain ? std::string(1, c) : cat("\\x", to_hex({&byte, 1}));
  }
  return word;
}

std::string unit_name(std::string_view cluster, std::string_view job) {
  return cat("lifeboat-", unit_word(cluster), "-", unit_word(job));
}

// A word as it stands in a unit file (systemd.syntax(7), "Quoting"; specifiers of systemd.unit(5)).
std::string unit_quote(std::string_view word, bool in_command) {
  std::string text;
  bool quoted = word.empty();
  for (char c : word) {
    if (c == '%')
      text += "%%";
    else if (c == '$' && in_command)
      text += "$$";
    else if (c == '"' || c == '\\')
      text += cat("\\", c);
    else if (c == '\n')
      text += "\\n";
    else
      text += c;
    quoted = quoted || kQuoted.find(c) != std::string_view::npos;
  }
  return quoted ? cat("\"", text, "\"") : text;
}

// A path as it stands in a crontab's command: for the shell, and for cron, to which % is the end of a line.
std::string cron_quote(std::string_view word) {
  std::string text;
  for (char c : shell_quote(word)) {
    if (c == '%') text += '\\';
    text += c;
  }
  return text;
}

std::vector<std::string> command_words(const ServicePlan& plan, const UnitSettings& settings,
                                       const std::string& cluster, const std::vector<std::string>& command) {
  std::vector<std::string> words = {settings.program};
  words.insert(words.end(), command.begin(), command.end());
  words.insert(words.end(), plan.common.begin(), plan.common.end());
  words.insert(words.end(), {"--cluster", cluster, "--quiet"});
  return words;
}

std::string lock_file(const UnitSettings& settings, std::string_view name) {
  return cat(settings.state_directory, "/", name, ".lock");
}

std::string exec_start(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(unit_quote(word, true));
  return join(quoted, " ");
}

bool lies_below(std::string_view path, std::string_view directory) {
  return path == directory || path.starts_with(cat(directory, "/"));
}

// What a job may do: as packaging/lifeboat.service, and it writes its own directories only.
std::string sandbox(const UnitSettings& settings, const std::string& cluster) {
  std::vector<std::string> paths;
  if (auto found = settings.writable.find(cluster); found != settings.writable.end()) paths = found->second;
  std::string text;
  // systemd makes this one when it is not there; others must be.
  const std::string& state = settings.state_directory;
  if (state.starts_with(kSystemState))
    text += cat("StateDirectory=", unit_quote(state.substr(kSystemState.size()), false),
                "\nStateDirectoryMode=0700\n");
  else
    paths.push_back(state);
  std::ranges::sort(paths);
  paths.erase(std::ranges::unique(paths).begin(), paths.end());
  text += "ProtectSystem=strict\n";
  for (const std::string& path : paths)
    text += cat("ReadWritePaths=", unit_quote(cat("-", path), false), "\n");
  const auto holds = [&](std::string_view directory) {
    return std::ranges::any_of(paths, [&](const std::string& path) { return lies_below(path, directory); });
  };
  const bool home = holds("/home") || holds("/root") || holds("/run/user");
  text += cat("ProtectHome=", home ? "read-only" : "yes", "\n");
  // Drills and dumps work below /var/tmp: in one of their own, or, where that would hide what is there, in
  // it.
  if (!holds("/tmp") && !holds("/var/tmp"))
    text += "PrivateTmp=yes\n";
  else
    text += "ReadWritePaths=/tmp\nReadWritePaths=/var/tmp\n";
  // A drill's or a dump's PostgreSQL compiles queries (jit), so MemoryDenyWriteExecute is not there.
  text +=
      "UMask=0077\n"
      "NoNewPrivileges=yes\n"
      "CapabilityBoundingSet=\n"
      "PrivateDevices=yes\n"
      "ProtectClock=yes\n"
      "ProtectControlGroups=yes\n"
      "ProtectHostname=yes\n"
      "ProtectKernelLogs=yes\n"
      "ProtectKernelModules=yes\n"
      "ProtectKernelTunables=yes\n"
      "ProtectProc=invisible\n"
      "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
      "RestrictNamespaces=yes\n"
      "RestrictRealtime=yes\n"
      "RestrictSUIDSGID=yes\n"
      "LockPersonality=yes\n"
      "SystemCallArchitectures=native\n"
      "SystemCallFilter=@system-service\n"
      "SystemCallFilter=~@privileged\n"
      "SystemCallErrorNumber=EPERM\n";
  return text;
}

// What the jobs would miss of the environment in which the schedule was made.
const std::string* conninfo_of(const UnitSettings& settings, const std::string& cluster) {
  auto found = settings.conninfo.find(cluster);
  return found == settings.conninfo.end() ? nullptr : &found->second;
}

std::string environment(const UnitSettings& settings, const std::string& cluster) {
  const std::string* conninfo = conninfo_of(settings, cluster);
  if (conninfo == nullptr) return "";
  return cat("\nEnvironment=", unit_quote(cat("LIFEBOAT_PG=", *conninfo), false));
}

std::string unit_head(std::string_view description) {
  return cat(
      "# Made by lifeboat schedule systemd; programs that hooks run may need more (ReadWritePaths=).\n"
      "[Unit]\nDescription=",
      description, "\nDocumentation=man:lifeboat-schedule-systemd(1)\n");
}

std::string after_server() {
  return "After=network-online.target postgresql.service\nWants=network-online.target\n";
}

std::string described(std::string_view what, std::string_view cluster) {
  std::string text = cat("Lifeboat: ", what, " of cluster ", cluster);
  std::string doubled;
  for (char c : text) doubled += c == '%' ? "%%" : std::string(1, c);
  return doubled;
}

void add_job(const ServicePlan& plan, const UnitSettings& settings, const Job& job,
             std::vector<UnitFile>& files) {
  const std::string name = unit_name(job.cluster, job.name);
  std::vector<std::string> words;
  if (!job.beside) words = {std::string(kFlock), lock_file(settings, job.cluster)};
  const std::vector<std::string> command = command_words(plan, settings, job.cluster, job.command);
  words.insert(words.end(), command.begin(), command.end());
  const std::string description = described(job.name, job.cluster);
  // A backup that is stopped notes in the repository that it was; then it may be killed.
  files.push_back({cat(name, ".service"),
                   cat(unit_head(description), after_server(), "\n[Service]\nType=oneshot\nUser=",
                       settings.user, environment(settings, job.cluster), "\nExecStart=", exec_start(words),
                       "\nTimeoutStopSec=90\n", sandbox(settings, job.cluster))});
  std::string timer = cat(unit_head(description), "\n[Timer]\n# ", job.when.text(), "\n");
  for (const std::string& moment : job.when.calendar()) timer += cat("OnCalendar=", moment, "\n");
  timer += "Persistent=true\n";
  if (job.jitter_us > 0)
    timer += cat("RandomizedDelaySec=", job.jitter_us / 1'000'000, "\nFixedRandomDelay=true\n");
  files.push_back({cat(name, ".timer"), cat(timer, "\n[Install]\nWantedBy=timers.target\n")});
}

void add_resident(const ServicePlan& plan, const UnitSettings& settings, const std::string& cluster,
                  const Resident& resident, std::vector<UnitFile>& files) {
  std::string name = resident.name;
  std::ranges::replace(name, ' ', '-');
  const auto words = command_words(plan, settings, cluster, resident.words);
  files.push_back({cat(unit_name(cluster, name), ".service"),
                   cat(unit_head(described(resident.name, cluster)), after_server(), "\n[Service]\nUser=",
                       settings.user, environment(settings, cluster), "\nExecStart=", exec_start(words),
                       "\nRestart=always\nRestartSec=5\nTimeoutStopSec=90\n", sandbox(settings, cluster),
                       "\n[Install]\nWantedBy=multi-user.target\n")});
}

std::string cron_line(const ServicePlan& plan, const UnitSettings& settings, const Job& job) {
  // The outer lock leaves out a run while the one before it goes on, the inner one waits for other jobs.
  std::vector<std::string> words = {std::string(kFlock), "-n", "-E", "0",
                                    lock_file(settings, cat(job.cluster, ".", unit_word(job.name)))};
  if (!job.beside) words.insert(words.end(), {std::string(kFlock), lock_file(settings, job.cluster)});
  const std::vector<std::string> command = command_words(plan, settings, job.cluster, job.command);
  words.insert(words.end(), command.begin(), command.end());
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(cron_quote(word));
  // Errors and warnings go to standard error, which cron sends by mail.
  std::string line = join(quoted, " ");
  if (const std::string* conninfo = conninfo_of(settings, job.cluster))
    line = cat("LIFEBOAT_PG=", cron_quote(*conninfo), " ", line);
  return cat(job.when.text(), " ", line, " >/dev/null\n");
}

}  // namespace

std::vector<UnitFile> systemd_units(const ServicePlan& plan, const UnitSettings& settings) {
  std::vector<UnitFile> files;
  for (const Job& job : plan.jobs) add_job(plan, settings, job, files);
  for (const ServedCluster& cluster : plan.clusters)
    for (const Resident& resident : cluster.residents)
      add_resident(plan, settings, cluster.name, resident, files);
  return files;
}

std::string crontab(const ServicePlan& plan, const UnitSettings& settings) {
  std::string text =
      cat("# Made by lifeboat schedule cron, for the crontab of ", settings.user,
          ". Once, as root:\n#   install -d -o ", settings.user, " -m 700 ",
          shell_quote(settings.state_directory),
          "\n# Times are UTC. A cron that does not know CRON_TZ (Debian's) takes the host's zone, which must "
          "then be UTC.\n"
          "# Runs that were missed while the host was down are not made up for; timers of systemd are.\n"
          "CRON_TZ=UTC\nSHELL=/bin/sh\n");
  for (const Job& job : plan.jobs) text += cron_line(plan, settings, job);
  for (const ServedCluster& cluster : plan.clusters)
    for (const Resident& resident : cluster.residents)
      text += cat("# left out, because it runs all the time: ", join(resident.words, " "), " of cluster ",
                  cluster.name, "\n");
  return text;
}

}  // namespace lifeboat::app
