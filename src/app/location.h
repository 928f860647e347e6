// From a resolved command line to what the operations take.
#pragma once

#include "app/invocation.h"
#include "ops/session.h"

namespace lifeboat::app {

// --repo, --cluster, --key-file and --passphrase-file. `usage` when no repository was given.
inline Result<ops::RepoLocation> repo_location(const Invocation& invocation) {
  ops::RepoLocation location;
  TRY_ASSIGN(location.url, invocation.repo());
  location.cluster = invocation.cluster();
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

}  // namespace lifeboat::app
