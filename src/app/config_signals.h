// The parts of the configuration file that are about signals, alerts and healing: [cluster.NAME.signals.ID],
// [cluster.NAME.heal], [alert.NAME] and [serve]. config.cc turns TOML into entries; here they get their
// meaning.
#pragma once

#include <string>
#include <vector>

#include "ready/alerts/receiver.h"
#include "ready/heal/heal.h"
#include "ready/signals/signal.h"
#include "util/result.h"

namespace lifeboat::app {

// A key with a text, number or boolean as its text, or a list of them.
struct ConfigEntry {
  std::string key;
  std::vector<std::string> values;
  bool list = false;
  int line = 0;
};
struct ConfigSectionEntries {
  std::string path;     // of the file
  std::string section;  // "alert.office"
  int line = 0;
  std::vector<ConfigEntry> entries;
};

// [serve]
struct ConfigServe {
  std::string metrics;  // "127.0.0.1:9187"; empty: no endpoint
  int line = 0;         // 0: there is no such section
};

// [cluster.NAME.heal]
struct ConfigHeal {
  ready::HealPolicy policy;  // without the URL of rotate-to
  std::string rotate_to;     // a URL, or the NAME of a [repo.NAME] section
  int line = 0;              // 0: there is no such section
};

// Errors: config, with file and line.
Result<ready::SignalOverride> read_signal_override(const ready::SignalInfo& signal,
                                                   const ConfigSectionEntries& section);
Result<ready::Receiver> read_receiver(const std::string& name, const ConfigSectionEntries& section);
Result<ConfigHeal> read_heal(const ConfigSectionEntries& section);
Result<ConfigServe> read_serve(const ConfigSectionEntries& section);

}  // namespace lifeboat::app
