// The configuration file: TOML with sections [cluster.NAME] and [repo.NAME], whose keys are the names of
// options that may be set there (Option::section), plus `repo` in a cluster (a repository URL or the NAME of
// a section) and `url` in a repository. A cluster may have sections [cluster.NAME.hooks] (app/hooks.h), and
// [cluster.NAME.serve] and [cluster.NAME.schedule] for the daemon (app/daemon/), and [cluster.NAME.drill]
// with programs that check what a drill brought back, [cluster.NAME.heal] with what may be healed, and
// [cluster.NAME.signals.ID]; [alert.NAME] says who is
// told of alerts, [serve] what the daemon offers (app/config_signals.h). Unknown sections, unknown keys and
// values of the wrong kind are `config` errors with the line.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "app/command.h"
#include "app/config_signals.h"
#include "util/result.h"

namespace lifeboat::app {

inline constexpr std::string_view kDefaultConfigPath = "/etc/lifeboat/lifeboat.toml";

inline constexpr int64_t kDefaultHookTimeoutUs = 300'000'000;

struct ConfigValue {
  const Option* option;
  std::vector<std::string> values;  // checked, in normal form
  int line;
};

// A command to run before or after one of ours.
struct ConfigHook {
  std::string name;               // "before-backup"
  std::vector<std::string> argv;  // the first is an absolute path
  int line;
};

// A line of [cluster.NAME.schedule].
struct ConfigJob {
  std::string name;
  std::string when;                // a cron expression, checked
  std::vector<std::string> words;  // a command and its options; not checked
  int line;
};

// [cluster.NAME.serve]
struct ConfigService {
  bool archive = true;                     // answer `wal push`
  bool receive = false;                    // run `wal receive`
  std::vector<std::string> receive_words;  // its options; not checked
  int64_t jitter_us = 0;
  std::string beacon_every;  // run `wal beacon --every` with it; empty: no
  int64_t signals_us = 0;    // how often signals are read; 0: when alerts or metrics are wanted, every minute
  int line = 0;              // 0: there is no such section
};

struct ConfigBlock {
  ConfigSection section;
  std::string name;  // NAME of [cluster.NAME]
  std::string url;   // of a repo
  std::string repo;  // of a cluster: URL or name, empty when not set
  std::vector<ConfigValue> values;
  std::vector<ConfigHook> hooks;                         // of a cluster
  int64_t hook_timeout_us = kDefaultHookTimeoutUs;       // of each of them
  ConfigService service;                                 // of a cluster
  std::vector<ConfigHook> drill_checks;                  // of a cluster: [cluster.NAME.drill]
  int64_t drill_timeout_us = kDefaultHookTimeoutUs;      // of each of them
  std::vector<ConfigJob> schedule;                       // of a cluster
  std::map<std::string, ready::SignalOverride> signals;  // of a cluster, by id
  ConfigHeal heal;                                       // of a cluster
};

struct Config {
  std::string path;  // empty: no file
  std::vector<ConfigBlock> blocks;
  std::vector<ready::Receiver> receivers;
  ConfigServe serve;
  const ConfigBlock* find(ConfigSection section, std::string_view name) const;
  const ConfigBlock* only_repo() const;  // null when the file has none or several
  const ConfigBlock* repo_with_url(std::string_view url) const;
};

// Relative paths in the file are refused: a file must mean the same wherever the command was typed.
Result<Config> parse_config(std::string_view text, std::string path);
// Reads the file. not_found when it is not there.
Result<Config> read_config(const std::string& path);

}  // namespace lifeboat::app
