#include "app/invocation.h"

#include <fcntl.h>

#include <sched.h>

#include <algorithm>

#include "app/help.h"
#include "app/hooks.h"
#include "app/options.h"
#include "app/output.h"
#include "app/terminal.h"
#include "app/values.h"
#include "pg/server/running_conninfo.h"
#include "util/check.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr std::string_view kEnvironmentPrefix = "LIFEBOAT_";

bool is_general(const Option& option) {
  return std::ranges::any_of(kGeneralOptions.options,
                             [&](const Option& general) { return general.name == option.name; });
}

std::string option_name_of(std::string_view environment_name) {
  std::string name = to_lower(environment_name.substr(kEnvironmentPrefix.size()));
  std::ranges::replace(name, '_', '-');
  return name;
}

// Half the processors that this process may use.
int default_jobs() {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  int count = sched_getaffinity(0, sizeof processors, &processors) == 0 ? CPU_COUNT(&processors) : 2;
  return std::max(1, count / 2);
}

}  // namespace

Result<Invocation> Invocation::resolve(CommandLine line, const std::vector<std::string_view>& environment,
                                       std::string working_directory, Output& output, StopToken& stop,
                                       Clock& clock) {
  Invocation invocation;
  invocation.line_ = std::move(line);
  invocation.working_directory_ = std::move(working_directory);
  invocation.output_ = &output;
  invocation.stop_ = &stop;
  invocation.clock_ = &clock;
  for (GivenOption& given : invocation.line_.options) {
    invocation.add(given.option, Source::command_line, std::move(given.value));
  }
  TRY(invocation.add_environment(environment));
  TRY(invocation.add_file());
  TRY(invocation.settle_exclusions());
  TRY(invocation.check_required());
  return invocation;
}

void Invocation::add(const Option* option, Source source, std::string value) {
  for (Resolved& resolved : resolved_) {
    if (resolved.option->name != option->name) continue;
    if (resolved.source == source) resolved.values.push_back(std::move(value));
    return;  // a source of higher rank came first
  }
  resolved_.push_back({option, source, {}});
  resolved_.back().values.push_back(std::move(value));
}

Status Invocation::add_environment(const std::vector<std::string_view>& environment) {
  for (std::string_view entry : environment) {
    size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    std::string_view name = entry.substr(0, equals);
    std::string_view value = entry.substr(equals + 1);
    if (value.empty()) continue;  // as libpq does with its own variables
    if (name == "PGDATA") {
      pgdata_environment_ = value;
      continue;
    }
    if (!name.starts_with(kEnvironmentPrefix)) continue;
    if (name.starts_with(kHookVariable)) {
      inside_hook_ = true;
      continue;
    }
    std::string option_name = option_name_of(name);
    const Option* option = find_option(command(), option_name);
    if (option == nullptr) {
      warn_of_misspelt_variable(name, option_name);
      continue;
    }
    if (environment_name(*option) != name) continue;
    auto checked = check_value(*option, value, working_directory_);
    if (!checked) {
      Error error = std::move(checked).error();
      error.object = name;
      return error;
    }
    add(option, Source::environment, std::move(checked).value());
  }
  return {};
}

// Other commands' variables are fine; one that no command knows but that is nearly one is a slip.
void Invocation::warn_of_misspelt_variable(std::string_view name, std::string_view option_name) const {
  std::vector<std::string_view> names;
  for (const Command* command : commands()) {
    if (find_option(*command, option_name) != nullptr) return;
    for_each_option(*command, [&](const Option& option) { names.push_back(option.name); });
  }
  auto near = nearest(option_name, names);
  if (near.empty()) return;
  output_->note(LogLevel::warning, cat("environment: ", name, " means nothing; did you mean ",
                                       environment_name({.name = near, .help = {}}), "?"));
}

Status Invocation::add_file() {
  if (find_option(command(), "config") == nullptr) return {};
  const Resolved* given = find("config");
  std::string path = given != nullptr ? given->values.front() : std::string(kDefaultConfigPath);
  auto config = read_config(path);
  if (config) {
    config_ = std::move(config).value();
  } else if (config.error().kind == ErrorKind::not_found && makes_config()) {
    output_->note(LogLevel::debug, cat("configuration file ", path, " is not there yet"));
  } else if (given != nullptr && config.error().kind == ErrorKind::not_found) {
    return make_error(ErrorKind::config, path, "there is no such configuration file");
  } else if (config.error().kind != ErrorKind::not_found) {
    return std::move(config).error();
  }
  if (find_option(command(), "repo") == nullptr) return {};

  if (const ConfigBlock* block = config_.find(ConfigSection::cluster, cluster_name())) add_block(*block);
  TRY_ASSIGN(const ConfigBlock* repo, choose_repo());
  if (repo != nullptr) add_block(*repo);
  return {};
}

bool Invocation::makes_config() const {
  if (command().makes_config.empty()) return false;
  const Resolved* flag = lookup(command().makes_config);
  return flag != nullptr && !off(*flag);
}

// Sets repo_url_; the section that describes it, or null.
Result<const ConfigBlock*> Invocation::choose_repo() {
  std::string repo;
  if (const Resolved* given = lookup("repo")) {
    repo = given->values.front();
  } else if (const ConfigBlock* block = config_.find(ConfigSection::cluster, cluster_name())) {
    repo = block->repo;
  }
  if (repo.empty()) {
    // With one repository in the file there is nothing to choose.
    const ConfigBlock* only = config_.only_repo();
    if (only != nullptr) repo_url_ = only->url;
    return only;
  }
  if (repo.find(':') != std::string::npos) {
    repo_url_ = repo;
    return config_.repo_with_url(repo);
  }
  const ConfigBlock* block = config_.find(ConfigSection::repo, repo);
  if (block == nullptr) {
    return make_error(ErrorKind::config, cat("repository ", repo),
                      config_.path.empty()
                          ? "is not a URL, and there is no configuration file that could define it"
                          : cat("has no section [repo.", repo, "] in ", config_.path))
        .with_hint("a directory is written file:///dir or ./dir");
  }
  repo_url_ = block->url;
  return block;
}

void Invocation::add_block(const ConfigBlock& block) {
  for (const ConfigValue& value : block.values) {
    // The section holds settings of several commands; this one takes its own. An option of the same name that
    // may not stand in the file stays out of reach.
    const Option* option = find_option(command(), value.option->name);
    if (option == nullptr || option->section != block.section) continue;
    for (const std::string& text : value.values) add(option, Source::file, text);
  }
}

Status Invocation::settle_exclusions() {
  for (size_t at = 0; at < resolved_.size(); ++at) {
    for (std::string_view name : split(resolved_[at].option->excludes, '|')) {
      if (name.empty()) continue;
      const Resolved* other = lookup(name);
      const Resolved* mine = &resolved_[at];
      if (other == nullptr || other->values.empty() || mine->values.empty()) continue;
      if (off(*other) || off(*mine)) continue;
      if (other->source == mine->source) {
        ErrorKind kind = mine->source == Source::file ? ErrorKind::config : ErrorKind::usage;
        return make_error(kind, cat("--", mine->option->name),
                          cat("cannot stand beside --", other->option->name));
      }
      // What stands nearer to the user wins over what was set farther away.
      auto& weaker = const_cast<Resolved&>(other->source < mine->source ? *other : *mine);
      weaker.values.clear();
    }
  }
  std::erase_if(resolved_, [](const Resolved& resolved) { return resolved.values.empty(); });
  return {};
}

bool Invocation::off(const Resolved& resolved) {
  return resolved.option->kind == ValueKind::flag && resolved.values.front() == "false";
}

Status Invocation::check_required() const {
  const Option* missing = nullptr;
  for_each_option(command(), [&](const Option& option) {
    if (option.required && missing == nullptr && lookup(option.name) == nullptr) missing = &option;
  });
  if (missing == nullptr) return {};
  return make_error(ErrorKind::usage, cat("lifeboat ", command().path),
                    cat("needs --", missing->name, " ", missing->placeholder));
}

const Invocation::Resolved* Invocation::lookup(std::string_view name) const {
  for (const Resolved& resolved : resolved_) {
    if (resolved.option->name == name) return &resolved;
  }
  return nullptr;
}

const Invocation::Resolved* Invocation::find(std::string_view name) const {
  CHECK(find_option(command(), name) != nullptr);  // misspelt, or missing in the command's table entry
  const Resolved* resolved = lookup(name);
  if (resolved != nullptr) resolved->used = true;
  return resolved;
}

std::string Invocation::cluster_name() const {
  const Resolved* given = lookup("cluster");
  return given != nullptr ? given->values.front()
                          : std::string(find_option(command(), "cluster")->default_text);
}

bool Invocation::flag(std::string_view name) const {
  const Resolved* resolved = find(name);
  return resolved != nullptr && resolved->values.front() == "true";
}

bool Invocation::has(std::string_view name) const {
  return text(name).has_value();
}

Source Invocation::source(std::string_view name) const {
  if (const Resolved* resolved = find(name)) return resolved->source;
  return find_option(command(), name)->default_text.empty() ? Source::none : Source::default_text;
}

std::optional<std::string> Invocation::text(std::string_view name) const {
  if (const Resolved* resolved = find(name)) return resolved->values.front();
  const Option& option = *find_option(command(), name);
  if (option.default_text.empty()) return std::nullopt;
  auto checked = check_value(option, option.default_text, working_directory_);
  CHECK(checked.has_value());  // defaults are our own text; the table's test checks each
  return std::move(checked).value();
}

std::vector<std::string> Invocation::list(std::string_view name) const {
  const Resolved* resolved = find(name);
  return resolved != nullptr ? resolved->values : std::vector<std::string>();
}

std::vector<std::pair<std::string, std::string>> Invocation::mappings(std::string_view name) const {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& entry : list(name)) {
    size_t equals = entry.find('=');
    pairs.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return pairs;
}

std::optional<int64_t> Invocation::integer(std::string_view name) const {
  auto value = text(name);
  return value ? parse_i64(*value) : std::nullopt;
}

std::optional<uint64_t> Invocation::bytes(std::string_view name) const {
  auto value = text(name);
  return value ? parse_bytes(*value) : std::nullopt;
}

std::optional<int64_t> Invocation::duration_us(std::string_view name) const {
  auto value = text(name);
  return value ? parse_duration(*value) : std::nullopt;
}

std::optional<Timestamp> Invocation::time(std::string_view name) const {
  auto value = text(name);
  if (!value) return std::nullopt;
  auto time = parse_time(*value);
  CHECK(time.has_value());
  return *time;
}

std::optional<Lsn> Invocation::lsn(std::string_view name) const {
  auto value = text(name);
  return value ? Lsn::parse(*value) : std::nullopt;
}

std::string Invocation::value(std::string_view name) const {
  auto value = text(name);
  CHECK(value.has_value());
  return std::move(*value);
}

std::string Invocation::positional(size_t index) const {
  return index < line_.positionals.size() ? line_.positionals[index] : std::string();
}

Result<std::string> Invocation::repo() const {
  find("repo");
  if (!repo_url_.empty()) return repo_url_;
  return make_error(ErrorKind::usage, cat("lifeboat ", command().path), "needs a repository: --repo URL")
      .with_hint(config_.path.empty()
                     ? cat("or a [repo.NAME] section with its url in ", kDefaultConfigPath)
                     : cat("or `repo` in the section [cluster.", cluster_name(), "] of ", config_.path));
}

const ConfigBlock* Invocation::cluster_section() const {
  if (find_option(command(), "cluster") == nullptr) return nullptr;
  return config_.find(ConfigSection::cluster, cluster_name());
}

std::string Invocation::cluster() const {
  return value("cluster");
}

std::string Invocation::conninfo() const {
  if (auto given = text("pg")) return *std::move(given);
  if (find_option(command(), "pgdata") == nullptr) return "";
  auto directory = pgdata();
  return directory ? pg::running_conninfo(*directory) : "";
}

std::optional<std::string> Invocation::pgdata() const {
  auto given = text("pgdata");
  if (given || pgdata_environment_.empty()) return given;
  auto checked = check_value(*find_option(command(), "pgdata"), pgdata_environment_, working_directory_);
  return checked ? std::optional(std::move(checked).value()) : std::nullopt;
}

std::optional<std::string> Invocation::pg_bin() const {
  return text("pg-bin");
}

KeySource Invocation::key() const {
  if (auto path = text("key-file")) return {KeySource::Kind::key_file, std::move(*path)};
  if (auto path = text("passphrase-file")) return {KeySource::Kind::passphrase_file, std::move(*path)};
  return {};
}

int Invocation::jobs() const {
  auto given = integer("jobs");
  return given ? static_cast<int>(*given) : default_jobs();
}

Status Invocation::confirm(std::string_view question) const {
  if (yes()) return {};
  if (!have_terminal() || output_->json()) {
    return make_error(ErrorKind::not_confirmed, cat("lifeboat ", command().path),
                      "nothing was done: not confirmed")
        .with_hint("repeat it with --yes to carry out what is printed");
  }
  output_->end_progress();
  TRY_ASSIGN(bool confirmed, ask_yes(question));
  if (confirmed) return {};
  return make_error(ErrorKind::not_confirmed, cat("lifeboat ", command().path),
                    "nothing was done: not confirmed");
}

std::vector<std::string_view> Invocation::unused() const {
  std::vector<std::string_view> names;
  for (const Resolved& resolved : resolved_) {
    if (resolved.source != Source::command_line || resolved.used || is_general(*resolved.option)) continue;
    names.push_back(resolved.option->name);
  }
  return names;
}

void Invocation::set_mounter(Fd socket) {
  mounter_socket_ = std::move(socket);
}

ops::Mounter& Invocation::mounter() const {
  if (mounter_) return *mounter_;
  int copy = mounter_socket_ ? fcntl(mounter_socket_->get(), F_DUPFD_CLOEXEC, 3) : -1;
  mounter_ = copy >= 0 ? ops::ask_root_mounter(Fd(copy)) : ops::user_mounter();
  return *mounter_;
}

bool Invocation::mounts() const {
  if (!command().mounts) return false;
  for (std::string_view without : {"full", "keep"})
    if (find_option(command(), without) != nullptr && flag(without)) return false;
  if (find_option(command(), "table") != nullptr && (!list("table").empty() || has("database"))) return true;
  return find_option(command(), "instant") == nullptr || flag("instant");
}

std::string Invocation::mount_directory() const {
  std::string path;
  if (!positionals().empty() && command().positionals.back().kind == ValueKind::path)
    path = positionals().back();
  else if (find_option(command(), "to") != nullptr)
    path = text("to").value_or("");
  if (path.empty()) return path;
  if (!path.starts_with('/')) path = join_path(working_directory_, path);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace lifeboat::app
