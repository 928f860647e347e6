// How each signal reads its facts, and the few words with which a reading is filled in. Internal to this
// folder.
#pragma once

#include <string>

#include "ready/signals/facts.h"
#include "ready/signals/signal.h"

namespace lifeboat::ready {

// --- filling in
void unknown(Reading& reading, std::string why);
void not_applicable(Reading& reading, std::string why);
// The verdict follows from the thresholds.
void measured(Reading& reading, double value, std::string found);
// At least as bad as this; the reason is added to what was found.
void raise_to(Reading& reading, Verdict verdict, std::string_view reason);
// The worst part decides; `found` is added to what that part says.
void from_parts(Reading& reading, std::string_view found);

// False, and the reading is unknown, when the repository's catalogue was not read.
bool needs_catalogue(const SignalFacts& facts, Reading& reading);
// False, and the reading is unknown, when the server was not reached.
bool needs_server(const SignalFacts& facts, Reading& reading);
// Null: there is none.
const repo::Card* newest_complete(const SignalFacts& facts);

// --- backups and drills (read_backups.cc)
void read_backup_age(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_backup_failures(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_backup_success_rate(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_backup_duration(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_backup_size(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_backup_damage(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_drill_age(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_drill_result(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_job_failures(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_repository_down(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_key_custody(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);

// --- WAL and replication (read_wal.cc)
void read_wal_archive_lag(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_wal_gaps(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_archive_off(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_replication_lag(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);

// --- the server and its disks (read_server.cc)
void read_server_down(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_checksum_failures(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_storage_used(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_repository_used(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_connections(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_xid_wraparound(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_multixact_wraparound(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_table_bloat(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);
void read_index_bloat(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading);

}  // namespace lifeboat::ready
