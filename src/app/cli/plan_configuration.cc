#include "app/cli/plan_configuration.h"

#include "app/later.h"
#include "app/output.h"
#include "app/plan_apply.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using ready::Plan;

constexpr uint64_t kFileLimit = 4 << 20;

std::string toml_text(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' || c == '\\' ? cat('\\', c) : std::string(1, c);
  return quoted + "\"";
}

// Is this option to be written down, because it is not the file's own?
bool outlives(const Invocation& invocation, std::string_view name) {
  const Source source = invocation.source(name);
  return source != Source::file && source != Source::default_text;
}

// The section that the file has, or would have, for its own repository; "" where this call is about another
// one.
std::string section_of_repository(const Invocation& invocation, const ConfigBlock* cluster,
                                  const std::string& name) {
  const Config& config = invocation.config();
  const ConfigBlock* found = config.only_repo();
  std::string url = found != nullptr ? found->url : "";
  if (cluster != nullptr && !cluster->repo.empty()) {
    const bool direct = cluster->repo.find(':') != std::string::npos;
    found = direct ? config.repo_with_url(cluster->repo) : config.find(ConfigSection::repo, cluster->repo);
    url = direct ? cluster->repo : found != nullptr ? found->url : "";
  }
  auto used = invocation.repo();
  if (!used || url != *used) return "";
  return cat("repo.", found != nullptr ? found->name : name);
}

// The repository and its key, as far as the file does not have them: what it says of its repositories stays.
void add_repository(const Invocation& invocation, const Plan& plan, const ready::ConfigLine& planned,
                    std::vector<ready::ConfigLine>& lines) {
  const Config& config = invocation.config();
  const ConfigBlock* block = config.find(ConfigSection::cluster, plan.cluster);
  const bool there = (block != nullptr && !block->repo.empty()) || config.only_repo() != nullptr;
  const KeySource key = invocation.key();
  const std::string option = key.kind == KeySource::Kind::key_file ? "key-file" : "passphrase-file";
  if (key.kind == KeySource::Kind::none) {
    if (!there) lines.push_back(planned);
    return;
  }
  std::string section = cat("repo.", plan.cluster);
  std::string url = planned.value;
  if (there) {
    if (!outlives(invocation, option)) return;
    section = section_of_repository(invocation, block, plan.cluster);
    if (section.empty()) return;
    url = toml_text(*invocation.repo());
  } else {
    lines.push_back({planned.section, "repo", toml_text(plan.cluster)});
  }
  if (config.find(ConfigSection::repo, section.substr(std::string_view("repo.").size())) == nullptr)
    lines.push_back({section, "url", url});
  lines.push_back({section, option, toml_text(key.path)});
}

// The plan's lines, and what the command line or the environment said and would be missing when the daemon
// reads the file.
std::vector<ready::ConfigLine> lines_of(const Invocation& invocation, const Plan& plan) {
  const std::string cluster = cat("cluster.", plan.cluster);
  std::vector<ready::ConfigLine> lines;
  for (const ready::ConfigLine& line : plan.configuration) {
    if (line.key == "repo" && line.section == cluster)
      add_repository(invocation, plan, line, lines);
    else
      lines.push_back(line);
  }
  for (const char* name : {"pgdata", "pg-bin", "os-user"})
    if (outlives(invocation, name) && invocation.has(name))
      lines.push_back({cluster, name, toml_text(*invocation.text(name))});
  // PGDATA is the environment's, which the daemon has not.
  if (auto pgdata = invocation.pgdata(); pgdata && !invocation.has("pgdata"))
    lines.push_back({cluster, "pgdata", toml_text(*pgdata)});
  if (outlives(invocation, "pg"))
    if (const std::string conninfo = conninfo_for_later(invocation); !conninfo.empty())
      lines.push_back({cluster, "pg", toml_text(conninfo)});
  return lines;
}

}  // namespace

Result<NewConfiguration> new_configuration(const Invocation& invocation, const Plan& plan) {
  NewConfiguration made;
  made.exists = !invocation.config_path().empty();
  made.path = invocation.text("config").value_or(std::string(kDefaultConfigPath));
  if (made.exists) {
    made.path = invocation.config_path();
    TRY_ASSIGN(made.before, read_text(made.path, kFileLimit));
    TRY_ASSIGN(FileInfo info, stat_path(made.path));
    made.mode = info.mode;
  }
  made.lines = lines_of(invocation, plan);
  made.kept = keep_own_jobs(made.before, plan.cluster, made.lines);
  made.after = with_plan_lines(made.before, made.lines);
  return made;
}

namespace {

Status write_configuration(const NewConfiguration& made) {
  auto written = made.exists ? write_file_durable(made.path, as_bytes(made.after), made.mode)
                             : create_file_durable(made.path, as_bytes(made.after), made.mode);
  if (!written && written.error().kind == ErrorKind::permission)
    return std::move(written).error().with_hint(
        "--to DIR has the planned file as lifeboat.toml: install it from there as who may");
  return written;
}

}  // namespace

Status apply_configuration(const Invocation& invocation, const NewConfiguration& made) {
  TRY(check_configuration(made.after, made.path, made.lines));
  const std::string directory = parent_path(made.path);
  TRY_ASSIGN(const bool has_directory, path_exists(directory));
  if (!has_directory)
    return make_error(ErrorKind::precondition, made.path,
                      cat("nothing was written: there is no directory ", directory))
        .with_hint(cat("mkdir -p ", shell_quote(directory)));
  const std::string difference = line_difference(made.before, made.after);
  for (const std::string& kept : made.kept) invocation.output().text(cat("\nkept ", kept, "\n"));
  if (difference.empty()) {
    invocation.output().text(cat("\n", made.path, " is already as planned\n"));
    return {};
  }
  invocation.output().text(
      cat("\n", made.path, made.exists ? ":\n" : ", which is not there yet:\n", difference));
  TRY(invocation.confirm(cat("Write this into ", made.path, "?")));
  TRY(write_configuration(made));
  invocation.output().text(
      cat("written; lifeboat serve --check --config ", shell_quote(made.path), " shows what runs when\n"));
  return {};
}

}  // namespace lifeboat::app
