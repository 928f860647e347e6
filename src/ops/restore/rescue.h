// Un-archived WAL of a data directory that is about to be replaced: found, and stored in the repository (R3).
//
// What counts is what is in the files, not pg_control (the directory may be a wreck) and not archive_status
// alone: recycled segments carry the name of a future position and are told by their header, a segment that
// was being written by where its records end. The last one is stored as SEGMENT.partial, as PostgreSQL names
// the unfinished last segment of a timeline, so that it can never be mistaken for the whole segment.
#pragma once

#include <string>
#include <vector>

#include "model/wal_name.h"
#include "ops/session.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct RescueFile {
  WalFileName file;  // the name to store it under
  std::string path;  // where it is
  Lsn end;           // of a .partial: where its records end
};

struct RescuePlan {
  std::vector<RescueFile> files;   // in the order to store them: histories, segments, the partial one last
  std::vector<RescueFile> stored;  // of which the repository has a file by that name
  std::vector<std::string> notes;  // what cannot be rescued and why; none: pg_wal is as a server leaves it
};

// Looks through pg_wal of `data_directory`. Reads every segment that is not stored yet. Errors: foreign (the
// directory is another cluster's), those of the store and the file system. A missing pg_wal is a note.
Result<RescuePlan> plan_rescue(const ChosenLineage& lineage, const std::string& data_directory,
                               const StopToken& stop);

// Stores the files; returns the names of those that the repository has now. What conflicts with other content
// there is left where it is, with a note.
Result<std::vector<std::string>> carry_out_rescue(const ChosenLineage& lineage, const RescuePlan& plan,
                                                  std::vector<std::string>& notes, const StopToken& stop);

}  // namespace lifeboat::ops
