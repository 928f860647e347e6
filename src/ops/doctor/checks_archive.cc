// Checks of WAL archiving: the settings, what stands behind them, and "WAL segment was not archived".
#include <algorithm>

#include "ops/archive_setting.h"
#include "ops/doctor/archived.h"
#include "ops/doctor/judge.h"
#include "util/strings.h"

namespace lifeboat::ops::doctor {

namespace {

constexpr double kBacklogWarnAge = 60;
constexpr double kBacklogCriticalAge = 300;  // the default RPO
// The archiver tries three times, a second apart, and then sleeps for a minute (NUM_ARCHIVE_RETRIES and
// PGARCH_AUTOWAKE_INTERVAL in src/backend/postmaster/pgarch.c): a failure of ours that is older than this
// before the server's last one belongs to another cause.
constexpr double kSameFailure = 100;

// Why this server's archiver does not concern us; empty: it does.
std::string no_archiver(const DoctorFacts& facts) {
  const std::string* mode = setting(facts, "archive_mode");
  if (mode == nullptr) return "archive_mode could not be read";
  if (*mode == "off") return "archiving is off";
  if (facts.server->in_recovery && *mode != "always") return "a standby does not archive, its primary does";
  return "";
}

std::vector<std::string> set_command(const DoctorFacts& facts) {
  return {alter_system("archive_command", facts.expected_archive_command), reload()};
}

struct Cause {
  std::string text;
  std::vector<std::string> fix;
};

// What the last failure of our own push means.
Cause cause_of(const DoctorFacts& facts, const PushFailure& failure) {
  const RepositoryFacts& known = facts.repository;
  Cause cause;
  cause.text = cat("lifeboat wal push said: ", failure.text);
  std::string directory = known.directory.empty() ? "the repository" : shell_quote(known.directory);
  if (failure.kind == "permission") {
    cause.fix = {"# see who owns what the message names; usually:",
                 cat(as_root(facts.person), "chown -R ", server_user(facts), " ", directory)};
  } else if (failure.kind == "space") {
    cause.fix = {"make room or enlarge the repository's disk; WAL waits in pg_wal meanwhile",
                 our_command(facts, "expire", "--pitr-days 30 --dry-run")};
  } else if (failure.kind == "wrong_key" || failure.kind == "config") {
    cause.fix = set_command(facts);
  } else if (failure.kind == "foreign") {
    cause.fix = {cat(our_command(facts, "init", "--new-lineage"), "   # after pg_upgrade or a new initdb"),
                 "or give this cluster a name of its own with --cluster"};
  } else if (failure.kind == "not_found") {
    cause.fix = {our_command(facts, "init")};
  } else if (failure.kind == "conflict") {
    cause.fix = {"find the other server that archives under this identity and set archive_mode = off there",
                 our_command(facts, "backup", "--type full   # then, on the server that is to live on")};
  } else if (failure.kind == "unavailable" || failure.kind == "timeout") {
    cause.fix = {"see that the store is up and reachable from this host; the archiver tries again by itself"};
  } else if (!failure.hint.empty()) {
    cause.fix = {failure.hint};
  }
  if (cause.fix.empty()) cause.fix = {"mend what the message names; the archiver tries again by itself"};
  return cause;
}

// The first thing on the way of WAL that is broken.
std::optional<Cause> first_suspect(const DoctorFacts& facts) {
  constexpr void (*kSuspects[])(const DoctorFacts&, Finding&) = {
      look_at_archive_library,    look_at_archive_command, look_at_archive_program, look_at_archive_key,
      look_at_archive_repository, look_at_registration,    look_at_repository_disk, look_at_repository};
  for (auto look : kSuspects) {
    Finding finding;
    look(facts, finding);
    if (finding.severity == Severity::critical) {
      return Cause{cat(finding.found, ": ", finding.cause), finding.fix};
    }
  }
  return std::nullopt;
}

// Why the archiver fails, from the most to the least direct witness.
Cause cause_of_failing_archiver(const DoctorFacts& facts, Timestamp last_failure) {
  if (facts.push_failure && std::abs(last_failure.seconds_since(facts.push_failure->last)) < kSameFailure) {
    return cause_of(facts, *facts.push_failure);
  }
  if (auto suspect = first_suspect(facts)) return *std::move(suspect);
  const auto& failed = facts.repository.failed_wal;
  if (failed && failed->stored_other) {
    return {cat("the repository holds another content under the name ", failed->file,
                ": two servers with one identity archived into this cluster"),
            {"find the other server that archives under this identity and set archive_mode = off there",
             our_command(facts, "backup", "--type full   # then, on the server that is to live on")}};
  }
  std::string file = facts.server->archiver->last_failed_wal;
  std::string directory = facts.data ? facts.data->path : facts.server->data_directory;
  return {
      "archive_command fails, and not for a reason that doctor sees (an option that lifeboat refuses?): run "
      "it by hand. If it was mended a moment ago, the archiver finds out within a "
      "minute, or at once after SELECT pg_reload_conf(); else the server's log has the command's own words",
      {cat("cd ", shell_quote(directory.empty() ? "DATA_DIRECTORY" : directory), " && ",
           our_command(facts, "wal push", cat("pg_wal/", file))),
       "# or look for 'archive command failed' in the server's log"}};
}

// Why the archiver succeeds and nothing comes.
Cause cause_of_lost_wal(const DoctorFacts& facts, const LostWal& lost) {
  if (!lost.slot.empty()) {
    return {cat("slot ", lost.slot, " still holds it for a wal receive that is not connected"),
            {"# start it again:", our_command(facts, "wal receive")}};
  }
  Cause cause;
  cause.text =
      "archive_command succeeds without storing anything here: what happened since cannot be recovered";
  if (auto suspect = first_suspect(facts)) {
    cause.text += cat("; ", suspect->text);
    cause.fix = std::move(suspect->fix);
  } else {
    cause.fix = set_command(facts);
  }
  cause.fix.emplace_back("# then begin a new recoverable window:");
  cause.fix.push_back(our_command(facts, "backup"));
  return cause;
}

// By the configuration in use, with no word from our own push: it does not get as far as to note one.
bool fails_without_a_word(const DoctorFacts& facts) {
  const auto& archiver = facts.server->archiver;
  if (!archiver || archiver->failed_count == 0 ||
      archiver->last_failed_time <= archiver->last_archived_time ||
      archiver->last_failed_time < archiver->configuration_read)
    return false;
  return !facts.push_failure ||
         std::abs(archiver->last_failed_time.seconds_since(facts.push_failure->last)) >= kSameFailure;
}

// Failed earlier, and has archived something a moment ago.
bool recovering(const DoctorFacts& facts) {
  if (!facts.server || !facts.server->archiver) return false;
  const pg::ArchiverFacts& archiver = *facts.server->archiver;
  return archiver.failed_count > 0 && archiver.last_archived_time > archiver.last_failed_time &&
         facts.now.seconds_since(archiver.last_archived_time) < kBacklogWarnAge;
}

}  // namespace

void look_at_wal_level(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  const std::string* level = setting(facts, "wal_level");
  if (level == nullptr) return skip(finding, "wal_level could not be read");
  if (*level != "minimal") return good(finding, *level);
  bad(finding, Severity::critical, "wal_level = minimal", "WAL does not hold enough to recover from",
      {alter_system("wal_level", "replica"), restart(facts)});
}

void look_at_archive_mode(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  const std::string* mode = setting(facts, "archive_mode");
  if (mode == nullptr) return skip(finding, "archive_mode could not be read");
  if (*mode != "off") {
    const auto& pending = facts.server->pending_restart;
    bool ends = std::ranges::find(pending, "archive_mode") != pending.end();
    if (!ends) return good(finding, *mode);
    return bad(finding, Severity::warning, cat(*mode, " until the next restart"),
               "the configuration says otherwise and waits for a restart", {restart(facts)});
  }
  if (facts.server->in_recovery) {
    return bad(finding, Severity::warning, "off on a standby",
               "after a promotion this server would not archive",
               {alter_system("archive_mode", "on"), restart(facts)});
  }
  if (streams_wal(facts)) return good(finding, "off, but lifeboat wal receive streams WAL");
  const auto& pending = facts.server->pending_restart;
  if (std::ranges::find(pending, "archive_mode") != pending.end()) {
    return bad(finding, Severity::critical, "off until the next restart",
               "archive_mode is set, but takes effect only when the server starts", {restart(facts)});
  }
  const auto left = std::ranges::find_if(facts.server->slots, [](const pg::SlotFacts& slot) {
    return slot.name.starts_with("lifeboat") && !slot.active && slot.type == "physical" &&
           slot.wal_status != "lost";
  });
  if (left != facts.server->slots.end())
    return bad(
        finding, Severity::critical, cat("archive_mode = off, and nobody is connected to slot ", left->name),
        "the wal receive that it is for does not run: the slot keeps WAL until it does, or the disk is full",
        {"# start it again:", our_command(facts, "wal receive", cat("--slot ", shell_quote(left->name)))});
  std::vector<std::string> turn_on = {alter_system("archive_mode", "on"),
                                      alter_system("archive_command", facts.expected_archive_command),
                                      restart(facts)};
  bool restored = facts.leftovers && facts.leftovers->archive_off;
  if (!restored) {
    return bad(finding, Severity::critical, "archive_mode = off",
               "nothing archives this server's WAL: what happens after the last backup is lost",
               std::move(turn_on));
  }
  std::vector<std::string> fix = {
      "# Does this copy replace the original for good? While the original lives, leave this as it is: two "
      "servers that",
      "# archive under one name end the recoverability of both. When the original is gone and stays gone:",
      "ALTER SYSTEM RESET max_logical_replication_workers;"};
  fix.insert(fix.end(), turn_on.begin(), turn_on.end());
  bad(finding, Severity::critical, "archive_mode = off in a restored copy that was promoted",
      "a restore turned it off so that the copy would not write into the source's archive. If the copy has "
      "taken the "
      "original's place nothing of it is archived now; if it stands beside the original all is well and it "
      "is only this "
      "check that does not know",
      std::move(fix));
}

void look_at_archive_library(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  const pg::VersionTraits* traits = pg::find_version(facts.server->major);
  if (traits != nullptr && !traits->archive_library) return good(finding, "this version has none");
  const std::string* library = setting(facts, "archive_library");
  if (library == nullptr) return skip(finding, "archive_library could not be read");
  if (library->empty()) return good(finding, "empty");
  bool exclusive = traits != nullptr && traits->archive_exclusive;
  bad(finding, Severity::critical, cat("archive_library = ", *library),
      exclusive
          ? "with archive_command set as well the archiver refuses to work; without it the library archives "
            "somewhere else"
          : "it takes the place of archive_command, which is then never run",
      {alter_system("archive_library", ""), reload()});
}

void look_at_archive_command(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  if (setting(facts, "archive_command") == nullptr) return skip(finding, "archive_command could not be read");
  const CommandFacts& command = facts.archive_command;
  const std::string* mode = setting(facts, "archive_mode");
  bool off = mode != nullptr && *mode == "off";
  if (off && streams_wal(facts)) return good(finding, "not needed: lifeboat wal receive streams WAL");
  if (command.text == facts.expected_archive_command) return good(finding, command.text);
  if (off && command.text.empty()) {
    return bad(finding, Severity::warning, "empty, and not in use while archive_mode is off",
               "it has to be set before archiving is turned on", set_command(facts));
  }
  if (command.text.empty()) {
    return bad(finding, Severity::critical, "empty",
               "the archiver does nothing and WAL piles up in pg_wal until the disk is full",
               set_command(facts));
  }
  if (!command.ours) {
    return bad(finding, Severity::critical, command.text,
               stores_nothing(command.text) ? "it says archived of every segment and stores nothing"
                                            : "it does not run lifeboat wal push",
               set_command(facts));
  }
  if (!command.refused.empty()) {
    return bad(finding, Severity::critical, command.text, cat("lifeboat refuses it: ", command.refused),
               set_command(facts));
  }
  if (!command.has_path) {
    return bad(finding, Severity::critical, command.text, "%p, the file to archive, does not stand in it",
               set_command(facts));
  }
  if (command.repo && normal_url(*command.repo) != normal_url(facts.repository.url)) {
    return bad(finding, Severity::critical, command.text,
               cat("it pushes into ", *command.repo, ", not into ", facts.repository.url),
               set_command(facts));
  }
  if (command.cluster.value_or("main") != facts.repository.cluster && command.repo) {
    return bad(finding, Severity::critical, command.text,
               cat("it pushes for cluster ", command.cluster.value_or("main"), ", not for ",
                   facts.repository.cluster),
               set_command(facts));
  }
  if (facts.repository.marker && facts.repository.marker->encrypted && command.repo &&
      command.key.kind == repo::KeySourceKind::none) {
    return bad(finding, Severity::critical, command.text,
               "the repository is encrypted, and the command names no key", set_command(facts));
  }
  if (!command.repo || !command.program.starts_with('/')) {
    return bad(
        finding, Severity::warning, command.text,
        "it relies on PATH, the environment or a configuration file, which the server's processes may see "
        "differently",
        set_command(facts));
  }
  if (command.shell) {
    return bad(finding, Severity::warning, command.text,
               "it does more than run lifeboat; the exit code that PostgreSQL sees must be that of wal push",
               set_command(facts));
  }
  if (fails_without_a_word(facts)) {
    return bad(finding, Severity::warning, command.text,
               cat("it fails each time: ", counted(facts.server->archiver->failed_count, "failure"),
                   ", the last at ", facts.server->archiver->last_failed_time.to_string(),
                   "; an option that lifeboat refuses?"),
               set_command(facts));
  }
  good(finding, command.text);
}

void look_at_archive_program(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  if (!facts.archive_command.ours) return skip(finding, "archive_command does not run lifeboat");
  if (!facts.server_user || !facts.server_user->program) {
    return skip(finding, "the program cannot be looked at from here");
  }
  const AccessFacts& program = *facts.server_user->program;
  if (program.allowed) return good(finding, program.path);
  std::vector<std::string> fix;
  if (program.exists) {
    fix = {cat(as_root(facts.person), "chmod 755 ", shell_quote(program.path),
               "   # and let others enter the directories above it")};
  } else {
    fix = {cat("# install lifeboat at ", program.path, ", or let archive_command name where it is:")};
    for (std::string& line : set_command(facts)) fix.push_back(std::move(line));
  }
  // The shell's 126 and 127 end the archiver without counting as a failure (T21), so nothing else shows it.
  bad(finding, Severity::critical, program.obstacle,
      cat(server_user(facts), " cannot run it; pg_stat_archiver does not count this as a failure"),
      std::move(fix));
}

void look_at_archive_key(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  if (!facts.archive_command.ours) return skip(finding, "archive_command does not run lifeboat");
  if (facts.archive_command.key.kind == repo::KeySourceKind::none) {
    return good(finding, "archive_command names no key");
  }
  if (!facts.server_user || !facts.server_user->key)
    return skip(finding, "the key cannot be looked at from here");
  const AccessFacts& key = *facts.server_user->key;
  if (!key.exists) {
    return bad(finding, Severity::critical, key.obstacle,
               "archive_command names a key file that is not there", set_command(facts));
  }
  if (!key.allowed) {
    return bad(finding, Severity::critical, key.obstacle, cat(server_user(facts), " cannot read it"),
               {cat(as_root(facts.person), "chown ", server_user(facts), " ", shell_quote(key.path)),
                cat(as_root(facts.person), "chmod 600 ", shell_quote(key.path), "   # and let ",
                    server_user(facts), " enter the directories above it")});
  }
  if (facts.archive_command.key.path != facts.repository.key.path &&
      facts.repository.key.kind != repo::KeySourceKind::none) {
    return bad(finding, Severity::warning, key.path,
               cat("archive_command uses another key than this command: ", facts.repository.key.path),
               {cat(as_ourselves(facts.person, server_user(facts)), shell_quote(facts.program),
                    " key check --repo ", shell_quote(facts.repository.url), " --key-file ",
                    shell_quote(key.path), "   # does it open the repository?")});
  }
  good(finding, key.path);
}

void look_at_archive_repository(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  if (!facts.archive_command.ours) return skip(finding, "archive_command does not run lifeboat");
  if (!facts.server_user || !facts.server_user->repository) {
    return skip(finding, "the repository is not a directory of this host");
  }
  const AccessFacts& directory = *facts.server_user->repository;
  if (!directory.exists) {
    return bad(finding, Severity::critical, directory.obstacle,
               "the repository is not there: moved, or not mounted",
               {"# mount it, or make it:", our_command(facts, "init")});
  }
  if (!directory.allowed) {
    const std::string& top = facts.repository.directory.empty() ? directory.path : facts.repository.directory;
    return bad(finding, Severity::critical, directory.obstacle,
               cat(server_user(facts), " may not write there"),
               {cat(as_root(facts.person), "chown -R ", server_user(facts), " ", shell_quote(top)),
                cat(as_root(facts.person), "chmod -R u+rwX ", shell_quote(top))});
  }
  if (!facts.server_user->command_repo_exists) {
    return bad(finding, Severity::critical, cat(directory.path, " holds no repository"),
               "an empty mount point, or the wrong directory",
               {"# mount it, or make it:", our_command(facts, "init")});
  }
  good(finding, directory.path);
}

void look_at_archive_timeout(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  std::string off = no_archiver(facts);
  if (!off.empty()) return skip(finding, off);
  auto seconds = number_setting(facts, "archive_timeout");
  if (!seconds) return skip(finding, "archive_timeout could not be read");
  if (streams_wal(facts)) return good(finding, "lifeboat wal receive streams WAL as it is written");
  // The default RPO is five minutes, of which pushing takes a part: 300 s would be over it (P4).
  constexpr int64_t kMost = 240;
  if (*seconds > 0 && *seconds <= kMost) return good(finding, cat(*seconds, " s"));
  bad(finding, Severity::warning, *seconds == 0 ? "0: no limit" : cat(*seconds, " s"),
      "a quiet server fills a segment slowly, and what stands in an unfinished one is lost with the host; an "
      "RPO of "
      "5 minutes needs less than that, because storing takes time too",
      {alter_system("archive_timeout", "60s"), reload()});
}

void look_at_archiver(const DoctorFacts& facts, Finding& finding) {
  if (no_server(facts, finding)) return;
  std::string off = no_archiver(facts);
  if (!off.empty()) return skip(finding, off);
  if (!facts.server->archiver) return skip(finding, "pg_stat_archiver could not be read");
  if (!facts.dropped.empty()) {
    const WalGap& gap = facts.dropped.back();
    return bad(finding, Severity::critical,
               cat("WAL was dropped up to ", gap.to.to_string(), " of timeline ", gap.timeline.value),
               gap.reason,
               {"# mend what keeps the repository away, then begin a new recoverable window:",
                our_command(facts, "backup", "")});
  }
  const pg::ArchiverFacts& archiver = *facts.server->archiver;
  bool failing = archiver.failed_count > 0 && archiver.last_failed_time > archiver.last_archived_time;
  std::string last =
      archiver.last_archived_time.valid()
          ? cat("last archived ", archiver.last_archived_wal, " at ", archiver.last_archived_time.to_string())
          : std::string("nothing archived yet");
  if (!failing) {
    // A file that looks archived but of which the repository holds another content.
    const auto& failed = facts.repository.failed_wal;
    if (failed && failed->here && failed->stored_other && !failed->stored_same) {
      return bad(
          finding, Severity::critical, cat(failed->file, " is stored with another content"),
          "two servers with one identity archived into this cluster",
          {"find the other server that archives under this identity and set archive_mode = off there"});
    }
    if (auto lost = lost_wal(facts)) {
      Cause cause = cause_of_lost_wal(facts, *lost);
      return bad(finding, lost->slot.empty() ? Severity::critical : Severity::warning, describe(*lost),
                 std::move(cause.text), std::move(cause.fix));
    }
    if (archiver.failed_count > 0) {
      last += cat("; the last of ", counted(archiver.failed_count, "failure"), ", at ",
                  archiver.last_failed_time.to_string(), ", is older than that");
    }
    return good(finding, std::move(last));
  }
  // The archiver sleeps for up to a minute after failures, so what was mended shows late.
  if (archiver.configuration_read > archiver.last_failed_time && !first_suspect(facts)) {
    return bad(
        finding, Severity::warning,
        cat("WAL segment ", archiver.last_failed_wal, " was not archived at ",
            archiver.last_failed_time.to_string(), "; ", last),
        cat("that is older than the newest configuration, read at ", archiver.configuration_read.to_string(),
            "; whether that one works shows at the archiver's next attempt, within a minute"),
        {our_command(facts, "doctor", "   # in a minute")});
  }
  Cause cause = cause_of_failing_archiver(facts, archiver.last_failed_time);
  bad(finding, Severity::critical,
      cat("WAL segment ", archiver.last_failed_wal,
          " was not archived: ", counted(archiver.failed_count, "failure"), ", the last at ",
          archiver.last_failed_time.to_string(), "; ", last),
      std::move(cause.text), std::move(cause.fix));
}

void look_at_backlog(const DoctorFacts& facts, Finding& finding) {
  if (!facts.backlog) return skip(finding, "pg_wal/archive_status is not on this host");
  const BacklogFacts& backlog = *facts.backlog;
  if (backlog.ready == 0) return good(finding, "none");
  double age = facts.now.seconds_since(backlog.oldest);
  std::string found = cat(counted(backlog.ready, "file"), ", ", backlog.oldest_name, " since ",
                          format_seconds(std::max(age, 0.0)));
  if (age < kBacklogWarnAge) return good(finding, std::move(found));
  Finding archiver;
  if (facts.server) look_at_archiver(facts, archiver);
  bool known = archiver.severity == Severity::critical || archiver.severity == Severity::warning;
  if (!known && recovering(facts)) {
    const pg::ArchiverFacts& now = *facts.server->archiver;
    return bad(finding, Severity::warning, std::move(found),
               cat("the archiver works again: its last failure, at ", now.last_failed_time.to_string(),
                   ", is older than its newest success, at ", now.last_archived_time.to_string(),
                   ", and what waits is being archived"),
               {our_command(facts, "doctor", "   # in a minute")});
  }
  Cause cause;
  if (known) {
    cause = {archiver.cause, archiver.fix};
  } else if (facts.server && facts.server->archiver) {
    cause = cause_of_failing_archiver(facts, facts.now);
  } else {
    cause = {"the archiver does not keep up, or does not run", {"see the server's log"}};
  }
  bool critical = age >= kBacklogCriticalAge && archiver.severity != Severity::warning;
  bad(finding, critical ? Severity::critical : Severity::warning, std::move(found), std::move(cause.text),
      std::move(cause.fix));
}

}  // namespace lifeboat::ops::doctor
