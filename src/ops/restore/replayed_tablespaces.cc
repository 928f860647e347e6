#include "ops/restore/replayed_tablespaces.h"

#include <vector>

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

Status refuse_live_tablespaces(const ChosenLineage& lineage, const WalPath& path, Lsn from,
                               const Reach& reach, const ScanOptions& options) {
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(lineage.record.lineage.major));
  std::vector<std::string> created;
  ScanOptions scan = options;
  scan.from_is_record = true;
  TRY(scan_wal(
      lineage, path, from, reach.stop,
      [&](const pg::WalRecord& record) {
        if (pg::event_of(record, *version) == pg::WalEvent::tablespace_create)
          created.push_back(location_of(record));
        return ScanNext::more;
      },
      scan));
  for (const std::string& location : created) {
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
