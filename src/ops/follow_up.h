// Command lines that are printed to be pasted: by whom, and therefore with what in front of them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/session.h"

namespace lifeboat::ops {

// Who reads what we print and will paste it where we were started.
enum class Person : uint8_t {
  owner,   // a shell of the very user that we run as
  sudoer,  // somebody who used sudo to start us
  root,
};
// Told from our parent process and from sudo's variable.
Person person_at_keyboard();

// What goes before a program of PostgreSQL, which only the data's owner may run: "", "sudo -u postgres " or
// "runuser -u postgres -- ".
std::string as_owner(Person person, const std::string& owner);
// Before one of ours, which becomes the owner by itself when root starts it.
std::string as_ourselves(Person person, const std::string& owner);
// Before what root does: "" or "sudo ". An owner who is not root has to ask somebody.
std::string as_root(Person person);

// Our own commands in full: absolute program, repository, cluster, key; and with `server` how it is reached.
struct FollowUp {
  std::string program;  // absolute
  RepoLocation where;
  std::string conninfo;               // --pg as given, "" when it was not
  std::optional<std::string> pgdata;  // data directory on this host
};
enum class Needs : uint8_t { repository, server };
// "/usr/bin/lifeboat backup --repo … --pg … --pgdata …" and `more`.
std::string command_line(const FollowUp& follow_up, std::string_view words, Needs needs,
                         std::string_view more = "");

// "lifeboat restore … --to DIRECTORY TARGET --port PORT --action promote": a copy of a moment beside the
// original, which is what somebody wants who has lost something. Promoted, because a paused recovery holds
// the locks of the transaction that it stopped before.
// On the original's host its tablespaces are where they were: the copy's go beside it.
struct TablespaceAt {
  std::string name;
  std::string location;
};
std::string copy_line(const FollowUp& follow_up, std::string_view target, const std::string& directory,
                      const std::vector<TablespaceAt>& tablespaces = {});
// Where such a copy goes when nobody said: beside the data directory when that is on this host, else below
// /var/tmp. `what` becomes a part of the name.
std::string copy_directory(const std::optional<std::string>& pgdata, std::string_view what);

}  // namespace lifeboat::ops
