#include "ops/restore/config_text.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "pg/server/recovery_settings.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kElsewhere = "lifeboat.conf.d";

// Settings that say where the original's files are.
constexpr std::array<std::string_view, 5> kPlacing = {"data_directory", "config_file", "hba_file",
                                                      "ident_file", "external_pid_file"};

bool name_character(char c, bool first) {
  auto byte = static_cast<unsigned char>(c);
  return std::isalpha(byte) || c == '_' || byte >= 0x80 ||
         (!first && (std::isdigit(byte) || c == '$' || c == '.'));
}

// Inside quotes '' and \' are a quote; \b \f \n \r \t and octal as in C (DeescapeQuotedString).
std::optional<std::string> unquote(std::string_view text) {
  std::string value;
  for (size_t i = 1; i < text.size(); ++i) {
    char c = text[i];
    if (c == '\'') {
      if (i + 1 >= text.size() || text[i + 1] != '\'') return value;
      value += '\'';
      ++i;
    } else if (c == '\\' && i + 1 < text.size()) {
      char next = text[++i];
      switch (next) {
        case 'b':
          value += '\b';
          break;
        case 'f':
          value += '\f';
          break;
        case 'n':
          value += '\n';
          break;
        case 'r':
          value += '\r';
          break;
        case 't':
          value += '\t';
          break;
        default:
          if (next >= '0' && next <= '7') {
            int octal = 0;
            size_t digits = 0;
            for (; digits < 3 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++digits, ++i) {
              octal = octal * 8 + (text[i] - '0');
            }
            --i;
            value += static_cast<char>(octal);
          } else {
            value += next;
          }
      }
    } else {
      value += c;
    }
  }
  return std::nullopt;  // the quote is not closed
}

bool is_include(std::string_view name) {
  return name == "include" || name == "include_if_exists" || name == "include_dir";
}

// What a file must not be called in a data directory because PostgreSQL has the name.
bool taken_name(std::string_view first_element) {
  return first_element.starts_with("pg_") || first_element.starts_with("PG_") || first_element == "base" ||
         first_element == "global" || first_element.starts_with("postmaster.") ||
         first_element.starts_with("backup_") || first_element == "tablespace_map" ||
         first_element == "postgresql.auto.conf" || first_element == "postgresql.conf" ||
         first_element.starts_with("recovery.") || first_element.starts_with("standby.");
}

std::optional<std::string> below(const std::string& path, const std::string& directory) {
  if (directory.empty()) return std::nullopt;
  if (path == directory) return std::string();
  if (path.size() > directory.size() + 1 && path.starts_with(directory) && path[directory.size()] == '/') {
    return path.substr(directory.size() + 1);
  }
  return std::nullopt;
}

// From the directory of the file `place` to `to`, both relative to the data directory.
std::string relative_from(const std::string& place, const std::string& to) {
  std::string up;
  for (auto at = std::count(place.begin(), place.end(), '/'); at > 0; --at) up += "../";
  return to.empty() ? up + "." : up + to;
}

}  // namespace

std::string normal_path(std::string_view path, std::string_view directory) {
  std::string whole = path.starts_with('/') ? std::string(path) : cat(directory, "/", path);
  std::vector<std::string_view> kept;
  for (std::string_view element : split(whole, '/')) {
    if (element.empty() || element == ".") continue;
    if (element == "..") {
      if (!kept.empty()) kept.pop_back();
    } else {
      kept.push_back(element);
    }
  }
  std::string normal;
  for (std::string_view element : kept) normal += cat("/", element);
  return normal.empty() ? "/" : normal;
}

std::optional<ConfigLine> parse_config_line(std::string_view line) {
  line = trim(line);
  if (line.empty() || line[0] == '#') return std::nullopt;
  size_t end = 0;
  while (end < line.size() && name_character(line[end], end == 0)) ++end;
  if (end == 0) return std::nullopt;
  ConfigLine parsed{to_lower(line.substr(0, end)), ""};
  std::string_view rest = trim(line.substr(end));
  if (rest.starts_with('=')) rest = trim(rest.substr(1));
  if (rest.empty() || rest[0] == '#') return std::nullopt;
  if (rest[0] == '\'') {
    auto value = unquote(rest);
    if (!value) return std::nullopt;
    parsed.value = std::move(*value);
    return parsed;
  }
  parsed.value = std::string(rest.substr(0, rest.find_first_of(" \t#")));
  return parsed;
}

std::optional<std::string> last_setting(std::string_view text, std::string_view name) {
  std::optional<std::string> value;
  for (std::string_view line : split(text, '\n')) {
    auto parsed = parse_config_line(line);
    if (parsed && parsed->name == name) value = std::move(parsed->value);
  }
  return value;
}

ConfigPlaces::ConfigPlaces(std::string source_data_directory, const std::vector<repo::ExternalFile>& files)
    : source_data_directory_(normal_path(source_data_directory, "/")) {
  for (const repo::ExternalFile& file : files) {
    if (file.setting == "config_file") base_ = normal_path(parent_path(file.path), "/");
  }
  for (const repo::ExternalFile& file : files) {
    std::string path = normal_path(file.path, "/");
    std::string place = file.setting == "config_file"  ? "postgresql.conf"
                        : file.setting == "hba_file"   ? "pg_hba.conf"
                        : file.setting == "ident_file" ? "pg_ident.conf"
                                                       : place_of(path);
    places_.emplace(std::move(path), std::move(place));
  }
}

std::string ConfigPlaces::place_of(const std::string& source_path) const {
  auto beside = below(source_path, base_);
  if (beside && !beside->empty() && !taken_name(split(*beside, '/')[0])) return *beside;
  return cat(kElsewhere, source_path);
}

const std::string* ConfigPlaces::place(const std::string& source_path) const {
  auto found = places_.find(normal_path(source_path, "/"));
  return found == places_.end() ? nullptr : &found->second;
}

std::optional<std::string> ConfigPlaces::place_directory(const std::string& source_path) const {
  std::string path = normal_path(source_path, "/");
  if (auto in = inside(path)) return in;
  bool captured = std::any_of(places_.begin(), places_.end(),
                              [&](const auto& file) { return below(file.first, path).has_value(); });
  // An empty directory beside the main file (Debian's conf.d) is made; elsewhere there is nothing to point
  // to.
  auto beside = below(path, base_);
  if (!captured && !(beside && !beside->empty())) return std::nullopt;
  return place_of(path);
}

std::optional<std::string> ConfigPlaces::inside(const std::string& source_path) const {
  return below(normal_path(source_path, "/"), source_data_directory_);
}

AdoptedConfig adopt_config(std::string_view text, const std::string& source_path, const std::string& place,
                           const ConfigPlaces& places, ConfigSyntax syntax) {
  AdoptedConfig adopted;
  std::string source_directory = parent_path(source_path);
  auto disable = [&](std::string_view line, std::string_view reason) {
    adopted.text += cat("# ", reason, ": ", trim(line));
    adopted.changed = true;
    adopted.notes.push_back(cat(place, ": \"", trim(line), "\" commented out: ", reason));
  };
  std::vector<std::string_view> lines = split(text, '\n');
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string_view line = lines[i];
    if (i > 0) adopted.text += '\n';
    auto parsed = parse_config_line(line);
    if (!parsed) {
      adopted.text += line;
      continue;
    }
    if (is_include(parsed->name)) {
      std::string target = normal_path(parsed->value, source_directory);
      std::optional<std::string> to;
      if (parsed->name == "include_dir") {
        to = places.place_directory(target);
        if (to) adopted.directories.push_back(*to);
      } else if (const std::string* found = places.place(target)) {
        to = *found;
      } else {
        to = places.inside(target);
      }
      if (!to) {
        disable(line, "not in the backup");
        continue;
      }
      std::string relative = relative_from(place, *to);
      if (relative == parsed->value) {
        adopted.text += line;
      } else {
        adopted.text +=
            cat(parsed->name, " ", syntax == ConfigSyntax::settings ? pg::quote_setting(relative) : relative);
        adopted.changed = true;
      }
      continue;
    }
    bool placing =
        syntax == ConfigSyntax::settings && std::ranges::find(kPlacing, parsed->name) != kPlacing.end();
    if (placing) {
      disable(line, "names the original's files");
      continue;
    }
    adopted.text += line;
  }
  return adopted;
}

}  // namespace lifeboat::ops
