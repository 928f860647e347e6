// Everything that signals are made of, gathered once: what `doctor` looks at, the queries of signals, and
// what the caller knows of scheduled jobs. evaluate() (signal.h) is pure over it.
#pragma once

#include <string>
#include <vector>

#include "ops/doctor/doctor.h"
#include "ready/signals/server_queries.h"
#include "ready/signals/signal.h"

namespace lifeboat::ready {

// A job of the daemon, as it remembers it.
struct JobFacts {
  std::string name;       // "backup"
  std::string command;    // "backup --type incr"
  uint64_t failures = 0;  // in a row
  std::string error;      // of the last one
  Timestamp started;      // of the last run; unset: it never ran
};

// A file system that holds something of the cluster.
struct FileSystemFacts {
  ops::DiskFacts disk;
  std::vector<std::string> holds;  // "data directory", "pg_wal", "tablespace fast"
};

struct SignalFacts {
  std::string cluster;
  Timestamp now;
  ops::DoctorFacts doctor;
  ops::Findings findings;  // of doctor's checks over the same facts
  ServerReadings server;
  std::vector<FileSystemFacts> file_systems;
  bool nobody_runs = false;  // the data directory is here, and no server runs in it
  std::vector<JobFacts> jobs;
  std::string jobs_problem;  // why they are not known; "": they are

  ServerRole role() const;
};

struct SignalRequest {
  ops::DoctorRequest doctor;
  std::vector<JobFacts> jobs;
  std::string jobs_problem;
  bool bloat = true;  // one query per database
};

// Errors: only when it was stopped. Whatever cannot be had is said where it is missing.
Result<SignalFacts> gather_signals(const SignalRequest& request);

}  // namespace lifeboat::ready
