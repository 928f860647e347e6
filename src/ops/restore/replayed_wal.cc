#include "ops/restore/replayed_wal.h"

#include <algorithm>

#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// xl_tblspc_create_rec (src/include/commands/tablespace.h, the same in 13 to 18): oid, then the location,
// ended by a zero byte; empty for one in place.
constexpr size_t kLocationOffset = 4;

std::string location_of(const pg::WalRecord& record) {
  if (record.main_data.size() <= kLocationOffset) return "";
  std::string_view text = as_text(record.main_data.subspan(kLocationOffset));
  return std::string(text.substr(0, text.find('\0')));
}

}  // namespace

RecoveryMinimums minimums_of(const pg::ControlFile& control) {
  return {{"max_connections", control.max_connections},
          {"max_worker_processes", control.max_worker_processes},
          {"max_wal_senders", control.max_wal_senders},
          {"max_prepared_transactions", control.max_prepared_transactions},
          {"max_locks_per_transaction", control.max_locks_per_transaction}};
}

void raise(RecoveryMinimums& minimums, const RecoveryMinimums& by) {
  for (const auto& [name, value] : by) {
    int32_t& known = minimums[name];
    known = std::max(known, value);
  }
}

Result<ReplayedWal> read_replayed_wal(const ChosenLineage& lineage, const RecoveryTarget& asked,
                                      const WalPath& path, Lsn from, Lsn to, const ScanOptions& options,
                                      const ReplayedSoFar& each_segment) {
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(lineage.record.lineage.major));
  ReplayedWal replayed;
  auto ends_recovery = [&](const pg::WalRecord& record) {
    if (asked.kind != pg::TargetKind::time) return false;
    auto end = pg::read_transaction_end(record, *version);
    return end && (asked.inclusive ? end->time > asked.time : end->time >= asked.time);
  };
  const uint64_t bytes = path.segment_size.bytes;
  uint64_t segment = from.value / bytes;
  Status heard;
  TRY_ASSIGN(ScanResult scanned,
             scan_wal(
                 lineage, path, from, to,
                 [&](const pg::WalRecord& record) {
                   if (each_segment && record.lsn.value / bytes != segment) {
                     segment = record.lsn.value / bytes;
                     heard = each_segment(Lsn{segment * bytes}, replayed);
                     if (!heard) return ScanNext::stop;
                   }
                   switch (pg::event_of(record, *version)) {
                     case pg::WalEvent::commit:
                     case pg::WalEvent::abort:
                       replayed.stops_earlier = ends_recovery(record);
                       break;
                     case pg::WalEvent::tablespace_create:
                       replayed.tablespaces.push_back(location_of(record));
                       break;
                     case pg::WalEvent::parameter_change:
                       if (auto change = pg::read_parameter_change(record)) {
                         raise(replayed.minimums,
                               {{"max_connections", change->max_connections},
                                {"max_worker_processes", change->max_worker_processes},
                                {"max_wal_senders", change->max_wal_senders},
                                {"max_prepared_transactions", change->max_prepared_transactions},
                                {"max_locks_per_transaction", change->max_locks_per_transaction}});
                       }
                       break;
                     default:
                       break;
                   }
                   return replayed.stops_earlier ? ScanNext::stop : ScanNext::more;
                 },
                 options));
  TRY(heard);
  if (scanned.damage) {
    return make_error(ErrorKind::unreachable, cat("recovery target ", asked.to_string()),
                      cat("WAL is damaged at ", scanned.damage->lsn.to_string(), ": ", scanned.damage->text))
        .with_hint("recovery cannot go past that position; a target before it can be reached");
  }
  return replayed;
}

Status refuse_live_tablespaces(const ReplayedWal& replayed) {
  for (const std::string& location : replayed.tablespaces) {
    if (!location.starts_with('/')) continue;
    auto content = list_dir(location);
    bool absent = !content && content.error().kind == ErrorKind::not_found;
    if (absent || (content && content->empty())) continue;
    return make_error(ErrorKind::precondition, location,
                      "WAL after this backup creates a tablespace here, and there is something in it: "
                      "recovery would write into it")
        .with_hint(
            "take a new backup, which knows the tablespace, or recover to a moment before it was created, or "
            "on another host");
  }
  return {};
}

}  // namespace lifeboat::ops
