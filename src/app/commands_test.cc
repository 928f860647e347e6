// What the table must keep for everything that is generated from it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/command.h"
#include "app/help.h"
#include "app/options.h"
#include "app/parse.h"
#include "app/values.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

template <typename F>
void each_option_of_all(F each) {
  for (const Command* command : commands()) {
    for_each_option(*command, [&](const Option& option) { each(*command, option); });
  }
  // Groups that no command may have taken yet.
  static const Command kShared = {
      .path = "(shared)",
      .summary = {},
      .description = {},
      .groups = {&kTargetOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
      .schema = {},
  };
  for_each_option(kShared, [&](const Option& option) { each(kShared, option); });
}

TEST(commands, each_is_complete) {
  std::set<std::string_view> paths;
  for (const Command* command : commands()) {
    EXPECT_TRUE(paths.insert(command->path).second) << command->path;
    EXPECT_NE(command->handler, nullptr) << command->path;
    EXPECT_FALSE(command->summary.empty()) << command->path;
    EXPECT_FALSE(command->summary.ends_with('.')) << command->path;
    EXPECT_TRUE(command->description.ends_with('.')) << command->path;
    EXPECT_NE(find_option(*command, "output"), nullptr) << command->path;
    EXPECT_NE(find_option(*command, "help"), nullptr) << command->path;
  }
}

// `heal blocks` is told from `heal` by its second word, which must mean nothing else.
TEST(commands, a_path_that_begins_another_takes_no_words_of_its_own) {
  for (const Command* one : commands()) {
    for (const Command* other : commands()) {
      if (!other->path.starts_with(cat(one->path, " "))) continue;
      EXPECT_TRUE(one->positionals.empty()) << one->path << ", " << other->path;
    }
  }
  auto path = [](std::vector<std::string_view> words) {
    auto line = parse_command_line(words, "/");
    return line ? std::string(line->command->path) : line.error().to_string();
  };
  EXPECT_EQ(path({"heal"}), "heal");
  EXPECT_EQ(path({"heal", "--apply"}), "heal");
  EXPECT_EQ(path({"heal", "--only", "log"}), "heal");
  EXPECT_EQ(path({"heal", "log"}), "heal log");
  EXPECT_EQ(path({"--repo", "/r", "heal", "blocks"}), "heal blocks");
  EXPECT_THAT(path({"heal", "block"}), HasSubstr("unexpected argument of lifeboat heal"));
}

// behaviour: every command that knows a repository accepts the whole set, and ignores none silently.
TEST(commands, those_with_a_repository_take_all_common_options) {
  for (const Command* command : commands()) {
    if (find_option(*command, "repo") == nullptr && command->run_as == RunAs::caller) continue;
    if (command->path == "heal indexes") continue;  // asks a server, and no repository
    for (std::string_view name : {"repo", "cluster", "pg", "pgdata", "os-user", "config", "yes"}) {
      EXPECT_NE(find_option(*command, name), nullptr) << command->path << " --" << name;
    }
  }
}

TEST(commands, options_of_a_command_are_unique) {
  for (const Command* command : commands()) {
    std::set<std::string_view> names;
    for_each_option(*command, [&](const Option& option) {
      EXPECT_TRUE(names.insert(option.name).second) << command->path << " --" << option.name;
    });
  }
}

TEST(commands, an_option_means_the_same_kind_of_value_everywhere) {
  std::map<std::string_view, const Option*> known;
  each_option_of_all([&](const Command& command, const Option& option) {
    auto [entry, is_new] = known.emplace(option.name, &option);
    if (is_new) return;
    EXPECT_EQ(entry->second->kind, option.kind) << command.path << " --" << option.name;
    EXPECT_EQ(entry->second->section, option.section) << command.path << " --" << option.name;
  });
}

TEST(commands, options_are_well_formed) {
  each_option_of_all([](const Command& command, const Option& option) {
    std::string where = cat(command.path, " --", option.name);
    EXPECT_EQ(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string_view::npos)
        << where;
    EXPECT_FALSE(option.help.empty()) << where;
    EXPECT_FALSE(option.help.ends_with('.')) << where;
    EXPECT_EQ(option.kind == ValueKind::flag, option.placeholder.empty()) << where;
    EXPECT_EQ(option.kind == ValueKind::choice, !option.choices.empty()) << where;
    if (!option.default_text.empty()) {
      EXPECT_TRUE(check_value(option, option.default_text, "/").has_value()) << where;
      EXPECT_FALSE(option.repeatable) << where;
      EXPECT_FALSE(option.required) << where;
    }
  });
}

TEST(commands, excluded_options_exist) {
  for (const Command* command : commands()) {
    for_each_option(*command, [&](const Option& option) {
      for (std::string_view name : split(option.excludes, '|')) {
        if (name.empty()) continue;
        EXPECT_NE(find_option(*command, name), nullptr)
            << command->path << " --" << option.name << " excludes " << name;
      }
    });
  }
}

TEST(commands, only_the_last_positional_repeats_and_none_required_follows_an_optional) {
  for (const Command* command : commands()) {
    bool optional = false;
    for (const Positional& positional : command->positionals) {
      EXPECT_FALSE(optional && positional.required) << command->path;
      optional = optional || !positional.required;
      EXPECT_TRUE(!positional.repeatable || &positional == &command->positionals.back()) << command->path;
    }
  }
}

TEST(commands, schemas_are_json_schemas_of_objects) {
  Json schemas = all_schemas();
  EXPECT_EQ(schemas.size(), commands().size() + 2) << "those of errors and of hooks";
  for (const Command* command : commands()) {
    Json schema = Json::parse(command->schema, nullptr, false);
    ASSERT_TRUE(schema.is_object()) << command->path << ": not valid JSON";
    EXPECT_EQ(schema["type"], "object") << command->path;
    ASSERT_TRUE(schema["properties"].is_object()) << command->path;
    EXPECT_FALSE(schema["properties"].contains("schema")) << command->path << ": names the document's kind";
    for (const auto& name : schema.value("required", Json::array())) {
      EXPECT_TRUE(schema["properties"].contains(name.get<std::string>())) << command->path << " " << name;
    }
    EXPECT_EQ(schemas[schema_id(*command)]["properties"]["schema"]["const"], schema_id(*command));
  }
}

TEST(commands, hooks_belong_to_what_works_on_backups) {
  std::vector<std::string_view> with_hooks;
  for (const Command* command : commands()) {
    if (!command->hooks) continue;
    with_hooks.push_back(command->path);
    EXPECT_NE(find_option(*command, "cluster"), nullptr) << "hooks stand in the section of a cluster";
  }
  EXPECT_THAT(with_hooks, testing::UnorderedElementsAre("backup", "restore", "rollback", "drill", "verify",
                                                        "expire", "recover", "dump create", "dump restore"));
}

TEST(commands, help_and_man_page_name_every_option) {
  for (const Command* command : commands()) {
    std::string help = command_help(*command);
    std::string man = man_page(*command);
    for_each_option(*command, [&](const Option& option) {
      EXPECT_THAT(help, HasSubstr(cat("--", option.name)));
      std::string in_roff;
      for (char c : cat("--", option.name)) in_roff += c == '-' ? std::string("\\-") : std::string(1, c);
      EXPECT_THAT(man, HasSubstr(in_roff));
    });
    if (!command->hidden) {
      EXPECT_THAT(program_help(), HasSubstr(command->path));
      EXPECT_THAT(bash_completion(), HasSubstr(cat("\"", command->path, "\")")));
    }
  }
}

TEST(commands, help_fits_100_columns) {
  for (const Command* command : commands()) {
    std::string help = command_help(*command);
    for (std::string_view line : split(help, '\n')) EXPECT_LE(line.size(), 100u) << line;
  }
}

TEST(commands, environment_names_follow_the_options) {
  EXPECT_EQ(environment_name({.name = "target-time", .help = {}}), "LIFEBOAT_TARGET_TIME");
  EXPECT_EQ(environment_name({.name = "sql", .help = {}, .repeatable = true}), "");
}

TEST(commands, every_error_kind_is_documented) {
  std::string document = errors_document();
  for (const ErrorKindInfo& kind : error_kinds()) {
    EXPECT_THAT(document, HasSubstr(cat("| ", kind.exit_code, " | `", kind.id, "` |")));
  }
}

}  // namespace
}  // namespace lifeboat::app
