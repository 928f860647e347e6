// Which failures of a drill say something of its backup, and which only of the host that it was tried on.
//
// Evidence of a failure takes a backup out of every choice, so it is written for what the repository holds: a
// damaged or missing object, a server that does not come up from it, a page that cannot be read. Not for a
// full disk, a program that is not installed, a repository that did not answer.
//
// Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "util/error.h"

namespace lifeboat::ops {

enum class DrillStage : uint8_t {
  recovery,  // the repository is read
  loading,   // a dump is read and given to PostgreSQL's programs
  checks,    // only the copy is asked
};
inline constexpr uint64_t kMostLog = 64 << 20;  // bytes of a server's log that are looked at
// `log`: of the copy's server.
bool says_something_of_the_backup(const Error& error, DrillStage stage, std::string_view log);

}  // namespace lifeboat::ops
