// Damaged blocks of a stopped server, rebuilt from a backup and WAL (SH1).
//
//   store    un-archived WAL of the directory, so that recovery reaches its last checkpoint
//   recover  a backup on a copy, cut off, exactly to that checkpoint, without promotion: no page is
//            touched that WAL does not touch (ops/scratch)
//   compare  each rebuilt page is whole and of no later position; its neighbours carry the same positions
//            here and there, which shows that both are the same state
//   write    the damaged blocks as they were, and the files with the rebuilt ones, into a directory; or,
//            asked for, the blocks into the data directory
//
// The data directory is not touched but by the last step, and there nothing but these blocks. A rebuilt page
// may lack hint bits, which a server sets without WAL and sets again, and has zeros between its lower and
// upper end, as every page that was replayed from an image.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/heal/blocks.h"
#include "ops/scratch/scratch.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class PatchPlace : uint8_t {
  beside,    // whole files, with rebuilt blocks, in the directory
  in_place,  // the blocks alone, in the data directory
};

struct RebuildRequest {
  DataDirFacts data_dir;
  std::vector<DamagedBlock> blocks;
  ScratchOptions scratch;  // lineage, target and timeline are set here
  std::string to;          // absolute; absent or empty
  PatchPlace place = PatchPlace::beside;
};

struct RebuiltBlock {
  DamagedBlock damaged;
  Lsn lsn;                       // of the rebuilt page
  uint32_t different_bytes = 0;  // from the damaged one
  uint32_t neighbours = 0;       // that were compared
  std::string problem;           // why it is not written; "": it was
};

struct RebuildOutcome {
  BackupId backup;
  Lsn position;  // the server's last checkpoint, to which the copy was recovered
  ScratchMedium medium = ScratchMedium::copy;
  std::vector<RebuiltBlock> blocks;
  std::vector<std::string>
      files;  // that were written: patched files, or with in_place those of the data directory
  std::vector<std::string> kept;  // blocks as they were
  std::vector<std::string> stored_wal;
  std::vector<std::string> notes;
};

// May blocks of this directory be rebuilt? precondition when a server runs there or it was not stopped
// cleanly: then its files are no single state.
Status check_stopped(const DataDirFacts& data_dir);

// Errors: precondition, foreign, unreachable (WAL is missing), those of restoring. A block that cannot be
// rebuilt is a value with its problem.
Result<RebuildOutcome> rebuild_blocks(RebuildRequest request, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
