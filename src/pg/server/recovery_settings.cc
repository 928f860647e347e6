#include "pg/server/recovery_settings.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::pg {
namespace {

constexpr std::string_view kBegin = "# lifeboat: recovery settings, begin";
constexpr std::string_view kEnd = "# lifeboat: recovery settings, end";

using Lines = std::vector<std::pair<std::string, std::string>>;

std::string_view target_setting(TargetKind kind) {
  switch (kind) {
    case TargetKind::latest:
      return "";
    case TargetKind::immediate:
      return "recovery_target";
    case TargetKind::time:
      return "recovery_target_time";
    case TargetKind::lsn:
      return "recovery_target_lsn";
    case TargetKind::xid:
      return "recovery_target_xid";
    case TargetKind::name:
      return "recovery_target_name";
  }
  return "";
}

// Everything that is written, in order. Comments are not in here.
constexpr std::string_view kTargets[] = {"recovery_target", "recovery_target_name", "recovery_target_time",
                                         "recovery_target_xid", "recovery_target_lsn"};

Lines settings_in_order(const RecoverySettings& settings) {
  Lines lines;
  auto set = [&](std::string_view name, std::string value) { lines.emplace_back(name, std::move(value)); };
  set("restore_command", settings.restore_command);
  set("recovery_end_command", settings.recovery_end_command);
  set("archive_cleanup_command", settings.archive_cleanup_command);
  set("primary_conninfo", settings.primary_conninfo);
  set("primary_slot_name", settings.primary_slot_name);
  if (!settings.keep_synchronous_standby_names) set("synchronous_standby_names", "");
  set("recovery_target_timeline", settings.timeline ? cat(settings.timeline->value) : "latest");
  set("recovery_target_inclusive", settings.inclusive ? "on" : "off");
  set("recovery_target_action", std::string(to_string(settings.action)));
  // The empty ones before the one in use: see the header.
  const std::string_view used = target_setting(settings.target);
  for (std::string_view name : kTargets)
    if (name != used) set(name, "");
  if (!used.empty())
    set(used, settings.target == TargetKind::immediate ? std::string("immediate") : settings.target_value);
  if (settings.port) set("port", cat(*settings.port));
  if (settings.socket_directory) set("unix_socket_directories", *settings.socket_directory);
  if (settings.archive_off) set("archive_mode", "off");
  for (const auto& [name, value] : settings.more) set(name, value);
  return lines;
}

// A comment must stay one line, whatever its text.
std::string one_comment(std::string_view text) {
  std::string line = "# ";
  for (char c : text) line += c == '\n' || c == '\r' ? ' ' : c;
  return line;
}

}  // namespace

std::string_view to_string(TargetKind kind) {
  switch (kind) {
    case TargetKind::latest:
      return "latest";
    case TargetKind::immediate:
      return "immediate";
    case TargetKind::time:
      return "time";
    case TargetKind::lsn:
      return "lsn";
    case TargetKind::xid:
      return "xid";
    case TargetKind::name:
      return "name";
  }
  return "latest";
}

std::string_view to_string(TargetAction action) {
  switch (action) {
    case TargetAction::pause:
      return "pause";
    case TargetAction::promote:
      return "promote";
    case TargetAction::shutdown:
      return "shutdown";
  }
  return "pause";
}

std::string quote_setting(std::string_view value) {
  std::string quoted = "'";
  for (char c : value) {
    switch (c) {
      case '\'':
        quoted += "''";
        break;
      case '\\':
        quoted += "\\\\";
        break;
      case '\n':  // a line feed inside quotes is a syntax error; the escapes are the lexer's own
        quoted += "\\n";
        break;
      case '\r':
        quoted += "\\r";
        break;
      case '\t':
        quoted += "\\t";
        break;
      case '\b':
        quoted += "\\b";
        break;
      case '\f':
        quoted += "\\f";
        break;
      default:
        quoted += c;
    }
  }
  return quoted + "'";
}

std::optional<std::string> setting_name_of_line(std::string_view line) {
  line = trim(line);
  auto part_of_name = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '$' || static_cast<unsigned char>(c) >= 0x80;
  };
  size_t length = 0;
  while (length < line.size() && part_of_name(line[length])) ++length;
  if (length == 0) return std::nullopt;
  std::string name = to_lower(line.substr(0, length));
  if (name == "include" || name == "include_if_exists" || name == "include_dir") return std::nullopt;
  return name;
}

std::string render_recovery_settings(const RecoverySettings& settings) {
  std::string text = cat(kBegin, "\n");
  if (!settings.written_by.empty()) text += one_comment(settings.written_by) + "\n";
  for (const auto& [name, value] : settings_in_order(settings)) {
    if (name == "archive_mode" && settings.archive_off)
      text += one_comment(settings.archive_off_reason) + "\n";
    text += cat(name, " = ", quote_setting(value), "\n");
  }
  return text + cat(kEnd, "\n");
}

std::string with_recovery_settings(std::string_view auto_conf, const RecoverySettings& settings) {
  const Lines ours = settings_in_order(settings);
  auto overruled = [&](std::string_view line) {
    auto name = setting_name_of_line(line);
    return name &&
           std::any_of(ours.begin(), ours.end(), [&](const auto& entry) { return entry.first == *name; });
  };
  std::vector<std::string_view> lines = split(auto_conf, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();  // what follows the last line feed is no line
  std::string text;
  for (size_t at = 0; at < lines.size(); ++at) {
    // An earlier block of ours goes as a whole, with settings that are not written anew (archive_mode = off
    // of a copy that is itself being restored). A beginning whose end is lost is nothing but a comment.
    if (trim(lines[at]) == kBegin) {
      auto end = std::find_if(lines.begin() + static_cast<ptrdiff_t>(at), lines.end(),
                              [](std::string_view line) { return trim(line) == kEnd; });
      if (end != lines.end()) {
        at = static_cast<size_t>(end - lines.begin());
        continue;
      }
    }
    if (!overruled(lines[at])) text += cat(lines[at], "\n");
  }
  return text + render_recovery_settings(settings);
}

std::string with_empty_target(std::string_view auto_conf) {
  std::string text;
  for (std::string_view line : split(auto_conf, '\n')) {
    auto name = setting_name_of_line(line);
    const bool target = name && std::ranges::find(kTargets, std::string_view(*name)) != std::end(kTargets);
    text += target                               ? cat(*name, " = ''\n")
            : name == "recovery_target_timeline" ? "recovery_target_timeline = 'latest'\n"
                                                 : cat(line, "\n");
  }
  text.pop_back();  // split() gives one piece more than there are line ends
  return text;
}

}  // namespace lifeboat::pg
