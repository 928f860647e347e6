#include "pg/server/running_conninfo.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "pg/client/conninfo.h"
#include "util/strings.h"

namespace lifeboat::pg {

std::string conninfo_of(const PidFile& file) {
  std::string host = file.socket_directory;
  if (host.empty()) host = file.listen_address == "*" ? "localhost" : file.listen_address;
  if (host.empty() || file.port == 0) return "";
  return cat("host=", conninfo_value(host), " port=", file.port);
}

std::string running_conninfo(const std::string& data_directory) {
  auto is_set = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0';
  };
  if (std::ranges::any_of(std::array{"PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"}, is_set)) return "";
  auto running = running_server(data_directory);
  return running && *running ? conninfo_of((*running)->pid_file) : "";
}

}  // namespace lifeboat::pg
