#include "ops/follow_up.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "pg/client/conninfo.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::ops {

Person person_at_keyboard() {
  auto parent = stat_path(cat("/proc/", getppid()));
  if (!parent || parent->uid == geteuid()) return Person::owner;
  return getenv("SUDO_USER") != nullptr ? Person::sudoer : Person::root;
}

std::string as_owner(Person person, const std::string& owner) {
  if (person == Person::root) return cat("runuser -u ", shell_quote(owner), " -- ");
  return as_ourselves(person, owner);
}

std::string as_ourselves(Person person, const std::string& owner) {
  return person == Person::sudoer ? cat("sudo -u ", shell_quote(owner), " ") : "";
}

std::string as_root(Person person) {
  return person == Person::sudoer ? "sudo " : "";
}

std::string command_line(const FollowUp& follow_up, std::string_view words, Needs needs,
                         std::string_view more) {
  const RepoLocation& where = follow_up.where;
  std::string line = cat(shell_quote(follow_up.program), " ", words, " --repo ", shell_quote(where.url));
  if (where.cluster != "main") line += cat(" --cluster ", shell_quote(where.cluster));
  if (where.key.kind == repo::KeySourceKind::key_file) {
    line += cat(" --key-file ", shell_quote(where.key.path));
  } else if (where.key.kind == repo::KeySourceKind::passphrase_file) {
    line += cat(" --passphrase-file ", shell_quote(where.key.path));
  }
  if (needs == Needs::server) {
    if (!follow_up.conninfo.empty()) line += cat(" --pg ", shell_quote(follow_up.conninfo));
    if (follow_up.pgdata) line += cat(" --pgdata ", shell_quote(*follow_up.pgdata));
  }
  if (!more.empty()) line += cat(" ", more);
  return line;
}

namespace {

// One that the original does not have: both are to run side by side.
std::string_view port_of_copy(const std::string& conninfo) {
  auto made = pg::explicit_conninfo(conninfo);
  std::string text = made ? made->text : conninfo;
  std::erase_if(text, [](char c) { return c == ' ' || c == '\''; });
  for (std::string_view port : {"port=5433", ":5433"}) {
    const size_t at = text.find(port);
    if (at == std::string::npos) continue;
    const size_t behind = at + port.size();
    if (behind == text.size() || text[behind] < '0' || text[behind] > '9') return "5434";
  }
  return "5433";
}

}  // namespace

std::string copy_line(const FollowUp& follow_up, std::string_view target, const std::string& directory,
                      const std::vector<TablespaceAt>& tablespaces) {
  std::string places;
  for (const TablespaceAt& one : tablespaces)
    places +=
        cat(" --tablespace ", shell_quote(cat(one.location, "=", directory, "_tablespaces/", one.name)));
  auto user = OsUser::by_uid(geteuid());
  std::string who = user ? as_ourselves(person_at_keyboard(), user->name) : "";
  return cat(who, command_line(follow_up, "restore", Needs::repository,
                               cat("--to ", shell_quote(directory), places, " ", target, " --port ",
                                   port_of_copy(follow_up.conninfo), " --action promote")));
}

std::string copy_directory(const std::optional<std::string>& pgdata, std::string_view what) {
  std::string end(what);
  std::ranges::replace(end, '/', '-');
  if (!pgdata) return cat("/var/tmp/lifeboat-", end);
  std::string beside = *pgdata;
  while (beside.size() > 1 && beside.ends_with('/')) beside.pop_back();
  return cat(beside, "-", end);
}

}  // namespace lifeboat::ops
