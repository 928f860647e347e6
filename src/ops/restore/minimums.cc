#include "ops/restore/minimums.h"

#include <algorithm>

#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMostRead = 8ull << 30;  // bytes of WAL: some seconds

void raise(RecoveryMinimums& minimums, std::string_view name, int32_t value) {
  int32_t& known = minimums[std::string(name)];
  known = std::max(known, value);
}

}  // namespace

RecoveryMinimums minimums_of(const pg::ControlFile& control) {
  return {{"max_connections", control.max_connections},
          {"max_worker_processes", control.max_worker_processes},
          {"max_wal_senders", control.max_wal_senders},
          {"max_prepared_transactions", control.max_prepared_transactions},
          {"max_locks_per_transaction", control.max_locks_per_transaction}};
}

Status raise_by_wal(const ChosenLineage& lineage, const WalPath& path, Lsn from, const Reach& reach,
                    const ScanOptions& options, RecoveryMinimums& minimums,
                    std::vector<std::string>& warnings) {
  if (reach.wal_bytes > kMostRead) {
    warnings.push_back(
        cat(format_bytes(reach.wal_bytes),
            " of WAL are not searched for raised settings; if recovery stops because max_connections or "
            "another setting is lower than on the primary, raise it in postgresql.auto.conf and start "
            "again"));
    return {};
  }
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(lineage.record.lineage.major));
  ScanOptions scan = options;
  scan.from_is_record = true;
  TRY(scan_wal(
      lineage, path, from, reach.stop,
      [&](const pg::WalRecord& record) {
        if (pg::event_of(record, *version) != pg::WalEvent::parameter_change) return ScanNext::more;
        if (auto change = pg::read_parameter_change(record)) {
          raise(minimums, "max_connections", change->max_connections);
          raise(minimums, "max_worker_processes", change->max_worker_processes);
          raise(minimums, "max_wal_senders", change->max_wal_senders);
          raise(minimums, "max_prepared_transactions", change->max_prepared_transactions);
          raise(minimums, "max_locks_per_transaction", change->max_locks_per_transaction);
        }
        return ScanNext::more;
      },
      scan));
  return {};
}

}  // namespace lifeboat::ops
