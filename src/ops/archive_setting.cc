#include "ops/archive_setting.h"

#include <algorithm>
#include <array>

#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr std::string_view kOurs = "lifeboat";

std::string setting(const pg::ServerFacts& server, const std::string& name) {
  auto found = server.settings.find(name);
  return found == server.settings.end() ? "" : found->second;
}

// Whatever state it is in, which roles without pg_read_all_stats are not shown, and under whatever name,
// where it holds our slot.
bool is_received(const pg::ServerFacts& server) {
  return std::ranges::any_of(
             server.senders,
             [](const pg::SenderFacts& sender) { return sender.application_name.starts_with(kOurs); }) ||
         std::ranges::any_of(server.slots, [](const pg::SlotFacts& slot) {
           return slot.active && slot.type == "physical" && slot.name.starts_with(kOurs);
         });
}

}  // namespace

bool stores_nothing(std::string_view archive_command) {
  static constexpr std::array<std::string_view, 5> kNothing = {"true", "/bin/true", "/usr/bin/true", ":",
                                                               "exit 0"};
  return std::ranges::find(kNothing, trim(archive_command)) != kNothing.end();
}

bool hides_failures(std::string_view archive_command) {
  const size_t push = archive_command.find(" push");
  if (push == std::string_view::npos) return false;
  char quote = 0;
  for (size_t at = push; at < archive_command.size(); ++at) {
    const char c = archive_command[at];
    const char next = at + 1 < archive_command.size() ? archive_command[at + 1] : ' ';
    const char before = archive_command[at - 1];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == ';' || c == '|' || c == '\n') {
      return true;
    } else if (c == '&') {
      if (next == '&')
        ++at;  // what follows runs after success alone
      else if (before != '>' && before != '<' && next != '>')
        return true;
    }
  }
  return false;
}

std::string normal_url(const std::string& repo) {
  std::string url = repo.starts_with('/') ? "file://" + repo : repo;
  while (url.size() > 8 && url.ends_with('/')) url.pop_back();
  return url;
}

bool streams_wal(const pg::ServerFacts& server) {
  return std::ranges::any_of(server.senders, [](const pg::SenderFacts& sender) {
    return sender.application_name.starts_with(kOurs) &&
           (sender.state == "streaming" || sender.state == "catchup");
  });
}

std::optional<std::string> why_nothing_is_archived(const pg::ServerFacts& server) {
  if (server.in_recovery || is_received(server) || !server.settings.contains("archive_mode"))
    return std::nullopt;
  if (setting(server, "archive_mode") == "off") return "archive_mode is off, and no wal receive is connected";
  if (!setting(server, "archive_library").empty() || !server.settings.contains("archive_command"))
    return std::nullopt;
  const std::string command = setting(server, "archive_command");
  if (trim(command).empty()) return "archive_command is empty";
  if (stores_nothing(command)) return cat("archive_command '", command, "' stores nothing");
  return std::nullopt;
}

}  // namespace lifeboat::ops
