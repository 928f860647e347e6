// backup_label, the .backup history file and tablespace_map, which the server hands out at the end of a
// backup (src/backend/access/transam/xlogbackup.c and xlogrecovery.c; xlog.c up to 14). They are stored and
// restored byte for byte (T02); these parsers only read them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/wal_name.h"
#include "pg/format/version.h"
#include "util/result.h"

namespace lifeboat::pg {

// Times stay text: the server prints them in log_timezone with a zone abbreviation, which is ambiguous.
struct BackupLabel {
  Lsn start;                  // START WAL LOCATION: where recovery begins (the redo position)
  SegmentName start_segment;  // the file it names
  Lsn checkpoint;             // CHECKPOINT LOCATION
  std::string method;         // "streamed" ("pg_start_backup" for exclusive backups before 15)
  bool from_standby = false;  // BACKUP FROM
  std::string start_time;
  std::string label;
  std::optional<Timeline> start_timeline;
  std::optional<Lsn> incremental_from;  // 17 on, of incremental backups only: such a label is not
  std::optional<Timeline> incremental_from_timeline;  // recoverable before pg_combinebackup
};
// `damaged`: a required line is missing or does not parse, or contradicts another (PostgreSQL refuses those
// too).
Result<BackupLabel> parse_backup_label(std::string_view text);

// The .backup file in the archive: the same with the end of the backup.
struct BackupHistory {
  BackupLabel label;
  Lsn stop;
  SegmentName stop_segment;
  std::string stop_time;
  std::optional<Timeline> stop_timeline;
};
Result<BackupHistory> parse_backup_history(std::string_view text);

struct TablespaceMapEntry {
  Oid oid = 0;
  std::string path;  // unescaped
  bool operator==(const TablespaceMapEntry&) const = default;
};
// `damaged`: a line without an oid and a path, or an unfinished last line. Line ends in a path are written
// with a backslash before them; backslashes themselves only from 14 on (VersionTraits::map_backslash), so in
// 13 a path that ends in a backslash swallows the next line, as it does in the server.
Result<std::vector<TablespaceMapEntry>> parse_tablespace_map(std::string_view text,
                                                             const VersionTraits& version);
// What a server of that version writes.
std::string print_tablespace_map(const std::vector<TablespaceMapEntry>& entries,
                                 const VersionTraits& version);

}  // namespace lifeboat::pg
