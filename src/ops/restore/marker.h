// The file that says: a restore into this directory began and did not finish.
//
// It is written before anything else and removed after global/pg_control got its name, so PostgreSQL cannot
// start on what an aborted restore leaves (T04), and the next restore knows that it may start over. The data
// directory and each new tablespace directory have one, all with the same id. What is to replace another
// directory keeps its marker until it stands there, so that a finished one that never got there is cleared
// too. A tablespace is finished when its data directory is.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"
#include "model/timestamp.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

inline constexpr std::string_view kMarkerName = "lifeboat.restore_incomplete";
// How directories are called that wait to replace `directory`, and what was there: beside it, or inside when
// it is a mount point. The time of the restore follows.
std::string staging_beside(std::string_view directory);
std::string staging_inside(std::string_view directory);
std::string kept_beside(std::string_view directory);
std::string kept_inside(std::string_view directory);
// The name that pg_control has until everything else is durable.
inline constexpr std::string_view kControlFile = "global/pg_control";
inline constexpr std::string_view kControlFileStaged = "global/pg_control.lifeboat_restore";

struct RestoreMarker {
  std::string id;  // of this restore: random
  BackupId backup;
  Timestamp started;
  std::string replaces;  // the directory whose place this one is to take; "": none
  std::string kept_as;   // where what is there goes, or went already, when it takes that place
  std::string part_of;   // of a tablespace: the data directory that needs it; "": this is one
  // Of a directory that is brought back by block: the system identifier of what was there; "": it was new.
  // Such a one is never cleared.
  std::string overwrites;

  static RestoreMarker make(const BackupId& backup, Timestamp now);
  std::string to_text() const;
  // nullopt: not a marker of ours.
  static std::optional<RestoreMarker> parse(std::string_view text);
};

// What stands in the way of writing into a directory.
enum class DirectoryState : uint8_t {
  absent,
  empty,       // nothing, or only lost+found and temporary files of ours
  incomplete,  // our marker, and PostgreSQL cannot start there, or never did and it stands where it was to be
               // moved from
  occupied,
};
struct DirectoryLook {
  DirectoryState state = DirectoryState::absent;
  std::optional<RestoreMarker> marker;  // of an incomplete one
  std::string found;                    // one name that is in an occupied one
  // An aborted restore --delta: what was there is half of it still.
  bool overwrites() const {
    return state == DirectoryState::incomplete && marker && !marker->overwrites.empty();
  }
  bool finished = false;  // occupied by a restore that came to its end, but for its marker
};
// Errors: precondition (not a directory), busy (another restore is writing there now), permission.
Result<DirectoryLook> look_at_directory(const std::string& path);

// The returned descriptor holds a lock that says that this restore is at work; it goes with the process.
// `busy` when somebody else was faster.
Result<Fd> write_marker(const std::string& directory, const RestoreMarker& marker);
Status remove_marker(const std::string& directory);
// Removes what a crash while the marker was written left in an `empty` directory.
Status remove_temporary_files(const std::string& directory);
// Empties an `incomplete` directory, the marker last; links are removed, not followed. The
// state is looked at again first: `precondition` when it is another one now.
Status clear_incomplete(const std::string& directory);

}  // namespace lifeboat::ops
