// Configuration that lives outside the data directory (T10): Debian keeps postgresql.conf, pg_hba.conf and
// pg_ident.conf under /etc/postgresql, and any of them may include further files. They belong into a backup
// so that a drill or a side-by-side copy can start, and are never written back to where they came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pg/client/client.h"
#include "pg/files/source.h"

namespace lifeboat::pg {

enum class ConfigRole : uint8_t { config, hba, ident, included };
std::string_view to_string(ConfigRole role);

struct ConfigFile {
  ConfigRole role = ConfigRole::config;
  std::string path;       // absolute, as the server names it
  bool inside = false;    // inside the data directory: the backup has it anyway
  bool readable = false;  // through the source, now
  uint64_t size = 0;      // bytes, when readable
};

struct ConfigFiles {
  std::vector<ConfigFile> files;      // every file once
  std::vector<std::string> warnings;  // what could not be asked or read, with the grant that would allow it
};

// Asks the server for config_file, hba_file and ident_file, and for included files through pg_file_settings
// or, where that is refused, pg_settings.sourcefile. hba and ident files may include others from 16 on
// (pg_hba_file_rules). `source` reads them; through a connection that takes pg_read_server_files.
Result<ConfigFiles> list_config_files(PgClient& client, const std::string& data_directory,
                                      FileSource& source);

}  // namespace lifeboat::pg
