#include "ops/wal/commands.h"

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// One argument: quoted for the shell that the server starts, then made proof against the server's own
// placeholders.
std::string argument(std::string_view text) {
  std::string proof;
  for (char c : shell_quote(text)) {
    if (c == '%') proof += '%';
    proof += c;
  }
  return proof;
}

std::string beginning(const WalCommandLine& line) {
  std::string text = cat(argument(line.program), " --repo ", argument(line.repo.url), " --cluster ",
                         argument(line.repo.cluster));
  switch (line.repo.key.kind) {
    case repo::KeySourceKind::none:
      break;
    case repo::KeySourceKind::key_file:
      text += cat(" --key-file ", argument(line.repo.key.path));
      break;
    case repo::KeySourceKind::passphrase_file:
      text += cat(" --passphrase-file ", argument(line.repo.key.path));
      break;
  }
  return text;
}

}  // namespace

Result<std::string> own_program_path() {
  TRY_ASSIGN(std::string path, read_link("/proc/self/exe"));
  TRY_ASSIGN(bool there, path_exists(path));
  if (!there) {
    return make_error(ErrorKind::failed, path, "the running program is no longer there")
        .with_hint("it was replaced or removed since it started; run the installed one again");
  }
  return path;
}

std::string archive_command(const WalCommandLine& line) {
  return cat(beginning(line), " wal push %p");
}

std::string restore_command(const WalCommandLine& line, RestoreCommandFor use) {
  // A program for each of thousands of segments, only to say that it is there, costs more than its replay.
  std::string text = line.placed.empty() ? "" : cat("test ! -e ", argument(line.placed), "/%f && ");
  text += cat(beginning(line), " wal get %f %p");
  if (!line.spool.empty()) text += cat(" --spool ", argument(line.spool));
  if (use == RestoreCommandFor::standby) text += " --standby";
  return text;
}

}  // namespace lifeboat::ops
