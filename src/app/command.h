// The one table of commands. Parser, help, man pages, shell completion and JSON schemas are all made from it,
// so they cannot disagree; docs/contributing.md says how a command is added (one file below cli/, one line in
// commands.cc).
//
// Everything here is constant data: nothing registers itself and nothing is computed at start-up, because
// `wal push` runs once per WAL segment and its cold start counts.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "util/result.h"

namespace lifeboat::app {

class Invocation;

// What a command may do to data; front doors ask for approval by it.
enum class Danger : uint8_t {
  read,         // changes nothing
  write,        // adds: objects in a repository, a new directory
  destructive,  // deletes or replaces what was there
};

// What a value means. It is checked when the command line, the environment or the configuration file is read,
// by check_value() in values.h, before anything else happens.
enum class ValueKind : uint8_t {
  flag,        // no value; in the environment and the file: true/false, yes/no, on/off, 1/0
  text,        // anything but nothing
  integer,     // min … max
  bytes,       // 512kB, 64MB, 1GB, 2TB (powers of 1024, as in postgresql.conf); a plain number is bytes
  duration,    // 500ms, 90s, 5min, 2h, 7d; a plain number is seconds
  choice,      // one of `choices`
  path,        // made absolute against the working directory
  repository,  // URL, or a directory (made a file:// URL), or the NAME of a [repo.NAME] section
  conninfo,    // libpq connection string or URI; one with a password in it is refused
  cluster,     // check_cluster_name()
  backup,      // a backup id, or "latest"
  time,        // parse_time(): always with a zone
  lsn,         // 16/B374D848
  xid,         // transaction id
  timeline,    // latest, current, or a number
  mapping,     // OLD=NEW, two directories
};

// The section of the configuration file that may set an option, under the option's own name.
enum class ConfigSection : uint8_t { none, cluster, repo };

struct Option {
  std::string_view name;  // without the dashes: "target-time"
  ValueKind kind = ValueKind::flag;
  std::string_view placeholder = {};   // "DIR"; empty for a flag
  std::string_view help;               // one sentence, without full stop
  std::string_view default_text = {};  // as a user would write it; empty: no default
  std::string_view bare = {};          // value of the option where it stands alone; empty: it needs one
  std::string_view choices = {};       // of ValueKind::choice: "fast|spread"
  int64_t min = INT64_MIN;  // of ValueKind::integer and, in bytes or microseconds, bytes and duration
  int64_t max = INT64_MAX;
  bool repeatable = false;  // may be given several times; not settable by environment
  bool required = false;
  std::string_view excludes = {};  // "replace|exclusive": options that cannot stand beside this one
  ConfigSection section = ConfigSection::none;
};

// Options that belong together: a heading in the help. Shared groups are in options.h.
struct OptionGroup {
  std::string_view title;
  std::span<const Option> options;
};

struct Positional {
  std::string_view name;  // "PATH"
  ValueKind kind = ValueKind::text;
  std::string_view help;
  std::string_view choices = {};
  bool required = true;
  bool repeatable = false;  // only the last one
};

// How a failure becomes an exit code (docs/errors.md).
enum class ExitRule : uint8_t {
  standard,  // the error kind's code
  wal_push,  // the same, and nothing above 125 whatever happens: PostgreSQL's archiver treats that as a crash
             // (T21)
  wal_get,   // every error 255; the handler returns 1 for certain absence; with --standby never above 125
             // (T29)
};

// Which user the command runs as when root starts it.
enum class RunAs : uint8_t {
  caller,      // needs no files: version, help
  data_owner,  // privileges.h: becomes the owner of the data directory or repository first
};

struct Command;
// Parse is done, privileges are dropped, signals are caught. The value is the exit code; a handler that has a
// result to show hands it to invocation.output() first.
using Handler = Result<int> (*)(const Invocation& invocation);

struct Command {
  std::string_view path;         // "wal push"
  std::string_view summary;      // one line, lower-case, no full stop
  std::string_view description;  // paragraphs separated by an empty line
  Danger danger = Danger::read;
  ExitRule exit_rule = ExitRule::standard;
  RunAs run_as = RunAs::data_owner;
  std::span<const Positional> positionals = {};
  std::array<const OptionGroup*, 9> groups = {};  // ends at the first null
  // The option that names a directory which this command creates ("repo" of init, "to" of restore). Started
  // as root, the directory is made for the owner when the owner could not make it.
  std::string_view creates = {};
  // The flag with which this command makes the file that --config names: it need not be there then.
  std::string_view makes_config = {};
  // The command mounts: over the directory that is its last positional, or one of its own. Started as root it
  // gets a child that stays root for that (ops/mount/mounter.h).
  bool mounts = false;
  std::string_view examples = {};    // lines "# what it does" and "lifeboat …"
  std::string_view exit_notes = {};  // what this command's exit codes mean beyond docs/errors.md
  // The JSON document of --output json: a JSON schema (draft 2020-12) of type object, without $id, title and
  // the "schema" member, which are added. Raise the version when a member changes its meaning or goes away.
  int schema_version = 1;
  std::string_view schema;
  bool hidden = false;  // not in help, man page or completion
  bool hooks = false;   // the configuration may name commands to run before and after it (docs/hooks.md)
  Handler handler = nullptr;
};

using CommandTable = std::span<const Command* const>;
// All commands in the order of the help.
CommandTable commands();
// The command that `path` names exactly, or null.
const Command* find_command(std::string_view path, CommandTable table = commands());
// The option of that name that `command` accepts, or null.
const Option* find_option(const Command& command, std::string_view name);
// Calls `each(const OptionGroup&)` for every group of the command.
template <typename F>
void for_each_group(const Command& command, F each) {
  for (const OptionGroup* group : command.groups) {
    if (group == nullptr) return;
    each(*group);
  }
}
template <typename F>
void for_each_option(const Command& command, F each) {
  for_each_group(command, [&](const OptionGroup& group) {
    for (const Option& option : group.options) each(option);
  });
}

}  // namespace lifeboat::app
