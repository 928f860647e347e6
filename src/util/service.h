// Which service of systemd this process belongs to.
#pragma once

#include <string>
#include <string_view>

namespace lifeboat {

// "lifeboat-main-heal.service"; empty: of none. From /proc/self/cgroup (cgroups(7)).
std::string service_of_this_process();
// The same from the text of that file.
std::string service_in(std::string_view control_groups);

}  // namespace lifeboat
