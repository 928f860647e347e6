// Who runs this call, for records that are read elsewhere and later.
#pragma once

#include <string>

namespace lifeboat::app {

std::string host_name();  // "localhost" when the system does not tell
std::string user_name();  // of the effective user, or its number

}  // namespace lifeboat::app
