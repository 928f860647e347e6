#include "ready/plan/tools.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kFileLimit = 1 << 20;
constexpr int64_t kAnswerMs = 20'000;

// The member, or null: of what is no object too.
const Json& member(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

std::string text_of(const Json& object, const char* name) {
  const Json& found = member(object, name);
  return found.is_string() ? found.get<std::string>() : std::string();
}

// Seconds since 1970 that a clock can have said; else unknown.
Timestamp from_seconds(int64_t seconds) {
  constexpr int64_t kLatest = 100'000'000'000;
  return seconds > 0 && seconds < kLatest ? Timestamp::from_seconds(seconds) : Timestamp{};
}

Timestamp time_of(const Json& value) {
  if (value.is_number_integer()) return from_seconds(value.get<int64_t>());
  if (!value.is_string()) return {};
  const auto text = value.get<std::string>();
  if (auto seconds = parse_i64(text)) return from_seconds(*seconds);
  auto time = parse_time(text);
  return time ? *time : Timestamp{};
}

void newer(ToolState& tool, Timestamp time, std::string result) {
  if (time < tool.last_backup) return;
  tool.last_backup = time;
  tool.last_result = std::move(result);
}

std::optional<std::string> first_file(const std::vector<std::string>& paths, std::string& text) {
  for (const std::string& path : paths) {
    auto read = read_text(path, kFileLimit);
    if (!read) continue;
    text = *read;
    return path;
  }
  return std::nullopt;
}

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// "repo1-path" of the global section or of the stanza.
std::string setting(const std::vector<std::pair<std::string, std::string>>& settings,
                    const std::string& section, std::string_view key) {
  std::string found;
  for (const auto& [name, value] : settings) {
    if (name == cat("global.", key) && found.empty()) found = value;
    if (name == cat(section, ".", key)) found = value;
  }
  return found;
}

std::string schedule_of(std::string_view tool) {
  std::vector<std::string> found;
  std::vector<std::string> paths = {"/etc/crontab"};
  if (auto entries = list_dir("/etc/cron.d"))
    for (const DirEntry& entry : *entries) paths.push_back(join_path("/etc/cron.d", entry.name));
  for (const char* spool : {"/var/spool/cron/crontabs/postgres", "/var/spool/cron/crontabs/barman"})
    paths.emplace_back(spool);
  for (const std::string& path : paths) {
    auto text = read_text(path, kFileLimit);
    if (!text) continue;
    for (const std::string& when : schedules_in(*text, tool)) found.push_back(cat(path, ": ", when));
  }
  return join(found, "; ");
}

Result<std::string> ask(std::vector<std::string> argv, const StopToken* stop) {
  ProcessSpec spec;
  spec.argv = std::move(argv);
  RunOptions run;
  run.timeout_ms = kAnswerMs;
  run.capture_limit = 16 << 20;
  run.stop = stop;
  TRY_ASSIGN(ProcessOutcome outcome, run_process(spec, run));
  // barman check ends with 1 when a check fails, and has printed all the same.
  if (!outcome.ok() && outcome.out.empty())
    return make_error(ErrorKind::failed, spec.argv.front(), outcome.describe())
        .with_cause(std::string(trim(outcome.err)));
  return std::move(outcome.out);
}

void describe_pgbackrest(ToolState& tool, const std::vector<std::pair<std::string, std::string>>& settings) {
  auto get = [&](std::string_view key) { return setting(settings, tool.cluster, key); };
  tool.destination = get("repo1-path");
  if (std::string type = get("repo1-type"); !type.empty())
    tool.destination = cat(type, ": ", get(cat("repo1-", type, "-bucket")), tool.destination);
  std::vector<std::string> retention;
  for (const auto& [name, value] : settings)
    if (name.find("-retention-") != std::string::npos)
      retention.push_back(cat(name.substr(name.find('.') + 1), "=", value));
  tool.retention = join(retention, ", ");
  const std::string cipher = get("repo1-cipher-type");
  if (!cipher.empty()) tool.encryption = cipher;
  const std::string second = cat(get("repo2-path"), get("repo2-s3-bucket"));
  tool.second_copy = second.empty() ? "none" : second;
}

void find_pgbackrest(std::vector<ToolState>& tools, const StopToken* stop) {
  if (!find_program("pgbackrest")) return;
  std::string text;
  auto path =
      first_file({env("PGBACKREST_CONFIG"), "/etc/pgbackrest/pgbackrest.conf", "/etc/pgbackrest.conf"}, text);
  const auto settings = parse_ini(text);
  // The package brings the program and a file without a stanza: nothing is backed up by that.
  const bool stanza =
      std::ranges::any_of(settings, [](const auto& one) { return !one.first.starts_with("global"); });
  if (!stanza) return;
  auto answer = ask({"pgbackrest", "info", "--output=json"}, stop);
  std::vector<ToolState> found;
  if (answer) found = parse_pgbackrest_info(*answer);
  if (found.empty()) {
    found.emplace_back();
    found.back().name = "pgbackrest";
    if (!answer) found.back().notes.push_back(answer.error().to_string());
    found.back().last_result = answer ? "no stanza" : "does not answer";
  }
  for (ToolState& tool : found) {
    tool.configuration = path.value_or("");
    tool.schedule = schedule_of("pgbackrest");
    describe_pgbackrest(tool, settings);
    tools.push_back(std::move(tool));
  }
}

void find_barman(std::vector<ToolState>& tools, const StopToken* stop) {
  if (!find_program("barman")) return;
  std::string text;
  auto path = first_file(
      {join_path(env("HOME"), ".barman.conf"), "/etc/barman.conf", "/etc/barman/barman.conf"}, text);
  if (!path) return;
  const std::vector<std::string> barman = {"barman", "-c", *path, "-f", "json"};
  auto with = [&](std::initializer_list<std::string> words) {
    std::vector<std::string> argv = barman;
    argv.insert(argv.end(), words);
    return argv;
  };
  auto servers = ask(with({"list-servers"}), stop);
  if (!servers) return;
  const Json list = Json::parse(*servers, nullptr, false);
  if (!list.is_object()) return;
  const auto settings = parse_ini(text);
  for (const auto& [name, description] : list.items()) {
    ToolState tool;
    tool.name = "barman";
    tool.cluster = name;
    tool.configuration = *path;
    tool.schedule = schedule_of("barman");
    tool.destination = setting(settings, "barman", "barman_home");
    tool.retention = setting(settings, name, "retention_policy");
    tool.encryption = setting(settings, name, "encryption");
    if (auto backups = ask(with({"list-backups", name}), stop))
      add_barman_backups(*backups, tool);
    else
      tool.notes.push_back(backups.error().to_string());
    if (auto check = ask(with({"check", name}), stop)) add_barman_check(*check, tool);
    tools.push_back(std::move(tool));
  }
}

void find_walg(std::vector<ToolState>& tools, const StopToken* stop) {
  if (!find_program("wal-g")) return;
  auto answer = ask({"wal-g", "backup-list", "--json", "--detail"}, stop);
  std::vector<ToolState> found;
  if (answer) found = parse_walg_backups(*answer);
  if (found.empty()) {
    found.emplace_back();
    found.back().name = "wal-g";
    found.back().last_result = answer ? "no backup" : "does not answer";
    if (!answer) found.back().notes.push_back(answer.error().to_string());
  }
  for (ToolState& tool : found) {
    for (const char* prefix :
         {"WALG_S3_PREFIX", "WALG_GS_PREFIX", "WALG_AZ_PREFIX", "WALG_FILE_PREFIX", "WALG_SSH_PREFIX"})
      if (std::string value = env(prefix); !value.empty()) tool.destination = value;
    tool.encryption =
        env("WALG_LIBSODIUM_KEY_PATH").empty() && env("WALG_PGP_KEY_PATH").empty() ? "none seen" : "yes";
    tool.schedule = schedule_of("wal-g");
    tools.push_back(std::move(tool));
  }
}

}  // namespace

std::vector<ToolState> parse_pgbackrest_info(std::string_view text) {
  const Json list = Json::parse(text, nullptr, false);
  std::vector<ToolState> found;
  if (!list.is_array()) return found;
  for (const Json& stanza : list) {
    if (!stanza.is_object()) continue;
    ToolState tool;
    tool.name = "pgbackrest";
    tool.cluster = text_of(stanza, "name");
    tool.encryption = text_of(stanza, "cipher");
    auto backups = stanza.find("backup");
    if (backups != stanza.end() && backups->is_array()) {
      for (const Json& backup : *backups) {
        const Json times = member(backup, "timestamp");
        const Json error = member(backup, "error");
        newer(tool, time_of(member(times, "stop")),
              error.is_boolean() && error.get<bool>() ? "page errors" : "ok");
      }
    }
    const Json status = member(stanza, "status");
    const Json code = member(status, "code");
    if (code.is_number() && code.get<int>() != 0) {
      tool.last_result = text_of(status, "message");
      tool.notes.push_back(cat("status: ", tool.last_result));
    }
    found.push_back(std::move(tool));
  }
  return found;
}

void add_barman_backups(std::string_view text, ToolState& tool) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) return;
  for (const auto& [server, backups] : document.items()) {
    if (server != tool.cluster || !backups.is_array()) continue;
    for (const Json& backup : backups) {
      Timestamp ended = time_of(member(backup, "end_time_timestamp"));
      newer(tool, ended, to_lower(text_of(backup, "status")) == "done" ? "ok" : text_of(backup, "status"));
    }
  }
}

void add_barman_check(std::string_view text, ToolState& tool) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) return;
  const Json checks = member(document, tool.cluster.c_str());
  if (!checks.is_object()) return;
  for (const auto& [name, check] : checks.items()) {
    if (!check.is_object() || text_of(check, "status") == "OK") continue;
    const std::string hint = text_of(check, "hint");
    tool.notes.push_back(cat(name, ": ", text_of(check, "status"), hint.empty() ? "" : cat(", ", hint)));
  }
}

std::vector<ToolState> parse_walg_backups(std::string_view text) {
  const Json list = Json::parse(text, nullptr, false);
  std::vector<ToolState> found;
  if (!list.is_array() || list.empty()) return found;
  ToolState tool;
  tool.name = "wal-g";
  for (const Json& backup : list) {
    if (!backup.is_object()) continue;
    const char* when = backup.contains("finish_time") ? "finish_time" : "time";
    newer(tool, time_of(member(backup, when)), "ok");
  }
  found.push_back(std::move(tool));
  return found;
}

std::vector<std::pair<std::string, std::string>> parse_ini(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> found;
  std::string section;
  for (std::string_view line : split(text, '\n')) {
    line = trim(line);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[' && line.back() == ']') {
      section = line.substr(1, line.size() - 2);
      continue;
    }
    const size_t at = line.find('=');
    if (at == std::string_view::npos) continue;
    found.emplace_back(cat(section, ".", trim(line.substr(0, at))), std::string(trim(line.substr(at + 1))));
  }
  return found;
}

std::vector<std::string> schedules_in(std::string_view crontab, std::string_view tool) {
  std::vector<std::string> found;
  for (std::string_view line : split(crontab, '\n')) {
    line = trim(line);
    if (line.empty() || line.front() == '#' || line.find(tool) == std::string_view::npos) continue;
    std::vector<std::string> fields;
    for (std::string_view word : split(line, ' '))
      if (!word.empty() && fields.size() < 5) fields.emplace_back(word);
    if (line.front() == '@') fields.resize(1);
    found.push_back(join(fields, " "));
  }
  return found;
}

std::vector<ToolState> find_tools(const StopToken* stop) {
  std::vector<ToolState> tools;
  find_pgbackrest(tools, stop);
  find_barman(tools, stop);
  find_walg(tools, stop);
  return tools;
}

}  // namespace lifeboat::ready
