// From a resolved command line to what the operations take.
#pragma once

#include <unistd.h>

#include <string>
#include <string_view>

#include "app/invocation.h"
#include "app/output.h"
#include "model/timestamp.h"
#include "ops/session.h"
#include "util/strings.h"

namespace lifeboat::app {

// --repo, --cluster, --key-file, --passphrase-file and --retry-time. `usage` when no repository was given.
inline Result<ops::RepoLocation> repo_location(const Invocation& invocation) {
  ops::RepoLocation location;
  TRY_ASSIGN(location.url, invocation.repo());
  location.cluster = invocation.cluster();
  location.patience.us = invocation.duration_us("retry-time").value_or(0);
  location.patience.stop = &invocation.stop();
  location.patience.note = [&output = invocation.output()](std::string_view text) {
    output.note(LogLevel::warning, text);
  };
  KeySource key = invocation.key();
  switch (key.kind) {
    case KeySource::Kind::none:
      break;
    case KeySource::Kind::key_file:
      location.key = {repo::KeySourceKind::key_file, key.path};
      break;
    case KeySource::Kind::passphrase_file:
      location.key = {repo::KeySourceKind::passphrase_file, key.path};
      break;
  }
  return location;
}

// Where a command puts what it throws away in the end: a name that no other run has, at the same moment
// either.
inline std::string scratch_directory(const Invocation& invocation, std::string_view parent,
                                     std::string_view purpose) {
  return cat(parent, "/lifeboat-", purpose, "-", invocation.cluster(), "-",
             Timestamp{invocation.clock().unix_us()}.to_compact(), "-", getpid());
}

}  // namespace lifeboat::app
