#include "util/service.h"

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat {
namespace {

constexpr uint64_t kFileLimit = 64 << 10;

}  // namespace

// Lines "ID:CONTROLLERS:GROUP". A service's own group may have groups below it.
std::string service_in(std::string_view control_groups) {
  std::string found;
  for (std::string_view line : split(control_groups, '\n')) {
    for (std::string_view part : split(line, '/'))
      if (part.ends_with(".service")) found = part;
  }
  return found;
}

std::string service_of_this_process() {
  auto text = read_text("/proc/self/cgroup", kFileLimit);
  return text ? service_in(*text) : "";
}

}  // namespace lifeboat
