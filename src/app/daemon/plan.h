// What the daemon has to do, from the configuration: which clusters it serves, and their jobs.
#pragma once

#include <string>
#include <vector>

#include "app/daemon/schedule.h"
#include "app/invocation.h"
#include "ops/session.h"
#include "ops/wal/push.h"

namespace lifeboat::app {

// A process that runs as long as the daemon does.
struct Resident {
  std::string name;                // "wal receive"
  std::vector<std::string> words;  // after the program
};

struct ServedCluster {
  std::string name;
  ops::RepoLocation repo;
  bool archive = true;       // answers wal push
  ops::WalPushOptions push;  // as the configuration has them, for a library that says nothing of its own
  std::vector<Resident> residents;
  int64_t signals_us = 0;  // between two checks of its signals; 0: none
};

struct ServicePlan {
  std::vector<ServedCluster> clusters;
  std::vector<Job> jobs;
  std::string metrics;              // where metrics are offered, "127.0.0.1:9187"; empty: nowhere
  std::vector<std::string> common;  // options of every command that is started: --config FILE
};

// The clusters whose section in the configuration has `serve` or `schedule`; the one that --cluster names,
// where it was typed or none has them. Every job is parsed as it would be on the command line. Errors:
// config, with the line of what is wrong; usage.
Result<ServicePlan> plan_service(const Invocation& serve);

// --state-dir of `serve` or `schedule` as an option of every job and process that takes it and would not have
// it from the configuration: who runs them lets them write there and nowhere else.
void carry_state_directory(const Invocation& invocation, ServicePlan& plan);

}  // namespace lifeboat::app
