// One call of one command, fully resolved: options over LIFEBOAT_* over file over defaults. What a handler
// gets.
//
// Accessors CHECK that the command's entry in the table has the option, so a misspelt name fails in the first
// test. Each notes that it was asked: an option that was typed but that the handler never looked at is
// reported by a warning at the end (nothing is ignored silently). Thread rule: the main thread reads options;
// output(), stop() and progress() are for any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/command.h"
#include "app/config.h"
#include "app/parse.h"
#include "model/lsn.h"
#include "model/timestamp.h"
#include "ops/mount/mounter.h"
#include "util/clock.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::app {

class Output;

enum class Source : uint8_t { none, default_text, file, environment, command_line };

// Where the repository key comes from. Contents are read by the repository layer, never here.
struct KeySource {
  enum class Kind : uint8_t { none, key_file, passphrase_file };
  Kind kind = Kind::none;
  std::string path;  // absolute
};

class Invocation {
 public:
  // `environment` is environ(7)'s "NAME=value" list. Reads the configuration file that --config,
  // LIFEBOAT_CONFIG or the default path names. Errors: usage (a required option is missing, a bad environment
  // value), config.
  static Result<Invocation> resolve(CommandLine line, const std::vector<std::string_view>& environment,
                                    std::string working_directory, Output& output, StopToken& stop,
                                    Clock& clock = Clock::system());

  const Command& command() const { return *line_.command; }

  // --- any option, by the name in the table
  // ------------------------------------------------------------------
  bool flag(std::string_view name) const;
  bool has(std::string_view name) const;  // given anywhere, or has a default
  Source source(std::string_view name) const;
  std::optional<std::string> text(std::string_view name) const;  // in normal form, whatever its kind
  std::vector<std::string> list(std::string_view name) const;    // of a repeatable option, in the order given
  // Of ValueKind::mapping, OLD and NEW.
  std::vector<std::pair<std::string, std::string>> mappings(std::string_view name) const;
  std::optional<int64_t> integer(std::string_view name) const;
  std::optional<uint64_t> bytes(std::string_view name) const;
  std::optional<int64_t> duration_us(std::string_view name) const;
  std::optional<Timestamp> time(std::string_view name) const;
  std::optional<Lsn> lsn(std::string_view name) const;
  // The value of a `choice`, `text`, … that has a default or is required: CHECKs that it is there.
  std::string value(std::string_view name) const;

  const std::vector<std::string>& positionals() const { return line_.positionals; }
  // The n-th positional, or "" when it was optional and left out.
  std::string positional(size_t index) const;

  // --- the common ones
  // --------------------------------------------------------------------------------------- Repository URL;
  // usage error with a hint when none was given anywhere.
  Result<std::string> repo() const;
  std::string cluster() const;   // default "main"
  std::string conninfo() const;  // --pg, else of the server that runs in pgdata(); "" = libpq's defaults
  std::optional<std::string> pgdata() const;  // --pgdata, else PGDATA
  std::optional<std::string> pg_bin() const;
  KeySource key() const;
  int jobs() const;  // at least 1; default half the cores
  bool yes() const { return flag("yes"); }

  // Asks on the terminal unless --yes; without a terminal: not_confirmed. Call it after the plan was shown.
  Status confirm(std::string_view question) const;

  const std::string& working_directory() const { return working_directory_; }
  const std::string& config_path() const { return config_.path; }  // "" = no file was read
  const Config& config() const { return config_; }
  // The section of the cluster in the file, or null: for what is no option (hooks).
  const ConfigBlock* cluster_section() const;
  bool inside_hook() const { return inside_hook_; }  // a hook of lifeboat's is calling
  Output& output() const { return *output_; }
  StopToken& stop() const { return *stop_; }
  Clock& clock() const { return *clock_; }

  // Whether this call mounts something (command.h).
  bool mounts() const;
  // For commands that mount, by whatever means this process has; kept, asked for again the same.
  ops::Mounter& mounter() const;
  // The socket of the child that stays root: when root started us, or handed on by who did.
  int mounter_socket() const { return mounter_socket_ ? mounter_socket_->get() : -1; }
  void set_mounter(Fd socket);
  // Of a command that mounts: the directory that it was given, absolute.
  std::string mount_directory() const;

  // Options given on the command line that no accessor was asked for.
  std::vector<std::string_view> unused() const;

 private:
  struct Resolved {
    const Option* option;
    Source source;
    std::vector<std::string> values;
    mutable bool used = false;
  };
  Invocation() = default;
  // Each step of resolve() adds what no earlier one has set.
  void add(const Option* option, Source source, std::string value);
  Status add_environment(const std::vector<std::string_view>& environment);
  void warn_of_misspelt_variable(std::string_view name, std::string_view option_name) const;
  Status add_file();
  bool makes_config() const;
  Result<const ConfigBlock*> choose_repo();
  void add_block(const ConfigBlock& block);
  Status settle_exclusions();
  Status check_required() const;

  const Resolved* lookup(std::string_view name) const;  // null: no value; does not count as asking
  const Resolved* find(std::string_view name) const;    // the same, and counts
  static bool off(const Resolved& resolved);            // a flag that was set to false
  std::string cluster_name() const;

  CommandLine line_;
  Config config_;
  std::vector<Resolved> resolved_;
  std::string repo_url_;
  std::string pgdata_environment_;
  bool inside_hook_ = false;
  std::string working_directory_;
  Output* output_ = nullptr;
  StopToken* stop_ = nullptr;
  Clock* clock_ = nullptr;
  std::optional<Fd> mounter_socket_;
  mutable std::unique_ptr<ops::Mounter> mounter_;
};

}  // namespace lifeboat::app
