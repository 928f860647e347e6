// Settings that cut a drill's server off from production and make it fit this host.
//
// Pure: a manifest in, settings out. They go above everything else in the copy's configuration and are
// repeated on the server's command line, so nothing in the source's files can undo them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ops/restore/replayed_wal.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

using Settings = std::vector<std::pair<std::string, std::string>>;

struct IsolationInput {
  const repo::Manifest* manifest = nullptr;
  std::string hba_file;  // ours, in the drill's own directory
  std::string ident_file;
  std::vector<std::string>
      libraries;        // of shared_preload_libraries, those that this host has and that start no jobs
  uint64_t memory = 0;  // bytes that this host has at hand
  RecoveryMinimums minimums = {};  // what recovery needs, as far as it is known
  uint64_t replayed = 0;           // bytes of WAL that are replayed on a mount; 0: not on one
};
Settings isolation_settings(const IsolationInput& input);
// T32: the settings that recovery compares with those of the primary, as the copy has them.
RecoveryMinimums granted_minimums(const IsolationInput& input);

// What every session of the copy is given: values that ALTER DATABASE or ALTER ROLE ... SET stores in the
// copy rank above those of the server's command line, but not above these.
Settings session_settings(int version_num);

// Libraries of the source's shared_preload_libraries.
std::vector<std::string> preload_libraries(const repo::Manifest& manifest);
// Libraries that start workers which run jobs, talk to other hosts or write elsewhere: never loaded in a
// drill. By their name, or as $libdir/NAME, /PATH/NAME, with or without .so.
bool runs_jobs(const std::string& library);

}  // namespace lifeboat::ops
