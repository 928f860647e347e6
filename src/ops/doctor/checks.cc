#include "ops/doctor/checks.h"

#include "ops/doctor/judge.h"
#include "ops/init/server_setup.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

using namespace doctor;

// Set-up first, then what runs, then what is stored: a later finding often follows from an earlier one.
constexpr Check kChecks[] = {
    {"server", "the server answers", true, look_at_server},
    {"data_directory", "the data directory is this server's and can be read", true, look_at_data_directory},
    {"version", "PostgreSQL's version is supported", true, look_at_version},
    {"repository", "the repository opens with the key at hand", false, look_at_repository},
    {"registration", "the cluster is registered in the repository", true, look_at_registration},
    {"role", "the role may take backups and read what doctor reads", true, look_at_role},
    {"wal_level", "wal_level lets WAL be archived", true, look_at_wal_level},
    {"archive_mode", "archiving is on", true, look_at_archive_mode},
    {"archive_library", "no archive_library stands in the way", true, look_at_archive_library},
    {"archive_command", "archive_command pushes into this repository", true, look_at_archive_command},
    {"archive_program", "the server's user can run what archive_command names", true,
     look_at_archive_program},
    {"archive_key", "the server's user can read the key that archive_command names", true,
     look_at_archive_key},
    {"archive_repository", "the server's user can write into the repository", true,
     look_at_archive_repository},
    {"archive_timeout", "WAL does not wait long in an unfinished segment", true, look_at_archive_timeout},
    {"archiver", "WAL segments are being archived", false, look_at_archiver},
    {"archive_backlog", "no WAL waits to be archived", false, look_at_backlog},
    {"durability", "fsync and full_page_writes are on", true, look_at_durability},
    {"data_checksums", "pages carry checksums", true, look_at_checksums},
    {"wal_senders", "a WAL sender is free", true, look_at_senders},
    {"slots", "no replication slot holds WAL back", true, look_at_slots},
    {"synchronous_receiver", "no commit waits for what a WAL receiver never says", true,
     look_at_synchronous_receiver},
    {"restore_leftovers", "no settings are left over from a restore", false, look_at_leftovers},
    {"disk_data", "the data directory's disk has room", true, look_at_data_disk},
    {"disk_wal", "the disk of pg_wal has room", true, look_at_wal_disk},
    {"disk_repository", "the repository's disk has room", true, look_at_repository_disk},
    {"same_device", "the repository is not on the data's own disk", true, look_at_same_device},
    {"key_slots", "a second key opens the repository", true, look_at_key_slots},
    {"newest_backup", "the newest backup is recent and whole", false, look_at_newest_backup},
    {"wal_continuity", "WAL is continuous since the newest backup", false, look_at_continuity},
};

}  // namespace

std::span<const Check> checks() {
  return kChecks;
}

Findings run_checks(const DoctorFacts& facts, CheckScope scope) {
  Findings findings;
  for (const Check& check : kChecks) {
    if (scope == CheckScope::setup && !check.setup) continue;
    Finding finding;
    finding.id = check.id;
    finding.what = check.what;
    check.look(facts, finding);
    findings.push_back(std::move(finding));
  }
  return findings;
}

namespace doctor {

const std::string* setting(const DoctorFacts& facts, const char* name) {
  if (!facts.server) return nullptr;
  auto found = facts.server->settings.find(name);
  return found == facts.server->settings.end() ? nullptr : &found->second;
}

std::optional<int64_t> number_setting(const DoctorFacts& facts, const char* name) {
  const std::string* text = setting(facts, name);
  return text == nullptr ? std::nullopt : parse_i64(*text);
}

bool no_server(const DoctorFacts& facts, Finding& finding) {
  if (facts.server) return false;
  skip(finding, "the server was not reached");
  return true;
}

std::string alter_system(std::string_view name, std::string_view value) {
  return cat("ALTER SYSTEM SET ", name, " = ", sql_literal(value), ";");
}

std::string reload() {
  return "SELECT pg_reload_conf();";
}

std::string restart(const DoctorFacts& facts) {
  return restart_command(facts);
}

}  // namespace doctor

}  // namespace lifeboat::ops
