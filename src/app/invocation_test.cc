#include "app/invocation.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "app/output.h"
#include "app/testing/sample_commands.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

using Words = std::vector<std::string_view>;

class invocation : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TempDir::make();
    ASSERT_TRUE(directory);
    directory_.emplace(std::move(directory).value());
    notes_fd_ = open((*directory_ / "stderr").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(notes_fd_, 0);
    output_.emplace(notes_fd_, notes_fd_, OutputMode::text);
  }
  void TearDown() override { close(notes_fd_); }

  // With a configuration file of its own, so that the machine's has no say.
  Result<Invocation> resolve(Words arguments, Words environment = {}) {
    config_option_ = cat("--config=", config_path());
    if (!path_exists(config_path()).value_or(false)) write_config("");
    arguments.push_back(config_option_);
    auto line = parse_command_line(arguments, "/work", testing_table::kTable);
    if (!line) return std::move(line).error();
    return Invocation::resolve(std::move(line).value(), environment, "/work", *output_, stop_);
  }
  Invocation resolved(Words arguments, Words environment = {}) {
    auto result = resolve(std::move(arguments), std::move(environment));
    EXPECT_TRUE(result) << result.error().to_string();
    return std::move(result).value();
  }
  std::string config_path() const { return *directory_ / "lifeboat.toml"; }
  void write_config(std::string_view text) {
    ASSERT_TRUE(write_file_durable(config_path(), as_bytes(text), 0600));
  }
  std::string notes() const { return read_text(*directory_ / "stderr", 1 << 20).value_or("unreadable"); }

  std::optional<TempDir> directory_;
  int notes_fd_ = -1;
  std::optional<Output> output_;
  StopToken stop_;
  std::string config_option_;
};

TEST_F(invocation, the_command_line_wins_over_environment_over_file_over_default) {
  write_config("[cluster.main]\njobs = 2\npgdata = '/file'\nwal-timeout = '3min'\npg-bin = '/file/bin'\n");
  Invocation call = resolved({"restore", "--jobs", "4"}, {"LIFEBOAT_JOBS=3", "LIFEBOAT_PGDATA=/environment"});
  EXPECT_EQ(call.jobs(), 4);
  EXPECT_EQ(call.source("jobs"), Source::command_line);
  EXPECT_EQ(call.pgdata(), "/environment");
  EXPECT_EQ(call.source("pgdata"), Source::environment);
  EXPECT_EQ(call.duration_us("wal-timeout"), 180'000'000);
  EXPECT_EQ(call.source("wal-timeout"), Source::file);
  EXPECT_EQ(call.value("action"), "pause");
  EXPECT_EQ(call.source("action"), Source::default_text);
  EXPECT_EQ(call.source("port"), Source::none);
  EXPECT_EQ(call.integer("port"), std::nullopt);
}

TEST_F(invocation, pgdata_of_the_environment_is_the_last_resort) {
  EXPECT_EQ(resolved({"restore"}, {"PGDATA=/from/libpq"}).pgdata(), "/from/libpq");
  EXPECT_EQ(resolved({"restore", "--pgdata", "/given"}, {"PGDATA=/from/libpq"}).pgdata(), "/given");
  EXPECT_EQ(resolved({"restore"}).pgdata(), std::nullopt);
}

TEST_F(invocation, the_cluster_names_its_repository_and_the_repository_its_key) {
  write_config(
      "[cluster.one]\nrepo = 'near'\n[cluster.two]\nrepo = 'far'\n"
      "[repo.near]\nurl = 'file:///near'\n[repo.far]\nurl = 'file:///far'\nkey-file = '/key'\n");
  Invocation one = resolved({"restore", "--cluster", "one"});
  EXPECT_EQ(one.repo().value_or("none"), "file:///near");
  EXPECT_EQ(one.key().kind, KeySource::Kind::none);
  Invocation two = resolved({"restore"}, {"LIFEBOAT_CLUSTER=two"});
  EXPECT_EQ(two.repo().value_or("none"), "file:///far");
  EXPECT_EQ(two.key().kind, KeySource::Kind::key_file);
  EXPECT_EQ(two.key().path, "/key");
  EXPECT_EQ(resolved({"restore", "--cluster=one", "--repo=far"}).repo().value_or("none"), "file:///far");
  // A URL that the file describes brings its settings along.
  EXPECT_EQ(resolved({"restore", "--repo=file:///far"}).key().path, "/key");
  EXPECT_EQ(resolved({"restore", "--repo=file:///elsewhere"}).key().kind, KeySource::Kind::none);
}

TEST_F(invocation, the_only_repository_needs_no_name) {
  write_config("[repo.near]\nurl = 'file:///near'\n");
  EXPECT_EQ(resolved({"restore"}).repo().value_or("none"), "file:///near");
}

TEST_F(invocation, without_a_repository_the_error_says_how_to_give_one) {
  auto repo = resolved({"restore"}).repo();
  ASSERT_FALSE(repo);
  EXPECT_EQ(repo.error().kind, ErrorKind::usage);
  EXPECT_THAT(repo.error().to_string(), HasSubstr("--repo URL"));
}

TEST_F(invocation, an_unknown_repository_name_is_a_configuration_error) {
  auto result = resolve({"restore", "--repo", "nowhere"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::config);
  EXPECT_THAT(result.error().to_string(), HasSubstr("[repo.nowhere]"));
}

TEST_F(invocation, a_configuration_file_that_was_named_must_exist) {
  auto line =
      parse_command_line(Words{"restore", "--config", "/nonexistent.toml"}, "/work", testing_table::kTable);
  ASSERT_TRUE(line);
  auto result = Invocation::resolve(std::move(line).value(), {}, "/work", *output_, stop_);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::config);
}

TEST_F(invocation, options_that_exclude_each_other_are_refused) {
  auto result = resolve({"restore", "--to", "/a", "--replace"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::usage);
  EXPECT_EQ(result.error().to_string(), "--to: cannot stand beside --replace");
  EXPECT_FALSE(resolve({"restore", "--target-lsn=0/1", "--target-time=2026-11-20T10:56:25Z"}));
  EXPECT_FALSE(resolve({"restore", "--target=immediate", "--exclusive"}));
}

TEST_F(invocation, of_excluding_options_the_nearer_source_wins) {
  write_config("[cluster.main]\nrepo = 'r'\n[repo.r]\nurl = '/r'\nkey-file = '/key'\n");
  Invocation call = resolved({"restore", "--passphrase-file", "/phrase"});
  EXPECT_EQ(call.key().kind, KeySource::Kind::passphrase_file);
  EXPECT_FALSE(call.has("key-file"));
}

TEST_F(invocation, a_bad_environment_value_names_its_variable) {
  auto result = resolve({"restore"}, {"LIFEBOAT_PORT=many"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::usage);
  EXPECT_EQ(result.error().object, "LIFEBOAT_PORT");
}

TEST_F(invocation, flags_of_the_environment_can_say_no) {
  EXPECT_TRUE(resolved({"restore"}, {"LIFEBOAT_YES=1"}).yes());
  EXPECT_FALSE(resolved({"restore"}, {"LIFEBOAT_YES=no"}).yes());
  EXPECT_FALSE(resolved({"restore"}, {"LIFEBOAT_YES="}).yes());
  // A flag that is off excludes nothing.
  EXPECT_TRUE(resolve({"restore", "--to=/a"}, {"LIFEBOAT_REPLACE=no"}));
}

TEST_F(invocation, a_misspelt_variable_is_pointed_out) {
  resolved({"restore"}, {"LIFEBOAT_OUTPT=json", "LIFEBOAT_SOMETHING_ELSE=1"});
  EXPECT_EQ(notes(),
            "lifeboat: warning: environment: LIFEBOAT_OUTPT means nothing; did you mean LIFEBOAT_OUTPUT?\n");
}

TEST_F(invocation, repeatable_options_keep_their_order) {
  Invocation call = resolved({"restore", "--tablespace=/a=/b", "--tablespace=/c=/d"});
  EXPECT_THAT(call.mappings("tablespace"), ElementsAre(Pair("/a", "/b"), Pair("/c", "/d")));
}

TEST_F(invocation, values_come_back_typed) {
  Invocation call = resolved({"restore", "--target-time", "2026-11-20 10:56:25.5+00"});
  EXPECT_EQ(call.time("target-time")->to_iso(), "2026-11-20T10:56:25.500000Z");
  EXPECT_EQ(resolved({"restore", "--target-lsn=1/2"}).lsn("target-lsn"), (Lsn{0x100000002}));
  EXPECT_EQ(resolved({"restore"}).time("target-time"), std::nullopt);
}

TEST_F(invocation, options_that_nobody_asked_for_are_reported) {
  Invocation call = resolved({"restore", "--port=5433", "--to=/a", "--quiet"}, {"LIFEBOAT_PG=service=x"});
  EXPECT_EQ(call.text("to"), "/a");
  EXPECT_THAT(call.unused(), ElementsAre("port"));
}

TEST_F(invocation, a_required_option_is_required) {
  auto result = resolve({"needy"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().to_string(), "lifeboat needy: needs --name NAME");
  EXPECT_EQ(resolved({"needy"}, {"LIFEBOAT_NAME=x"}).value("name"), "x");
}

TEST_F(invocation, unconfirmed_in_json_is_not_confirmed) {
  output_->set_mode(OutputMode::json);
  auto confirmed = resolved({"restore"}).confirm("really?");
  ASSERT_FALSE(confirmed);
  EXPECT_EQ(confirmed.error().kind, ErrorKind::not_confirmed);
  EXPECT_TRUE(resolved({"restore", "--yes"}).confirm("really?"));
}

TEST_F(invocation, an_option_that_the_table_lacks_is_our_bug) {
  Invocation call = resolved({"restore"});
  EXPECT_DEATH((void)call.flag("no-such-option"), "internal error");
}

TEST_F(invocation, jobs_default_to_at_least_one) {
  EXPECT_GE(resolved({"restore"}).jobs(), 1);
}

}  // namespace
}  // namespace lifeboat::app
