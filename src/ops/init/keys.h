// `lifeboat key list|add|check`: the slots that open a repository, and whether a restore would succeed with
// the key at hand (E2).
#pragma once

#include <string>
#include <vector>

#include "ops/session.h"

namespace lifeboat::ops {

// Adds a slot for another key file or passphrase. A key file that does not exist is generated. `wrong_key`
// when the present key does not open the repository, `precondition` when it is not encrypted.
struct AddedKey {
  repo::SlotInfo slot;
  bool generated = false;
};
Result<AddedKey> add_key(const RepoLocation& location, const repo::KeySource& added);

struct KeyCheck {
  struct Slot {
    repo::SlotInfo info;
    bool opens = false;  // with the given key
  };
  std::vector<Slot> slots;
  // Read with nothing but this key, per cluster: registration, newest backup's manifest and a page of its
  // data, newest WAL file.
  struct Proof {
    std::string cluster;
    std::string lineage;
    std::vector<std::string> read;  // object names
  };
  std::vector<Proof> proofs;
};
// `wrong_key` when no slot opens; `damaged` when what it opens cannot be read.
Result<KeyCheck> check_key(const RepoLocation& location);

}  // namespace lifeboat::ops
