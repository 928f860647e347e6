#include "app/config.h"

#include <algorithm>

// The parser stays in this file; its exceptions are off, so that it returns its errors.
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "app/daemon/cron.h"
#include "app/hooks.h"
#include "app/options.h"
#include "app/values.h"
#include "model/names.h"
#include "util/files.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

// `url` and `repo` are the only keys that are not options of the same name and section.
const Option& url_option() {
  static constexpr Option kUrl = {
      .name = "url", .kind = ValueKind::repository, .placeholder = "URL", .help = "where the repository is"};
  return kUrl;
}

std::string_view section_name(ConfigSection section) {
  return section == ConfigSection::cluster ? "cluster" : "repo";
}

const Option& hook_timeout_option() {
  static constexpr Option kTimeout = {.name = "timeout",
                                      .kind = ValueKind::duration,
                                      .placeholder = "TIME",
                                      .help = "how long a hook may run",
                                      .min = 1000};
  return kTimeout;
}

const Option& jitter_option() {
  static constexpr Option kJitter = {.name = "jitter",
                                     .kind = ValueKind::duration,
                                     .placeholder = "TIME",
                                     .help = "by how much a job may be late",
                                     .min = 0,
                                     .max = 86'400'000'000};
  return kJitter;
}

const Option& beacon_option() {
  static constexpr Option kBeacon = {.name = "beacon",
                                     .kind = ValueKind::duration,
                                     .placeholder = "TIME",
                                     .help = "how often a beacon is written",
                                     .min = 100'000,
                                     .max = 86'400'000'000};
  return kBeacon;
}

const Option& signals_option() {
  static constexpr Option kSignals = {.name = "signals",
                                      .kind = ValueKind::duration,
                                      .placeholder = "TIME",
                                      .help = "how often signals are read",
                                      .min = 1'000'000,
                                      .max = 86'400'000'000};
  return kSignals;
}

// "before-backup", "after-backup", …
std::vector<std::string> hook_names() {
  std::vector<std::string> names;
  for (const Command* command : commands()) {
    if (!command->hooks) continue;
    for (std::string_view when : {"before-", "after-"}) names.push_back(cat(when, hook_suffix(*command)));
  }
  return names;
}

// Every option that any command lets the section set.
std::vector<const Option*> options_of(ConfigSection section) {
  std::vector<const Option*> options;
  auto add = [&](const Option& option) {
    if (option.section != section) return;
    if (std::ranges::none_of(options, [&](const Option* known) { return known->name == option.name; })) {
      options.push_back(&option);
    }
  };
  for (const OptionGroup* group : {&kRepoOptions, &kServerOptions}) {
    for (const Option& option : group->options) add(option);
  }
  for (const Command* command : commands()) for_each_option(*command, add);
  return options;
}

class Reader {
 public:
  explicit Reader(std::string path) { config_.path = std::move(path); }

  Result<Config> read(std::string_view text) {
    toml::parse_result parsed = toml::parse(text, config_.path);
    if (!parsed) {
      return error(parsed.error().source(), std::string(parsed.error().description()));
    }
    for (auto&& [key, node] : parsed.table()) {
      if (key.str() == "cluster") {
        TRY(section(ConfigSection::cluster, node));
      } else if (key.str() == "repo") {
        TRY(section(ConfigSection::repo, node));
      } else if (key.str() == "alert") {
        TRY(receivers(node));
      } else if (key.str() == "serve") {
        TRY_ASSIGN(ConfigSectionEntries entries, entries_of("serve", node));
        TRY_ASSIGN(config_.serve, read_serve(entries));
      } else {
        return error(key.source(), cat("unknown section or key '", key.str(), "'"))
            .with_hint("the file has sections [cluster.NAME], [repo.NAME], [alert.NAME] and [serve]");
      }
    }
    return std::move(config_);
  }

 private:
  Error error(const toml::source_region& where, std::string message) const {
    return make_error(ErrorKind::config, cat(config_.path, ":", where.begin.line), std::move(message));
  }

  // A section whose keys hold texts, numbers, booleans, or lists of them.
  Result<ConfigSectionEntries> entries_of(std::string section, const toml::node& node) const {
    const toml::table* table = node.as_table();
    if (table == nullptr)
      return error(node.source(), cat("'", section, "' must be a section [", section, "]"));
    ConfigSectionEntries found = {
        config_.path, std::move(section), static_cast<int>(node.source().begin.line), {}};
    for (auto&& [key, value] : *table) {
      ConfigEntry entry = {
          std::string(key.str()), {}, value.is_array(), static_cast<int>(key.source().begin.line)};
      auto add = [&](const toml::node& one) {
        auto text = plain_text(one);
        if (text) entry.values.push_back(*std::move(text));
        return text.has_value();
      };
      bool understood = true;
      if (const toml::array* array = value.as_array()) {
        for (const toml::node& element : *array) understood = understood && add(element);
      } else {
        understood = add(value);
      }
      if (!understood)
        return error(value.source(),
                     cat(key.str(), ": expected a text, a number, a boolean, or a list of texts"));
      found.entries.push_back(std::move(entry));
    }
    return found;
  }

  static std::optional<std::string> plain_text(const toml::node& node) {
    if (auto string = node.as_string()) return string->get();
    if (auto integer = node.as_integer()) return std::to_string(integer->get());
    if (auto real = node.as_floating_point()) return std::to_string(real->get());
    if (auto boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
    return std::nullopt;
  }

  Status receivers(const toml::node& node) {
    const toml::table* names = node.as_table();
    if (names == nullptr) return error(node.source(), "'alert' must be a section [alert.NAME]");
    for (auto&& [key, child] : *names) {
      if (!check_cluster_name(key.str()))
        return error(key.source(), cat("'", key.str(), "' is not a name: 1 to 63 of a-z, 0-9, _ and -"));
      TRY_ASSIGN(ConfigSectionEntries entries, entries_of(cat("alert.", key.str()), child));
      TRY_ASSIGN(ready::Receiver receiver, read_receiver(std::string(key.str()), entries));
      config_.receivers.push_back(std::move(receiver));
    }
    return {};
  }

  Status signals(ConfigBlock& block, const toml::node& node) {
    TRY_ASSIGN(const toml::table* table, own_section(block, "signals", node));
    for (auto&& [key, value] : *table) {
      const ready::SignalInfo* signal = ready::find_signal(key.str());
      if (signal == nullptr) {
        std::vector<std::string_view> known;
        for (const ready::SignalInfo& one : ready::signals()) known.push_back(one.id);
        return unknown_key(cat("cluster.", block.name, ".signals"), key, known);
      }
      TRY_ASSIGN(ConfigSectionEntries entries,
                 entries_of(cat("cluster.", block.name, ".signals.", key.str()), value));
      TRY_ASSIGN(block.signals[std::string(key.str())], read_signal_override(*signal, entries));
    }
    return {};
  }

  Status heal(ConfigBlock& block, const toml::node& node) {
    TRY_ASSIGN(ConfigSectionEntries entries, entries_of(cat("cluster.", block.name, ".heal"), node));
    TRY_ASSIGN(block.heal, read_heal(entries));
    return {};
  }

  Status section(ConfigSection kind, const toml::node& node) {
    const toml::table* names = node.as_table();
    if (names == nullptr) {
      return error(node.source(),
                   cat("'", section_name(kind), "' must be a section [", section_name(kind), ".NAME]"));
    }
    for (auto&& [key, child] : *names) {
      const toml::table* table = child.as_table();
      if (table == nullptr) {
        return error(key.source(), cat("expected a section [", section_name(kind), ".NAME], found the key '",
                                       key.str(), "' outside of one"));
      }
      if (!check_cluster_name(key.str())) {
        return error(key.source(), cat("'", key.str(), "' is not a name: 1 to 63 of a-z, 0-9, _ and -"));
      }
      ConfigBlock block;
      block.section = kind;
      block.name = key.str();
      for (auto&& [name, value] : *table) TRY(entry(block, name, value));
      if (kind == ConfigSection::repo && block.url.empty()) {
        return error(child.source(), cat("[repo.", block.name, "] has no url"));
      }
      config_.blocks.push_back(std::move(block));
    }
    return {};
  }

  Status entry(ConfigBlock& block, const toml::key& key, const toml::node& node) {
    std::string_view name = key.str();
    if (block.section == ConfigSection::repo && name == "url") {
      TRY_ASSIGN(block.url, scalar(url_option(), key, node));
      if (block.url.find(':') == std::string::npos)
        return error(key.source(), "url: expected a URL or a directory");
      return {};
    }
    if (block.section == ConfigSection::cluster && name == "repo") {
      TRY_ASSIGN(block.repo, scalar(url_option(), key, node));
      return {};
    }
    if (block.section == ConfigSection::cluster && name == "hooks") return hooks(block, node);
    if (block.section == ConfigSection::cluster && name == "serve") return service(block, node);
    if (block.section == ConfigSection::cluster && name == "drill") return drill(block, node);
    if (block.section == ConfigSection::cluster && name == "schedule") return schedule(block, node);
    if (block.section == ConfigSection::cluster && name == "signals") return signals(block, node);
    if (block.section == ConfigSection::cluster && name == "heal") return heal(block, node);
    auto options = options_of(block.section);
    auto found = std::ranges::find_if(options, [&](const Option* option) { return option->name == name; });
    if (found == options.end()) return unknown_key(block, key, options);
    ConfigValue value = {*found, {}, static_cast<int>(key.source().begin.line)};
    if (const toml::array* array = node.as_array()) {
      if (!(*found)->repeatable) return error(key.source(), cat(name, ": expected one value, found a list"));
      for (const toml::node& element : *array) {
        TRY_ASSIGN(std::string text, scalar(**found, key, element));
        value.values.push_back(std::move(text));
      }
      if (value.values.empty()) return {};
    } else {
      TRY_ASSIGN(std::string text, scalar(**found, key, node));
      value.values.push_back(std::move(text));
    }
    block.values.push_back(std::move(value));
    return {};
  }

  Status hooks(ConfigBlock& block, const toml::node& node) {
    const std::string section = cat("cluster.", block.name, ".hooks");
    const toml::table* table = node.as_table();
    if (table == nullptr) return error(node.source(), cat("'hooks' must be a section [", section, "]"));
    const std::vector<std::string> names = hook_names();
    for (auto&& [key, value] : *table) {
      if (key.str() == "timeout") {
        TRY_ASSIGN(std::string text, scalar(hook_timeout_option(), key, value));
        block.hook_timeout_us = *parse_duration(text);
        continue;
      }
      if (std::ranges::find(names, key.str()) == names.end()) {
        std::vector<std::string_view> known(names.begin(), names.end());
        known.push_back("timeout");
        return unknown_key(section, key, known);
      }
      TRY_ASSIGN(std::vector<std::string> argv, program(key, value));
      block.hooks.push_back(
          {std::string(key.str()), std::move(argv), static_cast<int>(key.source().begin.line)});
    }
    return {};
  }

  // Any name but timeout is that of a check.
  Status drill(ConfigBlock& block, const toml::node& node) {
    TRY_ASSIGN(const toml::table* table, own_section(block, "drill", node));
    for (auto&& [key, value] : *table) {
      if (key.str() == "timeout") {
        TRY_ASSIGN(std::string text, scalar(hook_timeout_option(), key, value));
        block.drill_timeout_us = *parse_duration(text);
        continue;
      }
      TRY_ASSIGN(std::vector<std::string> argv, program(key, value));
      block.drill_checks.push_back(
          {std::string(key.str()), std::move(argv), static_cast<int>(key.source().begin.line)});
    }
    return {};
  }

  // A program and its arguments: no shell will look at them.
  Result<std::vector<std::string>> program(const toml::key& key, const toml::node& node) const {
    auto argv = node.is_array() ? words(node) : std::nullopt;
    if (!argv || argv->empty()) {
      return error(node.source(), cat(key.str(), ": expected a list of texts, a program and its arguments"))
          .with_hint(cat("as in ", key.str(), " = [\"/usr/local/bin/notify\", \"backup\"]"));
    }
    if (!argv->front().starts_with('/')) {
      return error(node.source(), cat(key.str(), ": '", argv->front(), "' is not an absolute path"));
    }
    return *std::move(argv);
  }

  // A list of texts, each a word of its own; one text is a list of one.
  static std::optional<std::vector<std::string>> words(const toml::node& node) {
    std::vector<std::string> list;
    auto add = [&](const toml::node& element) {
      auto text = element.as_string();
      // execve() would cut it off there.
      if (text == nullptr || text->get().find('\0') != std::string::npos) return false;
      list.push_back(text->get());
      return true;
    };
    const toml::array* array = node.as_array();
    if (array == nullptr) return add(node) ? std::optional(list) : std::nullopt;
    for (const toml::node& element : *array)
      if (!add(element)) return std::nullopt;
    return list;
  }

  Result<const toml::table*> own_section(const ConfigBlock& block, std::string_view name,
                                         const toml::node& node) const {
    if (const toml::table* table = node.as_table()) return table;
    return error(node.source(), cat("'", name, "' must be a section [cluster.", block.name, ".", name, "]"));
  }

  Status service(ConfigBlock& block, const toml::node& node) {
    TRY_ASSIGN(const toml::table* table, own_section(block, "serve", node));
    ConfigService& service = block.service;
    service.line = static_cast<int>(node.source().begin.line);
    for (auto&& [key, value] : *table) {
      if (key.str() == "jitter") {
        TRY_ASSIGN(std::string text, scalar(jitter_option(), key, value));
        service.jitter_us = *parse_duration(text);
      } else if (key.str() == "beacon") {
        TRY_ASSIGN(service.beacon_every, scalar(beacon_option(), key, value));
      } else if (key.str() == "signals") {
        TRY_ASSIGN(std::string text, scalar(signals_option(), key, value));
        service.signals_us = *parse_duration(text);
      } else if (key.str() == "archive") {
        auto whether = value.as_boolean();
        if (whether == nullptr) return error(value.source(), "archive: expected true or false");
        service.archive = whether->get();
      } else if (key.str() == "receive") {
        TRY(receive(service, key, value));
      } else {
        return unknown_key(cat("cluster.", block.name, ".serve"), key,
                           {"jitter", "archive", "receive", "beacon", "signals"});
      }
    }
    return {};
  }

  Status receive(ConfigService& service, const toml::key& key, const toml::node& node) const {
    if (auto whether = node.as_boolean()) {
      service.receive = whether->get();
      return {};
    }
    auto options = node.is_array() ? words(node) : std::nullopt;
    if (!options)
      return error(node.source(),
                   cat(key.str(), ": expected true, false or a list of options of wal receive"));
    service.receive = true;
    service.receive_words = *std::move(options);
    return {};
  }

  Status schedule(ConfigBlock& block, const toml::node& node) {
    TRY_ASSIGN(const toml::table* table, own_section(block, "schedule", node));
    for (auto&& [key, value] : *table) {
      auto list = words(value);
      if (!list || list->empty()) {
        return error(value.source(),
                     cat(key.str(), ": expected a cron expression, or a list of one and a command"))
            .with_hint("as in backup = \"15 1 * * *\" or check = [\"0 4 * * 0\", \"verify\"]");
      }
      auto when = CronExpression::parse(list->front());
      if (!when) {
        return error(value.source(), cat(key.str(), ": ", when.error().object, ": ", when.error().message))
            .with_hint(when.error().hint);
      }
      ConfigJob job = {std::string(key.str()),
                       list->front(),
                       {list->begin() + 1, list->end()},
                       static_cast<int>(key.source().begin.line)};
      // `backup = "…"`, and `backup = ["…", "--type", "full"]`: the name is the command.
      if (job.words.empty() || job.words.front().starts_with('-'))
        job.words.insert(job.words.begin(), job.name);
      block.schedule.push_back(std::move(job));
    }
    return {};
  }

  Error unknown_key(const ConfigBlock& block, const toml::key& key,
                    const std::vector<const Option*>& options) const {
    std::vector<std::string_view> known = {block.section == ConfigSection::repo ? "url" : "repo"};
    if (block.section == ConfigSection::cluster)
      known.insert(known.end(), {"hooks", "serve", "schedule", "drill", "signals", "heal"});
    for (const Option* option : options) known.push_back(option->name);
    return unknown_key(cat(section_name(block.section), ".", block.name), key, known);
  }

  Error unknown_key(std::string_view section, const toml::key& key,
                    const std::vector<std::string_view>& known) const {
    Error result = error(key.source(), cat("unknown key '", key.str(), "' in [", section, "]"));
    if (auto near = nearest(key.str(), known); !near.empty()) {
      result.hint = cat("did you mean ", near, "?");
      return result;
    }
    result.hint = "known keys:";
    for (std::string_view name : known) result.hint += cat(" ", name);
    return result;
  }

  // A string, whole number or boolean, checked as the same text on the command line would be.
  Result<std::string> scalar(const Option& option, const toml::key& key, const toml::node& node) const {
    std::string text;
    if (auto string = node.as_string()) {
      text = string->get();
    } else if (auto integer = node.as_integer()) {
      text = std::to_string(integer->get());
    } else if (auto boolean = node.as_boolean()) {
      text = boolean->get() ? "true" : "false";
    } else {
      return error(node.source(), cat(key.str(), ": expected a text, a whole number or a boolean"));
    }
    auto checked = check_value(option, text, "");
    if (checked) return std::move(checked).value();
    const Error& reason = checked.error();
    std::string message = reason.object.empty() ? reason.message : cat(reason.object, ": ", reason.message);
    return error(node.source(), cat(key.str(), ": ", message)).with_hint(reason.hint);
  }

  Config config_;
};

}  // namespace

const ConfigBlock* Config::find(ConfigSection section, std::string_view name) const {
  for (const ConfigBlock& block : blocks) {
    if (block.section == section && block.name == name) return &block;
  }
  return nullptr;
}

const ConfigBlock* Config::only_repo() const {
  const ConfigBlock* only = nullptr;
  for (const ConfigBlock& block : blocks) {
    if (block.section != ConfigSection::repo) continue;
    if (only != nullptr) return nullptr;
    only = &block;
  }
  return only;
}

const ConfigBlock* Config::repo_with_url(std::string_view url) const {
  for (const ConfigBlock& block : blocks) {
    if (block.section == ConfigSection::repo && block.url == url) return &block;
  }
  return nullptr;
}

Result<Config> parse_config(std::string_view text, std::string path) {
  return Reader(std::move(path)).read(text);
}

Result<Config> read_config(const std::string& path) {
  constexpr uint64_t kLimit = 1 << 20;
  auto text = read_text(path, kLimit);
  if (text) return parse_config(*text, path);
  Error error = std::move(text).error();
  if (error.kind == ErrorKind::damaged) {
    return make_error(ErrorKind::config, path, "is larger than 1 MB: not a configuration file of lifeboat");
  }
  if (error.kind == ErrorKind::permission)
    error.hint = "the user who runs the command must be able to read it";
  return std::move(error).within("configuration file");
}

}  // namespace lifeboat::app
