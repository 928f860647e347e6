// Small words for checks: how a finding is filled in. Internal to this folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/doctor/checks.h"

namespace lifeboat::ops::doctor {

inline void good(Finding& finding, std::string found) {
  finding.severity = Severity::ok;
  finding.found = std::move(found);
}
inline void skip(Finding& finding, std::string why) {
  finding.severity = Severity::skipped;
  finding.found = std::move(why);
}
inline void bad(Finding& finding, Severity severity, std::string found, std::string cause,
                std::vector<std::string> fix) {
  finding.severity = severity;
  finding.found = std::move(found);
  finding.cause = std::move(cause);
  finding.fix = std::move(fix);
}

// The value of a setting, or null when the server was not reached or refused it.
const std::string* setting(const DoctorFacts& facts, const char* name);
std::optional<int64_t> number_setting(const DoctorFacts& facts, const char* name);
// Fills in `skipped` and returns true when the server was not reached.
bool no_server(const DoctorFacts& facts, Finding& finding);

std::string alter_system(std::string_view name, std::string_view value);  // a statement
std::string reload();                                                     // "SELECT pg_reload_conf();"
std::string restart(const DoctorFacts& facts);                            // "# then restart: …"

// The checks, by file.
void look_at_server(const DoctorFacts& facts, Finding& finding);
void look_at_data_directory(const DoctorFacts& facts, Finding& finding);
void look_at_version(const DoctorFacts& facts, Finding& finding);
void look_at_role(const DoctorFacts& facts, Finding& finding);
void look_at_durability(const DoctorFacts& facts, Finding& finding);
void look_at_checksums(const DoctorFacts& facts, Finding& finding);
void look_at_senders(const DoctorFacts& facts, Finding& finding);
void look_at_slots(const DoctorFacts& facts, Finding& finding);
void look_at_synchronous_receiver(const DoctorFacts& facts, Finding& finding);
void look_at_leftovers(const DoctorFacts& facts, Finding& finding);
void look_at_data_disk(const DoctorFacts& facts, Finding& finding);
void look_at_wal_disk(const DoctorFacts& facts, Finding& finding);

void look_at_wal_level(const DoctorFacts& facts, Finding& finding);
void look_at_archive_mode(const DoctorFacts& facts, Finding& finding);
void look_at_archive_library(const DoctorFacts& facts, Finding& finding);
void look_at_archive_command(const DoctorFacts& facts, Finding& finding);
void look_at_archive_program(const DoctorFacts& facts, Finding& finding);
void look_at_archive_key(const DoctorFacts& facts, Finding& finding);
void look_at_archive_repository(const DoctorFacts& facts, Finding& finding);
void look_at_archive_timeout(const DoctorFacts& facts, Finding& finding);
void look_at_archiver(const DoctorFacts& facts, Finding& finding);
void look_at_backlog(const DoctorFacts& facts, Finding& finding);

void look_at_repository(const DoctorFacts& facts, Finding& finding);
void look_at_registration(const DoctorFacts& facts, Finding& finding);
void look_at_key_slots(const DoctorFacts& facts, Finding& finding);
void look_at_repository_disk(const DoctorFacts& facts, Finding& finding);
void look_at_same_device(const DoctorFacts& facts, Finding& finding);
void look_at_newest_backup(const DoctorFacts& facts, Finding& finding);
void look_at_continuity(const DoctorFacts& facts, Finding& finding);

}  // namespace lifeboat::ops::doctor
