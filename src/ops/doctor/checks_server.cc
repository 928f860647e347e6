// Checks of the server itself: reachable, supported, safe, with room.
#include <algorithm>
#include <cmath>

#include "ops/doctor/judge.h"
#include "ops/init/server_setup.h"
#include "util/strings.h"

namespace lifeboat::ops::doctor {

namespace {

// A disk is judged by its share in use, unless what is left is plenty in absolute terms.
constexpr double kWarnUsed = 0.80;
constexpr double kCriticalUsed = 0.90;
constexpr double kHalf = 0.5;
constexpr uint64_t kPlenty = 100ull << 30;
constexpr uint64_t kEnough = 20ull << 30;
constexpr uint64_t kNearlyNothing = 64ull << 20;
constexpr uint64_t kSlotWarnBytes = 1ull << 30;
constexpr uint64_t kSlotCriticalBytes = 64ull << 30;

std::string percent(double share) {
  return cat(std::lround(share * 100), " %");
}

void judge_disk(const std::optional<DiskFacts>& disk, std::string_view fix, Finding& finding) {
  if (!disk || disk->total_bytes == 0) return skip(finding, "not on this host");
  double used = 1 - static_cast<double>(disk->free_bytes) / static_cast<double>(disk->total_bytes);
  std::string found = cat(format_bytes(disk->free_bytes), " free of ", format_bytes(disk->total_bytes),
                          " at ", disk->path, " (", percent(used), " used)");
  bool critical = disk->free_bytes < kNearlyNothing || (used >= kCriticalUsed && disk->free_bytes < kEnough);
  bool warning = used >= kWarnUsed && disk->free_bytes < kPlenty;
  if (!critical && !warning) return good(finding, std::move(found));
  const Severity severity = critical ? Severity::critical : Severity::warning;
  if (used < kHalf)
    return bad(finding, severity, std::move(found), "the file system is too small: it would soon be full",
               {"# a larger one, for a multiple of what the database holds"});
  bad(finding, severity, std::move(found), "the disk is filling up", {std::string(fix)});
}

}  // namespace

void look_at_server(const DoctorFacts& facts, Finding& finding) {
  if (facts.server) {
    return good(finding, cat("PostgreSQL ", facts.server->version_text,
                             facts.server->in_recovery ? ", in recovery" : ", primary",
                             ", system identifier ", facts.server->system_id.to_string()));
  }
  const Error& problem = *facts.server_problem;
  std::vector<std::string> fix;
  if (!problem.hint.empty()) fix.push_back(problem.hint);
  fix.push_back(cat("psql ", shell_quote(facts.conninfo.empty() ? "dbname=postgres" : facts.conninfo),
                    "   # must connect without asking for a password"));
  bad(finding, Severity::critical, problem.to_string(),
      facts.conninfo.empty() ? "no --pg was given, so libpq's environment and defaults were used"
                             : "the connection that --pg names does not work",
      std::move(fix));
}

void look_at_data_directory(const DoctorFacts& facts, Finding& finding) {
  if (facts.data) {
    return good(finding,
                cat(facts.data->path, ", owned by ",
                    facts.server_user ? facts.server_user->user.name : cat("uid ", facts.data->owner)));
  }
  const Error& problem = *facts.data_problem;
  bool wrong = problem.kind == ErrorKind::foreign || problem.kind == ErrorKind::precondition ||
               problem.kind == ErrorKind::damaged;
  if (!wrong) return skip(finding, problem.to_string());
  bad(finding, Severity::critical, problem.to_string(), "--pgdata and --pg do not name the same cluster",
      {problem.hint.empty() ? "give the --pgdata and --pg of one cluster" : problem.hint});
}

void look_at_version(const DoctorFacts& facts, Finding& finding) {
  int major = facts.server ? facts.server->major : facts.data ? facts.data->version->major : 0;
  if (major == 0) return skip(finding, "neither the server nor its data directory was reached");
  const pg::VersionTraits* traits = pg::find_version(major);
  if (traits == nullptr) {
    return bad(finding, Severity::critical, cat("PostgreSQL ", major), "this version is not supported",
               {"use a lifeboat that knows it"});
  }
  std::string found =
      facts.server ? cat("PostgreSQL ", facts.server->version_text) : cat("PostgreSQL ", major);
  // Dates of one form compare as text.
  std::string today = facts.now.to_iso().substr(0, 10);
  if (today > traits->end_of_life) {
    return bad(finding, Severity::warning, std::move(found),
               cat("community support of ", major, " ended on ", traits->end_of_life,
                   ": bugs that lose data are not mended any more"),
               {"plan pg_upgrade to a newer major"});
  }
  good(finding, cat(found, ", supported until ", traits->end_of_life));
}

void look_at_role(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  const pg::RoleFacts& role = facts.server->role;
  if (role.superuser) return good(finding, cat(role.name, " is a superuser"));
  std::vector<std::string> missing;
  const pg::VersionTraits* traits = pg::find_version(facts.server->major);
  std::string start = traits == nullptr ? "pg_backup_start" : std::string(traits->backup_start);
  std::string stop = traits == nullptr ? "pg_backup_stop" : std::string(traits->backup_stop);
  if (!role.start_backup) missing.push_back(start + "()");
  if (!role.stop_backup) missing.push_back(stop + "()");
  bool cannot_back_up = !missing.empty();
  if (!role.switch_wal) missing.push_back("pg_switch_wal()");
  if (!role.restore_point) missing.push_back("pg_create_restore_point()");
  for (const pg::RefusedFact& refused : facts.server->refused) missing.push_back(refused.fact);
  if (missing.empty()) return good(finding, cat(role.name, " has what it needs"));
  std::vector<std::string> fix = {cat("# as a superuser, in the database that --pg names:")};
  fix.push_back(role_sql(role.name, facts.server->major));
  bad(finding, cannot_back_up ? Severity::critical : Severity::warning,
      cat("role ", role.name, " is refused: ", join(missing, ", ")),
      "the role lacks grants; grants on functions count only in the database in which they were made",
      std::move(fix));
}

void look_at_durability(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  const std::string* fsync = setting(facts, "fsync");
  const std::string* pages = setting(facts, "full_page_writes");
  if (fsync != nullptr && *fsync == "off") {
    return bad(
        finding, Severity::critical, "fsync = off",
        "after a power cut the cluster may be damaged without a trace, and so may every backup after it",
        {alter_system("fsync", "on"), reload()});
  }
  if (pages != nullptr && *pages == "off") {
    return bad(finding, Severity::warning, "full_page_writes = off",
               "torn pages cannot be repaired from WAL; backups from a standby are refused by the server",
               {alter_system("full_page_writes", "on"), reload()});
  }
  good(finding, "both are on");
}

void look_at_checksums(const DoctorFacts& facts, Finding& finding) {
  if (!facts.server && !facts.data)
    return skip(finding, "neither the server nor its data directory was reached");
  bool on = facts.server ? facts.server->data_checksums : facts.data->control.checksums();
  if (on) return good(finding, "on");
  std::string directory = facts.data ? facts.data->path : facts.server->data_directory;
  bad(finding, Severity::warning, "off",
      "damage on the disk goes unseen into backups until somebody reads the page",
      {cat(their_program(facts, "pg_checksums"), " --enable -D ",
           shell_quote(directory.empty() ? "DATA_DIRECTORY" : directory),
           "   # with the server stopped; takes as long as reading everything")});
}

void look_at_senders(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  auto most = number_setting(facts, "max_wal_senders");
  if (!most) return skip(finding, "max_wal_senders could not be read");
  auto used = static_cast<int64_t>(facts.server->senders.size());
  std::string found = cat(used, " of ", *most, " in use");
  if (used < *most) return good(finding, std::move(found));
  bad(finding, Severity::warning, std::move(found),
      *most == 0 ? "streaming WAL and standbys are impossible" : "streaming WAL finds no free sender",
      {alter_system("max_wal_senders", cat(std::max<int64_t>(10, *most + 4))), restart(facts)});
}

// wal receive stores WAL and applies nothing, so a commit that waits for that never ends
// (SyncRepWaitForLSN in src/backend/replication/syncrep.c).
void look_at_synchronous_receiver(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  const std::string* names = setting(facts, "synchronous_standby_names");
  const std::string* commit = setting(facts, "synchronous_commit");
  if (names == nullptr || commit == nullptr)
    return skip(finding, "synchronous_standby_names and synchronous_commit could not be read");
  if (to_lower(*names).find("lifeboat") == std::string::npos)
    return good(finding, "no WAL receiver of ours is named in synchronous_standby_names");
  std::string found = cat("synchronous_standby_names = '", *names, "', synchronous_commit = ", *commit);
  if (*commit != "remote_apply") return good(finding, std::move(found));
  bad(finding, Severity::critical, std::move(found),
      "a WAL receiver applies nothing: commits that wait for it wait for ever",
      {alter_system("synchronous_commit", "on"), reload()});
}

void look_at_slots(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  const pg::ServerFacts& server = *facts.server;
  std::vector<std::string> holding;
  std::vector<std::string> fix;
  Severity severity = Severity::ok;
  for (const pg::SlotFacts& slot : server.slots) {
    if (slot.wal_status == "lost") {
      holding.push_back(cat(slot.name, " has lost the WAL it needs"));
      severity = std::max(severity, Severity::warning);
      fix.push_back(cat("SELECT pg_drop_replication_slot(", sql_literal(slot.name), ");"));
      continue;
    }
    if (slot.active || !slot.restart_lsn.valid() || server.current_lsn < slot.restart_lsn) continue;
    uint64_t held = server.current_lsn.value - slot.restart_lsn.value;
    if (held < kSlotWarnBytes) continue;
    holding.push_back(cat(slot.name, " is inactive and holds ", format_bytes(held), " of WAL"));
    bool fills = facts.wal_disk && held > facts.wal_disk->free_bytes;
    severity =
        std::max(severity, fills || held >= kSlotCriticalBytes ? Severity::critical : Severity::warning);
    fix.push_back(cat("SELECT pg_drop_replication_slot(", sql_literal(slot.name),
                      ");   -- when nobody will come back for it"));
  }
  if (severity == Severity::ok) {
    return good(finding, server.slots.empty() ? "there are no slots"
                                              : cat(counted(server.slots.size(), "slot"), ", none behind"));
  }
  const std::string* limit = setting(facts, "max_slot_wal_keep_size");
  if (limit != nullptr && *limit == "-1") {
    fix.push_back(alter_system("max_slot_wal_keep_size", "64GB") + "   -- else pg_wal grows without bound");
  }
  bad(finding, severity, join(holding, "; "), "an inactive slot keeps WAL in pg_wal until the disk is full",
      std::move(fix));
}

void look_at_leftovers(const DoctorFacts& facts, Finding& finding) {
  if (!facts.leftovers)
    return skip(finding, facts.data_problem ? facts.data_problem->to_string()
                                            : std::string("the data directory is not on this host"));
  std::vector<std::string> found;
  std::vector<std::string> fix;
  for (const std::string& line : facts.leftovers->recovery_set) {
    found.push_back(line);
    fix.push_back(cat("ALTER SYSTEM RESET ", line.substr(0, line.find(' ')), ";"));
  }
  bool in_recovery = facts.server && facts.server->in_recovery;
  if (!in_recovery && facts.server && facts.leftovers->recovery_signal) {
    found.push_back("recovery.signal");
    fix.push_back(cat("rm ", shell_quote(join_path(facts.data->path, "recovery.signal"))));
  }
  if (found.empty() || in_recovery) return good(finding, in_recovery ? "recovery is under way" : "none");
  fix.push_back(reload());
  bad(finding, Severity::warning, join(found, ", "),
      "the next recovery of this cluster, or of a copy, would take these for its target and fail or end "
      "early",
      std::move(fix));
}

void look_at_data_disk(const DoctorFacts& facts, Finding& finding) {
  judge_disk(facts.data_disk, "make room or enlarge the disk of the data directory", finding);
}

void look_at_wal_disk(const DoctorFacts& facts, Finding& finding) {
  if (facts.wal_disk && facts.data_disk && facts.wal_disk->device == facts.data_disk->device) {
    return good(finding, "the same disk as the data directory");
  }
  judge_disk(facts.wal_disk,
             "never delete from pg_wal: find out what keeps WAL there (archiver, slots), or enlarge the disk",
             finding);
}

void look_at_repository_disk(const DoctorFacts& facts, Finding& finding) {
  if (facts.repository.directory.empty())
    return skip(finding, "the repository is not a directory of this host");
  judge_disk(facts.repository_disk,
             our_command(facts, "expire", "--pitr-days 30 --dry-run   # or enlarge the disk"), finding);
}

}  // namespace lifeboat::ops::doctor
