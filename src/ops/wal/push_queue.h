// What happens to WAL that waits and cannot be stored (T27).
//
// The queue is pg_wal itself: a segment is there until it is durable in the repository, because nothing else
// may be called archived (T21). By itself that goes on until the disk is full and the server stops. Who would
// rather lose the way back to some moments than the server sets a limit (`wal push --queue-max`): when more
// than that waits and a segment cannot be stored, it is dropped. That is told to the server as success, which
// then removes the file; so it is written down first, durably, in the state directory on this host, and from
// there in the repository (ops/wal/gap.h) by the next push that reaches it. The hole ends recoverable windows
// and incremental backups: the next backup reads everything and begins a new window.
//
// Never dropped: history files; what failed because of how the command is called, or whose WAL it is (usage,
// precondition, foreign, conflict): that is for a person to see.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/names.h"
#include "model/wal_name.h"
#include "ops/wal/gap.h"
#include "repo/repository.h"
#include "util/result.h"

namespace lifeboat::ops {

// Segments that wait to be archived, by their .ready files.
Result<uint64_t> waiting_segments(const std::string& pg_wal);

bool may_be_dropped(const WalFileName& file, const Error& why);

// "<directory>/wal-dropped-<cluster>-<lineage>"
std::string dropped_path(const std::string& directory, const std::string& cluster, const Lineage& lineage);

// Adds a segment to what was dropped; durable when it returns. Adjoining ones become one gap. The directory
// must exist. `damaged` when the file cannot be understood: nothing is dropped then.
Status note_dropped(const std::string& directory, const std::string& cluster, const Lineage& lineage,
                    const WalGap& gap);
// Empty when nothing is noted; one stat then.
Result<std::vector<WalGap>> read_dropped(const std::string& directory, const std::string& cluster,
                                         const Lineage& lineage);
// Records what is noted in the repository and takes the note away.
Status report_dropped(const repo::LineageRepo& repo, const std::string& directory, const std::string& cluster,
                      const Lineage& lineage);

}  // namespace lifeboat::ops
