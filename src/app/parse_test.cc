#include "app/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/testing/sample_commands.h"

namespace lifeboat::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Arguments = std::vector<std::string_view>;

Result<CommandLine> parse(const Arguments& arguments) {
  return parse_command_line(arguments, "/work", testing_table::kTable);
}

Error refusal(const Arguments& arguments) {
  auto line = parse(arguments);
  return line ? make_error(ErrorKind::internal, "", "was accepted") : line.error();
}

std::string value(const CommandLine& line, std::string_view name) {
  for (const GivenOption& given : line.options) {
    if (given.option->name == name) return given.value;
  }
  return "(none)";
}

TEST(parse, options_come_with_space_or_equals_sign) {
  auto line = parse({"restore", "--to", "new", "--port=5433", "--exclusive"});
  ASSERT_TRUE(line) << line.error().to_string();
  EXPECT_EQ(line->command->path, "restore");
  EXPECT_EQ(value(*line, "to"), "/work/new");
  EXPECT_EQ(value(*line, "port"), "5433");
  EXPECT_EQ(value(*line, "exclusive"), "true");
}

TEST(parse, common_options_may_stand_before_and_between_the_words_of_a_command) {
  auto line = parse({"--repo", "/r", "wal", "--cluster=one", "push", "pg_wal/1"});
  ASSERT_TRUE(line) << line.error().to_string();
  EXPECT_EQ(line->command->path, "wal push");
  EXPECT_EQ(value(*line, "repo"), "file:///r");
  EXPECT_EQ(value(*line, "cluster"), "one");
  EXPECT_THAT(line->positionals, ElementsAre("/work/pg_wal/1"));
}

TEST(parse, a_common_option_that_the_command_does_not_take_is_refused) {
  Error error = refusal({"--repo", "/r", "version"});
  EXPECT_EQ(error.kind, ErrorKind::usage);
  EXPECT_EQ(error.to_string(), "--repo: not an option of lifeboat version");
}

TEST(parse, other_options_before_the_command_are_refused) {
  EXPECT_EQ(refusal({"--port", "5433", "restore"}).object, "--port");
}

TEST(parse, a_misspelt_command_names_the_nearest) {
  Error error = refusal({"restoer"});
  EXPECT_EQ(error.kind, ErrorKind::usage);
  EXPECT_EQ(error.to_string(), "restoer: unknown command");
  EXPECT_EQ(error.hint, "did you mean lifeboat restore?");
  EXPECT_EQ(refusal({"wal", "psuh", "x"}).hint, "did you mean lifeboat wal push?");
  EXPECT_EQ(refusal({"frobnicate"}).hint, "lifeboat help lists the commands");
}

TEST(parse, a_misspelt_option_names_the_nearest) {
  Error error = refusal({"restore", "--targettime", "x"});
  EXPECT_EQ(error.to_string(), "--targettime: not an option of lifeboat restore");
  EXPECT_EQ(error.hint, "did you mean --target-time?");
}

TEST(parse, options_are_never_abbreviated) {
  EXPECT_EQ(refusal({"restore", "--por", "1"}).hint, "did you mean --port?");
}

TEST(parse, single_dash_options_are_refused) {
  EXPECT_THAT(refusal({"restore", "-p"}).to_string(), HasSubstr("-p"));
}

TEST(parse, an_option_with_a_bare_value_may_stand_alone) {
  auto alone = parse({"wal", "get", "name", "path", "--dropped"});
  ASSERT_TRUE(alone);
  EXPECT_EQ(value(*alone, "dropped"), "*");
  auto followed = parse({"wal", "get", "name", "path", "--dropped", "--standby"});
  ASSERT_TRUE(followed);
  EXPECT_EQ(value(*followed, "dropped"), "*");
  for (const char* table : {"orders", "shop.orders"}) {
    auto named = parse({"wal", "get", "name", "path", "--dropped", table});
    ASSERT_TRUE(named);
    EXPECT_EQ(value(*named, "dropped"), table);
  }
  EXPECT_EQ(value(*parse({"wal", "get", "name", "path", "--dropped=--odd"}), "dropped"), "--odd");
}

TEST(parse, an_option_that_swallows_another_is_refused) {
  Error error = refusal({"restore", "--to", "--port", "5433"});
  EXPECT_EQ(error.to_string(), "--to: needs a value, found the option --port");
  EXPECT_EQ(refusal({"restore", "--to"}).to_string(), "--to: needs a value: --to DIR");
  auto line = parse({"restore", "--to=--odd"});
  ASSERT_TRUE(line);
  EXPECT_EQ(value(*line, "to"), "/work/--odd");
}

TEST(parse, an_option_given_twice_is_refused_unless_repeatable) {
  EXPECT_EQ(refusal({"restore", "--port", "1", "--port", "1"}).to_string(), "--port: given twice");
  auto line = parse({"restore", "--tablespace", "/a=/b", "--tablespace", "/c=/d"});
  ASSERT_TRUE(line);
  EXPECT_EQ(line->options.size(), 2u);
}

TEST(parse, a_flag_takes_no_value) {
  EXPECT_EQ(refusal({"restore", "--replace=yes"}).to_string(), "--replace: takes no value, found 'yes'");
}

TEST(parse, a_bad_value_names_the_option) {
  EXPECT_EQ(refusal({"restore", "--port", "many"}).to_string(),
            "--port: expected a whole number from 1 to 65535, found 'many'");
  Error error = refusal({"restore", "--target-time", "2026-11-20 10:56:25"});
  EXPECT_EQ(error.kind, ErrorKind::usage);
  EXPECT_THAT(error.to_string(), HasSubstr("--target-time"));
}

TEST(parse, positionals_are_counted) {
  EXPECT_EQ(refusal({"wal", "push"}).to_string(), "lifeboat wal push: needs PATH");
  EXPECT_EQ(refusal({"wal", "push", "a", "b"}).to_string(), "b: unexpected argument of lifeboat wal push");
  EXPECT_EQ(refusal({"wal", "get", "a"}).to_string(), "lifeboat wal get: needs PATH");
  auto line = parse({"wal", "get", "--", "-odd", "x"});
  ASSERT_TRUE(line);
  EXPECT_THAT(line->positionals, ElementsAre("-odd", "/work/x"));
}

TEST(parse, half_a_command_names_the_rest) {
  EXPECT_EQ(refusal({"wal"}).to_string(), "lifeboat wal: needs one of: push, get");
  EXPECT_EQ(refusal({}).to_string(), "no command given");
}

TEST(parse, help_is_found_anywhere) {
  auto line = parse({"restore", "--help"});
  ASSERT_TRUE(line);
  EXPECT_TRUE(line->help);
  line = parse({"wal", "push", "-h"});  // without the PATH it would need
  ASSERT_TRUE(line);
  EXPECT_TRUE(line->help);
  line = parse({"wal", "--help"});
  ASSERT_TRUE(line);
  EXPECT_EQ(line->command->path, "help");
  EXPECT_THAT(line->positionals, ElementsAre("wal"));
  line = parse({"--help"});
  ASSERT_TRUE(line);
  EXPECT_EQ(line->command->path, "help");
  EXPECT_TRUE(line->positionals.empty());
}

TEST(parse, version_is_an_option_too) {
  auto line = parse({"--version"});
  ASSERT_TRUE(line);
  EXPECT_EQ(line->command->path, "version");
}

TEST(parse, the_command_is_guessed_when_its_line_does_not_parse) {
  auto guess = [](const Arguments& arguments) { return guess_command(arguments, testing_table::kTable); };
  EXPECT_EQ(guess({"--repo", "/r", "wal", "get", "--bad"}), &testing_table::kGet);
  EXPECT_EQ(guess({"restore", "--x"}), &testing_table::kRestore);
  EXPECT_EQ(guess({"what"}), nullptr);
}

TEST(parse, json_is_recognised_before_anything_parses) {
  EXPECT_TRUE(wants_json(Arguments{"nonsense", "--output", "json"}, ""));
  EXPECT_TRUE(wants_json(Arguments{"--output=json"}, ""));
  EXPECT_TRUE(wants_json(Arguments{"x"}, "json"));
  EXPECT_FALSE(wants_json(Arguments{"x", "--output", "text"}, "json"));
  EXPECT_FALSE(wants_json(Arguments{"x", "--", "--output=json"}, ""));
}

}  // namespace
}  // namespace lifeboat::app
