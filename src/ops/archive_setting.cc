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

}  // namespace

bool stores_nothing(std::string_view archive_command) {
  static constexpr std::array<std::string_view, 5> kNothing = {"true", "/bin/true", "/usr/bin/true", ":",
                                                               "exit 0"};
  return std::ranges::find(kNothing, trim(archive_command)) != kNothing.end();
}

bool streams_wal(const pg::ServerFacts& server) {
  return std::ranges::any_of(server.senders, [](const pg::SenderFacts& sender) {
    return sender.application_name.starts_with(kOurs) && sender.state == "streaming";
  });
}

std::optional<std::string> why_nothing_is_archived(const pg::ServerFacts& server) {
  // The state of a receiver is not shown to a role without pg_read_all_stats; that it is there is.
  const bool may_stream = std::ranges::any_of(server.senders, [](const pg::SenderFacts& sender) {
    return sender.application_name.starts_with(kOurs) && sender.state.empty();
  });
  if (server.in_recovery || may_stream || streams_wal(server) || !server.settings.contains("archive_mode"))
    return std::nullopt;
  if (setting(server, "archive_mode") == "off") return "archive_mode is off, and nothing streams its WAL";
  if (!setting(server, "archive_library").empty() || !server.settings.contains("archive_command"))
    return std::nullopt;
  const std::string command = setting(server, "archive_command");
  if (trim(command).empty()) return "archive_command is empty";
  if (stores_nothing(command)) return cat("archive_command '", command, "' stores nothing");
  return std::nullopt;
}

}  // namespace lifeboat::ops
