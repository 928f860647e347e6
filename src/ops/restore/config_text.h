// Configuration files of the source, made fit for a copy that stands somewhere else (T10). Pure: text in,
// text out.
//
// Two things in them are dangerous beside the original. A data_directory line makes a server that was started
// with -D COPY open the original (SelectConfigFiles in src/backend/utils/misc/guc.c reads it before anything
// else), and include lines with absolute paths follow the original's files. So lines that place files are
// commented out, and includes are pointed to the copies that the backup holds.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repo/manifest.h"

namespace lifeboat::ops {

// A line of postgresql.conf, taken apart as PostgreSQL does (src/backend/utils/misc/guc-file.l).
struct ConfigLine {
  std::string name;   // lower case; also include, include_if_exists, include_dir
  std::string value;  // unquoted
};
std::optional<ConfigLine> parse_config_line(std::string_view line);  // nullopt: blank, comment or malformed

// The value that the last line of `name` gives; nullopt when none does. Includes are not followed.
std::optional<std::string> last_setting(std::string_view text, std::string_view name);

// Where the source's configuration files go, relative to the copy's data directory.
class ConfigPlaces {
 public:
  ConfigPlaces(std::string source_data_directory, const std::vector<repo::ExternalFile>& files);

  // The place of a captured file: postgresql.conf, pg_hba.conf and pg_ident.conf for the three main ones;
  // what lies beside or below the main file keeps its place relative to it; everything else goes below
  // lifeboat.conf.d.
  const std::string* place(const std::string& source_path) const;
  // The place of a directory of the source that include_dir may name; nullopt when nothing of it was captured
  // and it is not inside the data directory.
  std::optional<std::string> place_directory(const std::string& source_path) const;
  // A path inside the source's data directory, relative to it.
  std::optional<std::string> inside(const std::string& source_path) const;
  const std::string& source_data_directory() const { return source_data_directory_; }

 private:
  std::string place_of(const std::string& source_path) const;
  std::string source_data_directory_;
  std::string base_;  // directory of the main configuration file, "" when it is inside the data directory
  std::map<std::string, std::string> places_;
};

enum class ConfigSyntax : uint8_t {
  settings,  // postgresql.conf and what it includes
  access,    // pg_hba.conf, pg_ident.conf: only includes are looked at
};

struct AdoptedConfig {
  std::string text;
  bool changed = false;
  std::vector<std::string> directories;  // that include_dir names; must exist, relative to the data directory
  std::vector<std::string> notes;        // what was changed, for people
};
// `source_path` is where the text was on the source host, `place` where the copy will be, relative to the
// data directory.
AdoptedConfig adopt_config(std::string_view text, const std::string& source_path, const std::string& place,
                           const ConfigPlaces& places, ConfigSyntax syntax);

// "/a/b/../c//d" → "/a/c/d"; relative paths are taken against `directory`.
std::string normal_path(std::string_view path, std::string_view directory);

}  // namespace lifeboat::ops
