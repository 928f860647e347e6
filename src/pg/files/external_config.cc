#include "pg/files/external_config.h"

#include <unistd.h>

#include <algorithm>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

constexpr uint64_t kLargestConfig = 16 << 20;
constexpr int kDeepestInclude = 10;  // CONF_FILE_MAX_DEPTH, src/include/utils/conffiles.h

// Takes one word off the front: bare, 'quoted' (with '' and backslash escapes) or "quoted".
std::string take_word(std::string_view& text) {
  text = trim(text);
  std::string word;
  if (text.empty() || text[0] == '#') return word;
  const char quote = text[0] == '\'' || text[0] == '"' ? text[0] : '\0';
  size_t at = quote ? 1 : 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quote) {
      if (c == quote && at + 1 < text.size() && text[at + 1] == quote) {
        ++at;
      } else if (c == quote) {
        ++at;
        break;
      } else if (c == '\\' && quote == '\'' && at + 1 < text.size()) {
        word += text[++at];
        continue;
      }
    } else if (c == ' ' || c == '\t' || c == '#' || c == '=' || c == ',') {
      break;
    }
    word += c;
  }
  text.remove_prefix(at);
  return word;
}

bool inside_of(const std::string& path, const std::string& directory) {
  return !directory.empty() && path.starts_with(directory + "/");
}

class Collector {
 public:
  Collector(std::string data_directory, FileSource& source)
      : data_directory_(std::move(data_directory)), source_(source) {
    while (data_directory_.size() > 1 && data_directory_.ends_with('/')) data_directory_.pop_back();
  }

  // A file, and what it includes as far as this process may read it.
  void add(ConfigRole role, const std::string& path, int depth = 0) {
    if (path.empty() || path[0] != '/' || depth > kDeepestInclude) return;
    for (const ConfigFile& known : found_.files)
      if (known.path == path) return;
    ConfigFile file{role, path, inside_of(path, data_directory_), false, 0};
    auto text = read_small_file(source_, path, kLargestConfig);
    if (text && !*text) return;  // include_if_exists, or gone since the server read it
    if (text) {
      file.readable = true;
      file.size = (*text)->size();
    } else {
      note_unreadable(path, text.error());
    }
    found_.files.push_back(std::move(file));
    if (!text) return;
    for (std::string_view line : split(as_text(**text), '\n')) follow(line, path, depth);
  }

  ConfigFiles& found() { return found_; }
  ConfigFiles finish() {
    if (!unreadable_.empty())
      found_.warnings.push_back(cat(
          "configuration that cannot be read is not in the backup: ", join(unreadable_, ", "), ": ", why_));
    return std::move(found_);
  }
  bool warned_about_includes = false;

 private:
  // include, include_if_exists and include_dir (guc-file.l; hba and ident files know them from 16 on), and
  // @file lists in hba and ident files of every version.
  void follow(std::string_view line, const std::string& from, int depth) {
    std::string_view rest = line;
    const std::string directive = to_lower(take_word(rest));
    const bool one = directive == "include" || directive == "include_if_exists";
    if (one || directive == "include_dir") {
      rest = trim(rest);
      if (rest.starts_with('=')) rest.remove_prefix(1);
      const std::string target = resolve(take_word(rest), from);
      if (one)
        add(ConfigRole::included, target, depth + 1);
      else
        add_directory(target, depth + 1);
      return;
    }
    rest = line;
    while (!trim(rest).empty() && trim(rest)[0] != '#') {
      rest = trim(rest);
      if (rest[0] == ',' || rest[0] == '=') {
        rest.remove_prefix(1);
        continue;
      }
      const std::string word = take_word(rest);
      if (word.size() > 1 && word[0] == '@')
        add(ConfigRole::included, resolve(word.substr(1), from), depth + 1);
    }
  }

  void add_directory(const std::string& path, int depth) {
    auto names = source_.names(path);  // in order, as the server reads them
    if (!names) {
      note_unreadable(path, names.error());
      return;
    }
    for (const std::string& name : *names)
      if (name.ends_with(".conf") && name[0] != '.') add(ConfigRole::included, join_path(path, name), depth);
  }

  void note_unreadable(const std::string& path, const Error& error) {
    if (unreadable_.empty()) why_ = cat(error.cause.empty() ? error.message : error.cause);
    if (unreadable_.empty() && !error.hint.empty()) why_ += cat("; ", error.hint);
    unreadable_.push_back(path);
  }

  static std::string resolve(const std::string& target, const std::string& from) {
    return target.empty() || target[0] == '/' ? target : join_path(parent_path(from), target);
  }

  std::string data_directory_;
  FileSource& source_;
  ConfigFiles found_;
  std::vector<std::string> unreadable_;
  std::string why_;  // the first could not be read
};

}  // namespace

std::string_view to_string(ConfigRole role) {
  switch (role) {
    case ConfigRole::config:
      return "config";
    case ConfigRole::hba:
      return "hba";
    case ConfigRole::ident:
      return "ident";
    case ConfigRole::included:
      return "included";
  }
  return "included";
}

Result<ConfigFiles> list_config_files(PgClient& client, const std::string& data_directory,
                                      FileSource& source) {
  Collector collector(data_directory, source);
  auto warn = [&](std::string text) { collector.found().warnings.push_back(std::move(text)); };
  const std::pair<const char*, ConfigRole> settings[] = {
      {"config_file", ConfigRole::config}, {"hba_file", ConfigRole::hba}, {"ident_file", ConfigRole::ident}};
  for (const auto& [name, role] : settings) {
    auto path = client.value("SELECT current_setting($1)", {Param(name)});
    if (path)
      collector.add(role, path->value_or(""));
    else if (path.error().kind == ErrorKind::permission)
      warn(cat(name, " may not be read: grant pg_read_all_settings to this role"));
    else
      return std::move(path).error().within(cat("reading ", name));
  }
  // What the server itself has read, for files that this process cannot read. The view is the better source:
  // it names files whose settings are all overridden, too.
  auto included =
      client.query("SELECT DISTINCT sourcefile FROM pg_file_settings WHERE sourcefile IS NOT NULL");
  if (!included && included.error().kind == ErrorKind::permission)
    included = client.query("SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL");
  if (!included) return std::move(included).error().within("reading included configuration files");
  for (int row = 0; row < included->size(); ++row)
    collector.add(ConfigRole::included, std::string(included->text(row, 0)));
  return collector.finish();
}

}  // namespace lifeboat::pg
