// Detectors of the way of WAL into the repository: the daemon, the archiver's command, the repository itself.
#include <algorithm>

#include "ready/heal/look.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

int64_t waiting_files(const HealLook& look) {
  if (look.facts.signals.server.waiting) return look.facts.signals.server.waiting->files;
  return look.doctor().backlog ? static_cast<int64_t>(look.doctor().backlog->ready) : 0;
}

double waiting_seconds(const HealLook& look) {
  const auto& asked = look.facts.signals.server.waiting;
  if (asked) return asked->oldest_seconds.value_or(0);
  const auto& backlog = look.doctor().backlog;
  return backlog && backlog->ready > 0 ? std::max(0.0, look.facts.signals.now.seconds_since(backlog->oldest))
                                       : 0;
}

double seconds(int64_t us) {
  return static_cast<double>(us) / 1e6;
}

bool is_stores_fault(ErrorKind kind) {
  return kind == ErrorKind::permission || kind == ErrorKind::space || kind == ErrorKind::unavailable ||
         kind == ErrorKind::timeout;
}

std::string fixes(const ops::Finding& finding) {
  if (finding.fix.empty()) return "lifeboat doctor names cause and fix";
  std::vector<std::string> lines = finding.fix;
  for (std::string& line : lines) {
    if (line.ends_with(';')) line.pop_back();  // of SQL
  }
  return join(lines, "; ");
}

// Why nothing can be stored, and for how long; nullopt: nothing says so.
struct Refusal {
  std::string text;
  double seconds = 0;
  std::string cite;
};
std::optional<Refusal> refusal_of(const HealLook& look) {
  const ops::DoctorFacts& doctor = look.doctor();
  if (const auto& failure = doctor.push_failure) {
    const auto& kinds = error_kinds();
    auto kind = std::ranges::find(kinds, failure->kind, &ErrorKindInfo::id);
    if (kind != kinds.end() && is_stores_fault(kind->kind))
      return Refusal{failure->text, std::max(0.0, doctor.now.seconds_since(failure->first)),
                     cat("wal push: failed ", failure->count, " times since ", failure->first.to_string(),
                         ", ", failure->kind)};
  }
  const auto& problem = doctor.repository.problem;
  if (!problem || !(is_stores_fault(problem->kind) || problem->kind == ErrorKind::not_found) ||
      waiting_files(look) == 0)
    return std::nullopt;
  return Refusal{problem->to_string(), waiting_seconds(look), look.cite_check("repository")};
}

// What keeps it from being done by us; empty: nothing.
std::string obstacle_to_rotation(const HealLook& look) {
  const ops::DoctorFacts& doctor = look.doctor();
  if (look.policy.rotate_to.empty())
    return cat("mend it, or name another repository as rotate-to in [cluster.", look.facts.signals.cluster,
               ".heal]");
  if (look.policy.rotate_to == doctor.repository.url) return "mend it: rotate-to names this very repository";
  if (!doctor.server) return "the server does not answer";
  if (doctor.patroni) return "set archive_command with patronictl edit-config: Patroni owns the settings";
  auto library = doctor.server->settings.find("archive_library");
  if (library != doctor.server->settings.end() && !library->second.empty())
    return "set lifeboat_archive.repo by hand: archive_library archives";
  if (!doctor.archive_command.ours) return "set archive_command by hand: it is not ours";
  return "";
}

// Nothing is lost yet, and something will be: archiving is off, or what archive_command names is not known to
// store anything here.
void look_at_archiving_settings(HealLook& look) {
  const Reading* off = look.reading("archive_off");
  if (off == nullptr || off->verdict == Verdict::unknown || rank_of(off->verdict) == Rank::fine) return;
  HealFinding& finding = look.add("archiving_off", "archive_command", rank_of(off->verdict), off->found);
  finding.cites = {look.cite("archive_off")};
  finding.proposal = off->action;
  for (std::string_view id : {"archive_mode", "archive_command", "archive_library"}) {
    const ops::Finding* check = ops::find(look.facts.signals.findings, id);
    if (check == nullptr || check->severity != ops::Severity::critical) continue;
    finding.object = id;
    finding.proposal = fixes(*check);
    return;
  }
}

}  // namespace

void look_at_server(HealLook& look) {
  const Reading* down = look.reading("server_down");
  if (down == nullptr || down->verdict == Verdict::unknown || rank_of(down->verdict) == Rank::fine) return;
  HealFinding& finding = look.add("server_down", "the server", rank_of(down->verdict),
                                  cat(down->found, "; what can be told without it is looked at"));
  finding.cites = {look.cite("server_down")};
  finding.proposal = "start it; where it does not come up: lifeboat recover";
}

void look_at_daemon(HealLook& look) {
  const DaemonProbe& daemon = look.facts.probe.daemon;
  if (daemon.state != DaemonState::silent) return;
  const bool known = daemon.process && daemon.process->ours;
  HealFinding& finding =
      look.add("daemon_stuck", daemon.process ? cat("process ", daemon.process->pid) : daemon.socket,
               waiting_files(look) > 0 ? Rank::critical : Rank::attention,
               cat("the daemon listens on ", daemon.socket, " and does not answer; ",
                   counted(static_cast<uint64_t>(waiting_files(look)), "WAL file"), " wait"));
  finding.cites = {cat("local socket ", daemon.socket), look.cite("wal_archive_lag")};
  if (known) {
    finding.action = HealAction::archiver;
    finding.proposal = cat("end process ", daemon.process->pid,
                           " (lifeboat serve): wal push then does its work itself, and the service manager "
                           "starts the daemon again");
  } else {
    finding.proposal = "end whoever listens there: it is not known to be a daemon of ours";
  }
}

void look_at_archiver(HealLook& look) {
  if (!look.doctor().server) return;
  for (const ops::ProcessFacts& process : look.facts.probe.archiver_commands) {
    if (process.seconds < seconds(look.policy.stuck_us) || waiting_files(look) == 0) continue;
    HealFinding& finding = look.add(
        "archiver_stuck", cat("process ", process.pid), Rank::critical,
        cat("the archiver's command has run for ", format_seconds(process.seconds), " (", process.command,
            "); ", counted(static_cast<uint64_t>(waiting_files(look)), "WAL file"), " wait"));
    finding.cites = {"processes of the archiver", look.cite("wal_archive_lag")};
    if (process.ours) {
      finding.action = HealAction::archiver;
      finding.proposal = cat("end process ", process.pid, " (wal push): the archiver tries again");
    } else {
      finding.proposal =
          cat("see what process ", process.pid, " waits for; it is not ours, and is left alone");
    }
    return;
  }
  // Somebody else's fault is told there.
  if (look.found("daemon_stuck") || look.found("repository_refuses") || look.found("repository_rotated"))
    return;
  const Reading* lag = look.reading("wal_archive_lag");
  const ops::Finding* check = ops::find(look.facts.signals.findings, "archiver");
  const bool failing = check != nullptr && check->severity == ops::Severity::critical;
  if (!failing && (lag == nullptr || rank_of(lag->verdict) == Rank::fine || lag->verdict == Verdict::unknown))
    return look_at_archiving_settings(look);
  HealFinding& finding =
      look.add("archiver_fails", "archive_command", failing ? Rank::critical : rank_of(lag->verdict),
               failing ? cat(check->found, check->cause.empty() ? "" : cat("; ", check->cause)) : lag->found);
  finding.cites = {"pg_stat_archiver", look.cite("wal_archive_lag")};
  finding.proposal = failing ? fixes(*check) : lag->action;
}

void look_at_repository(HealLook& look) {
  const ops::DoctorFacts& doctor = look.doctor();
  if (doctor.server && doctor.server->in_recovery) return;
  const auto refusal = refusal_of(look);
  const bool rotated = !look.policy.rotate_to.empty() && doctor.archive_command.ours &&
                       doctor.archive_command.repo == look.policy.rotate_to &&
                       look.policy.rotate_to != doctor.repository.url;
  if (rotated) {
    HealFinding& finding =
        look.add("repository_rotated", look.policy.rotate_to, Rank::attention,
                 cat("WAL is archived into ", look.policy.rotate_to, " instead of ", doctor.repository.url));
    finding.cites = {look.cite_check("archive_command")};
    // Recovery out of the other repository needs a backup there. One that failed is taken again.
    if (look.unfinished(HealAction::rotate)) {
      finding.found += ", and the backup that recovery from there needs did not come about";
      finding.rank = Rank::critical;
      finding.action = HealAction::rotate;
      finding.proposal = cat("take the backup into ", look.policy.rotate_to);
      return;
    }
    finding.proposal =
        cat("make it the repository of the configuration (repo), or mend ", doctor.repository.url,
            " and go back with lifeboat init --apply, then take a backup there");
    return;
  }
  if (!refusal || refusal->seconds < seconds(look.policy.stuck_us)) {
    const Reading* down = look.reading("repository_down");
    if (down == nullptr || rank_of(down->verdict) == Rank::fine) return;
    HealFinding& finding =
        look.add("repository_down", doctor.repository.url, rank_of(down->verdict), down->found);
    finding.cites = {look.cite("repository_down")};
    finding.proposal = down->action;
    return;
  }
  HealFinding& finding =
      look.add("repository_refuses", doctor.repository.url, Rank::critical,
               cat("WAL cannot be stored for ", format_seconds(refusal->seconds), ": ", refusal->text));
  finding.cites = {refusal->cite, look.cite("wal_archive_lag")};
  const std::string obstacle = obstacle_to_rotation(look);
  if (obstacle.empty()) {
    finding.action = HealAction::rotate;
    finding.proposal = cat("set archive_command to push into ", look.policy.rotate_to,
                           ", wait for the archiver, and take a backup there");
  } else {
    finding.proposal = obstacle;
  }
}

}  // namespace lifeboat::ready
