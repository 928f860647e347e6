// The daemon's jobs for those who do not run the daemon: unit files of systemd, or a crontab (SC1).
//
// Pure: a plan in, text out. What holds for both: times are UTC; jobs of one cluster run one at a time, since
// each takes the cluster's lock file with flock(1) first, but for those that are `beside`; a job that still
// runs is not started a second time. systemd makes up for what was missed by one run (Persistent=), cron does
// not.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/daemon/plan.h"

namespace lifeboat::app {

struct UnitSettings {
  std::string program;  // lifeboat itself, absolute
  std::string user;     // whom the jobs run as
  std::string state_directory;
  // By cluster: the directories that its jobs may write, absolute.
  std::map<std::string, std::vector<std::string>> writable;
  // By cluster: how its server is reached, where the configuration does not say so in full.
  std::map<std::string, std::string> conninfo = {};
};

struct UnitFile {
  std::string name;  // "lifeboat-main-backup.timer"
  std::string text;
};

// A service and a timer for each job, and a service for each process that runs all the time. In the order of
// the plan.
std::vector<UnitFile> systemd_units(const ServicePlan& plan, const UnitSettings& settings);

// A crontab of the user (crontab(5), without a column for the user): one line a job.
std::string crontab(const ServicePlan& plan, const UnitSettings& settings);

}  // namespace lifeboat::app
