// What Prometheus and Grafana are configured with, made from the registry and the thresholds of the
// configuration.
#pragma once

#include <string>
#include <vector>

#include "ready/signals/signal.h"

namespace lifeboat::ready {

struct ClusterRules {
  std::string cluster;
  SignalSettings settings;
  double every_seconds = 0;  // how often they are read; 0: as usual
};

// A file of alerting rules (YAML): for each signal of each cluster one rule for its warning and one for its
// critical threshold, one for what cannot be read, one for signals that are no longer read, and one for a
// daemon that is gone.
std::string prometheus_rules(const std::vector<ClusterRules>& clusters);
// "LifeboatBackupAge" of "backup_age"
std::string rule_name(const SignalInfo& signal);

// A Grafana dashboard (JSON model) with a panel for each signal.
std::string grafana_dashboard();

}  // namespace lifeboat::ready
