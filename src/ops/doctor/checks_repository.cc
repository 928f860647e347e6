// Checks of what is stored: the repository, its keys, the newest backup and the WAL after it.
#include <algorithm>

#include "ops/doctor/archived.h"
#include "ops/doctor/judge.h"
#include "util/strings.h"

namespace lifeboat::ops::doctor {

namespace {
constexpr double kHour = 3600;
constexpr double kBackupWarnAge = 26 * kHour;
constexpr double kBackupCriticalAge = 8 * 24 * kHour;
}  // namespace

void look_at_repository(const DoctorFacts& facts, Finding& finding) {
  const RepositoryFacts& known = facts.repository;
  const std::optional<Error>& problem = known.problem ? known.problem : known.catalogue_problem;
  if (!problem) {
    return good(finding, cat(known.url, known.marker->encrypted ? ", encrypted" : ", not encrypted"));
  }
  std::string cause;
  std::vector<std::string> fix;
  const bool of_key = !known.key.path.empty() && problem->object.starts_with(known.key.path);
  if (of_key) {
    cause = "the key file cannot be used; without a key nothing in the repository can be read";
    fix = {"bring it back from where a copy is kept, or give another key: --key-file, --passphrase-file"};
    if (!problem->hint.empty()) fix.push_back(problem->hint);
    return bad(finding, Severity::critical, problem->to_string(), std::move(cause), std::move(fix));
  }
  switch (problem->kind) {
    case ErrorKind::not_found:
    case ErrorKind::unavailable:
      cause = known.directory.empty() ? "the store does not answer, or the repository was never made"
                                      : "the repository is not there: never made, moved, or not mounted";
      fix = {"# mount it, or bring it back; only where there never was one, make it:",
             our_command(facts, "init")};
      break;
    case ErrorKind::wrong_key:
      cause = known.key.kind == repo::KeySourceKind::none ? "no key was given"
                                                          : "the key is not this repository's";
      fix.push_back("give the --key-file or --passphrase-file that was used at init");
      break;
    case ErrorKind::permission:
      cause = "the user that runs lifeboat may not read it";
      fix.push_back("run lifeboat as the owner of the data directory");
      if (!known.directory.empty() && facts.server_user) {
        fix.push_back(cat(as_root(facts.person), "chown -R ", facts.server_user->user.name, " ",
                          shell_quote(known.directory)));
      }
      break;
    case ErrorKind::damaged:
      cause = "bytes in it do not match their checksums";
      fix.push_back(our_command(facts, "verify"));
      break;
    default:
      cause = "the store did not do what it was asked";
      if (!problem->hint.empty()) fix.push_back(problem->hint);
      break;
  }
  if (fix.empty()) fix.push_back("see that the store is up and reachable from this host");
  bad(finding, Severity::critical, problem->to_string(), std::move(cause), std::move(fix));
}

void look_at_registration(const DoctorFacts& facts, Finding& finding) {
  const RepositoryFacts& known = facts.repository;
  if (known.problem) return skip(finding, "the repository was not opened");
  auto ours = facts.lineage();
  if (!ours) return skip(finding, "neither the server nor its data directory was reached");
  if (std::ranges::find(known.lineages, *ours, &repo::LineageRecord::lineage) != known.lineages.end()) {
    return good(finding, cat("cluster ", known.cluster, ", lineage ", ours->to_string()));
  }
  if (known.lineages.empty()) {
    return bad(
        finding, Severity::critical, cat("cluster ", known.cluster, " is not registered in ", known.url),
        "backup and wal push refuse a cluster that init has not registered", {our_command(facts, "init")});
  }
  bad(finding, Severity::critical,
      cat("cluster ", known.cluster, " is registered with ", known.lineages.back().lineage.to_string(),
          ", this server is ", ours->to_string()),
      "this is another cluster under the same name, or the same one after pg_upgrade or a new initdb",
      {cat(our_command(facts, "init", "--new-lineage"), "   # after pg_upgrade or a new initdb"),
       "or give this cluster a name of its own with --cluster"});
}

void look_at_key_slots(const DoctorFacts& facts, Finding& finding) {
  const RepositoryFacts& known = facts.repository;
  if (!known.marker) return skip(finding, "the repository was not opened");
  if (!known.marker->encrypted) return good(finding, "the repository is not encrypted");
  if (known.key_slots.size() > 1) return good(finding, cat(known.key_slots.size(), " key slots"));
  bad(finding, Severity::warning, cat(known.key_slots.size(), " key slot"),
      "whoever loses that one key loses every backup; it should not live on the database's host alone",
      {our_command(facts, "key add", "--new-passphrase-file /path/to/escrow-passphrase"),
       cat("keep a copy of ", known.key.path.empty() ? "the key" : known.key.path, " away from this host")});
}

void look_at_same_device(const DoctorFacts& facts, Finding& finding) {
  if (facts.repository.directory.empty())
    return good(finding, "the repository is not a directory of this host");
  if (!facts.repository_disk) return skip(finding, "the repository is not there");
  if (!facts.data_disk) return skip(finding, "the data directory is not on this host");
  if (facts.repository_disk->device != facts.data_disk->device) return good(finding, "another file system");
  bad(finding, Severity::warning,
      cat(facts.repository.directory, " and ", facts.data_disk->path, " are on one file system"),
      "the disk that takes the database takes the backups with it",
      {"put the repository on a file system of another host, or keep a copy of it there"});
}

void look_at_newest_backup(const DoctorFacts& facts, Finding& finding) {
  const RepositoryFacts& known = facts.repository;
  if (known.problem || known.catalogue_problem) return skip(finding, "the repository was not read");
  if (known.backups.empty()) {
    auto ours = facts.lineage();
    // Without a server the newest lineage is looked at, as the facts were gathered.
    if (!ours && !known.lineages.empty()) ours = known.lineages.back().lineage;
    auto record =
        std::ranges::find_if(known.lineages, [&](const auto& one) { return ours && one.lineage == *ours; });
    if (record == known.lineages.end()) return skip(finding, "the cluster is not registered");
    bool fresh = facts.now.seconds_since(record->registered) < kBackupWarnAge;
    return bad(finding, fresh ? Severity::warning : Severity::critical, "there is no backup yet",
               "nothing can be recovered without one", {our_command(facts, "backup")});
  }
  auto newest = std::find_if(known.backups.rbegin(), known.backups.rend(), [](const repo::Card& card) {
    return card.state == repo::BackupState::complete;
  });
  if (newest == known.backups.rend()) {
    return bad(
        finding, Severity::critical,
        known.backups.size() == 1 ? std::string("the only backup is marked damaged")
                                  : cat("all ", known.backups.size(), " backups are marked damaged"),
        "pages of the database were broken when they were taken",
        {our_command(facts, "show", "latest   # names the broken pages"), our_command(facts, "backup")});
  }
  double age = facts.now.seconds_since(newest->stopped);
  std::string found = cat(newest->id.text, ", ", format_seconds(age), " old");
  if (auto problem = known_damage(known.proofs, newest->id))
    return bad(finding, Severity::critical, cat(found, ", failed its last check: ", *problem),
               "what it needs was damaged or removed in the repository, or what came back was wrong",
               {our_command(facts, "verify"), our_command(facts, "backup", "--type full")});
  if (age >= kBackupWarnAge) {
    return bad(finding, age >= kBackupCriticalAge ? Severity::critical : Severity::warning, std::move(found),
               "the schedule does not run, or its backups fail", {our_command(facts, "backup")});
  }
  if (&*newest != &known.backups.back()) {
    return bad(finding, Severity::warning,
               cat(found, "; ", known.backups.back().id.text, " is newer and marked damaged"),
               "pages of the database are broken",
               {our_command(facts, "show", known.backups.back().id.text)});
  }
  good(finding, std::move(found));
}

void look_at_continuity(const DoctorFacts& facts, Finding& finding) {
  const RepositoryFacts& known = facts.repository;
  if (known.problem || known.catalogue_problem) return skip(finding, "the repository was not read");
  if (!known.continuity) return skip(finding, "there is no complete backup yet");
  const ContinuityFacts& wal = *known.continuity;
  std::string take_new = our_command(facts, "backup", "--type full");
  if (wal.conflict) {
    return bad(
        finding, Severity::critical,
        cat("segment ", wal.conflict->to_string(), " is stored with two contents; recovery ends before it"),
        "two servers with one identity archived into this cluster (split brain, or a copy that kept "
        "archiving)",
        {"stop the server that must not archive, or give it archive_mode = off", take_new});
  }
  if (wal.missing) {
    return bad(finding, Severity::critical,
               cat("segment ", wal.missing->to_string(), " is missing after backup ", wal.backup.text,
                   "; recovery ends at ", wal.end.to_string()),
               "WAL was removed or reset before it was archived, or archiving was off for a while",
               {cat("# if ", wal.missing->to_string(), " is still in pg_wal of the data directory, there:"),
                our_command(facts, "wal push", cat("pg_wal/", wal.missing->to_string())),
                "# else begin anew:", take_new});
  }
  if (wal.left_behind)
    return bad(finding, wal.left_behind == wal.backup ? Severity::critical : Severity::warning,
               cat("backup ", wal.left_behind->text, ", the newest, is not in the history of timeline ",
                   facts.server ? facts.server->current_timeline.value : wal.timeline.value,
                   wal.left_behind == wal.backup ? ", and neither is any other"
                                                 : cat("; recovery begins with ", wal.backup.text)),
               "the server was rolled back to before it, or failed over without it", {take_new});
  if (const std::vector<ProvenLoss> losses = known_losses(known); !losses.empty())
    return bad(finding, Severity::warning, describe(losses.back()),
               "WAL before the newest backup was removed from the repository, never came, or came twice",
               {our_command(facts, "wal status", "  # names every hole"),
                "# where a copy of it is, store it (wal push); else it is told until the backups before it "
                "are expired"});
  good(finding, cat("from backup ", wal.backup.text, " to ", wal.end.to_string(), " on timeline ",
                    wal.timeline.value));
}

}  // namespace lifeboat::ops::doctor
