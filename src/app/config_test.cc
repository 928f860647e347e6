#include "app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "util/strings.h"

namespace lifeboat::app {
namespace {

using testing::HasSubstr;

std::string refusal(std::string_view text) {
  auto config = parse_config(text, "/etc/x.toml");
  if (config) return "accepted";
  return cat(info(config.error().kind).id, " ", config.error().to_string());
}

TEST(config, sections_hold_options_under_their_own_names) {
  auto config = parse_config(R"(
    [cluster.main]
    repo = "offsite"
    pgdata = "/srv/pg"
    jobs = 3

    [repo.offsite]
    url = "file:///backup"
    key-file = "/etc/lifeboat/key"
  )",
                             "/etc/x.toml");
  ASSERT_TRUE(config) << config.error().to_string();
  const ConfigBlock* cluster = config->find(ConfigSection::cluster, "main");
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(cluster->repo, "offsite");
  ASSERT_EQ(cluster->values.size(), 2u);
  const ConfigBlock* repo = config->only_repo();
  ASSERT_NE(repo, nullptr);
  EXPECT_EQ(repo->url, "file:///backup");
  EXPECT_EQ(repo->values.at(0).option->name, "key-file");
  EXPECT_EQ(repo->values.at(0).values.at(0), "/etc/lifeboat/key");
  EXPECT_EQ(repo->values.at(0).line, 9);
  EXPECT_EQ(config->repo_with_url("file:///backup"), repo);
  EXPECT_EQ(config->find(ConfigSection::repo, "main"), nullptr);
}

TEST(config, a_directory_is_a_url_too) {
  auto config = parse_config("[repo.a]\nurl = '/backup'", "f");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->blocks.at(0).url, "file:///backup");
}

TEST(config, unknown_keys_and_sections_name_their_line) {
  auto config = parse_config("[cluster.main]\n\npgdta = '/x'\n", "/etc/x.toml");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().kind, ErrorKind::config);
  EXPECT_EQ(config.error().to_string(), "/etc/x.toml:3: unknown key 'pgdta' in [cluster.main]");
  EXPECT_EQ(config.error().hint, "did you mean pgdata?");
  EXPECT_THAT(refusal("[clusters.main]\n"), HasSubstr("/etc/x.toml:1: unknown section or key 'clusters'"));
  EXPECT_THAT(refusal("\njobs = 3\n"), HasSubstr("/etc/x.toml:2: unknown section or key 'jobs'"));
  EXPECT_THAT(refusal("[cluster]\npgdata = '/x'\n"),
              HasSubstr("/etc/x.toml:2: expected a section [cluster.NAME]"));
  EXPECT_THAT(refusal("cluster = 1\n"), HasSubstr("must be a section"));
}

TEST(config, keys_belong_to_their_section) {
  EXPECT_THAT(refusal("[cluster.main]\nkey-file = '/k'\n"), HasSubstr("unknown key 'key-file'"));
  EXPECT_THAT(refusal("[repo.a]\nurl = '/r'\npgdata = '/x'\n"), HasSubstr("unknown key 'pgdata'"));
}

TEST(config, values_are_checked_as_on_the_command_line) {
  EXPECT_THAT(refusal("[cluster.main]\njobs = 0\n"),
              HasSubstr("/etc/x.toml:2: jobs: expected a whole number from 1 to 1024, found '0'"));
  EXPECT_THAT(refusal("[cluster.main]\njobs = [1]\n"), HasSubstr("found a list"));
  EXPECT_THAT(refusal("[cluster.main]\njobs = 1.5\n"),
              HasSubstr("jobs: expected a text, a whole number or a boolean"));
  EXPECT_THAT(refusal("[cluster.main]\npg = 'password=hunter2'\n"), HasSubstr("holds a password"));
  EXPECT_THAT(refusal("[cluster.main]\npg = 'password=hunter2'\n"), testing::Not(HasSubstr("hunter2")));
}

TEST(config, relative_paths_are_refused) {
  EXPECT_THAT(refusal("[cluster.main]\npgdata = 'data'\n"),
              HasSubstr("expected an absolute path, found 'data'"));
}

TEST(config, a_repository_needs_its_url) {
  EXPECT_THAT(refusal("[repo.a]\n"), HasSubstr("[repo.a] has no url"));
}

TEST(config, names_are_cluster_names) {
  EXPECT_THAT(refusal("[cluster.\"A b\"]\n"), HasSubstr("is not a name"));
}

TEST(config, broken_toml_names_its_line) {
  EXPECT_THAT(refusal("[cluster.main]\njobs = = 2\n"), HasSubstr("config /etc/x.toml:2: "));
}

TEST(config, hooks_are_programs_with_arguments) {
  auto config = parse_config(R"(
    [cluster.main.hooks]
    before-backup = ["/usr/bin/x", "a b", "$HOME; rm"]
    after-expire = ["/usr/bin/y"]
    timeout = "90s"
  )",
                             "/etc/x.toml");
  ASSERT_TRUE(config) << config.error().to_string();
  const ConfigBlock& block = config->blocks.at(0);
  ASSERT_EQ(block.hooks.size(), 2u);
  EXPECT_EQ(block.hook_timeout_us, 90'000'000);
  for (const ConfigHook& hook : block.hooks) {
    if (hook.name == "after-expire") continue;
    EXPECT_EQ(hook.name, "before-backup");
    EXPECT_THAT(hook.argv, testing::ElementsAre("/usr/bin/x", "a b", "$HOME; rm"));
    EXPECT_EQ(hook.line, 3);
  }
}

TEST(config, drills_have_programs_of_any_name) {
  auto config = parse_config(R"([cluster.main.drill]
fresh = ["/usr/bin/check", "a b"]
timeout = "90s"
)",
                             "/f");
  ASSERT_TRUE(config) << config.error().to_string();
  const ConfigBlock& block = config->blocks.front();
  ASSERT_EQ(block.drill_checks.size(), 1u);
  EXPECT_EQ(block.drill_checks.front().name, "fresh");
  EXPECT_THAT(block.drill_checks.front().argv, testing::ElementsAre("/usr/bin/check", "a b"));
  EXPECT_EQ(block.drill_timeout_us, 90'000'000);
  EXPECT_THAT(refusal("[cluster.main.drill]\nfresh = 'check'\n"), HasSubstr("a program and its arguments"));
  EXPECT_THAT(refusal("[cluster.main.drill]\nfresh = ['check']\n"), HasSubstr("absolute path"));
}

TEST(config, hooks_that_could_not_run_are_refused) {
  auto with = [](std::string_view line) { return refusal(cat("[cluster.main.hooks]\n", line, "\n")); };
  EXPECT_THAT(with("before-backup = '/bin/x a'"),
              HasSubstr("x.toml:2: before-backup: expected a list of texts"));
  EXPECT_THAT(with("before-backup = []"), HasSubstr("expected a list of texts"));
  EXPECT_THAT(with("before-backup = ['/bin/x', 1]"), HasSubstr("expected a list of texts"));
  EXPECT_THAT(with("before-backup = [\"/bin/x\", \"a\\u0000b\"]"), HasSubstr("expected a list of texts"));
  EXPECT_THAT(with("before-backup = ['x']"), HasSubstr("'x' is not an absolute path"));
  EXPECT_THAT(with("before-bakcup = ['/bin/x']"),
              HasSubstr("unknown key 'before-bakcup' in [cluster.main.hooks]"));
  EXPECT_THAT(with("before-wal-push = ['/bin/x']"), HasSubstr("unknown key"));
  EXPECT_THAT(with("timeout = 'soon'"), HasSubstr("timeout: "));
  EXPECT_THAT(refusal("[cluster.main]\nhooks = 1\n"), HasSubstr("must be a section [cluster.main.hooks]"));
  EXPECT_THAT(refusal("[repo.a]\nurl = '/r'\nhooks = 1\n"), HasSubstr("unknown key 'hooks'"));
}

TEST(config, the_daemon_has_jobs_and_a_service) {
  auto config = parse_config(R"(
    [cluster.main.serve]
    jitter = "2min"
    receive = ["--synchronous"]
    archive = false
    [cluster.main.schedule]
    backup = "15 1 * * *"
    expire = ["@daily", "--keep-days", "14"]
    weekly = ["0 4 * * sun", "wal", "check"]
    [cluster.other.serve]
  )",
                             "/etc/x.toml");
  ASSERT_TRUE(config) << config.error().to_string();
  const ConfigBlock* main = config->find(ConfigSection::cluster, "main");
  EXPECT_EQ(main->service.jitter_us, 120'000'000);
  EXPECT_EQ(main->service.receive_words, (std::vector<std::string>{"--synchronous"}));
  EXPECT_TRUE(main->service.receive);
  EXPECT_FALSE(main->service.archive);
  ASSERT_EQ(main->schedule.size(), 3u);
  EXPECT_EQ(main->schedule[0].words, (std::vector<std::string>{"backup"}));
  EXPECT_EQ(main->schedule[1].words, (std::vector<std::string>{"expire", "--keep-days", "14"}));
  EXPECT_EQ(main->schedule[2].words, (std::vector<std::string>{"wal", "check"}));
  EXPECT_EQ(main->schedule[2].when, "0 4 * * sun");
  const ConfigBlock* other = config->find(ConfigSection::cluster, "other");
  EXPECT_NE(other->service.line, 0);
  EXPECT_TRUE(other->service.archive);
  EXPECT_FALSE(other->service.receive);
}

TEST(config, what_the_daemon_could_not_do_names_its_line) {
  EXPECT_THAT(refusal("[cluster.main.schedule]\nbackup = '61 1 * * *'"),
              HasSubstr("config /etc/x.toml:2: backup:"));
  EXPECT_THAT(refusal("[cluster.main.schedule]\nbackup = 5"), HasSubstr("x.toml:2: backup: expected a cron"));
  EXPECT_THAT(refusal("[cluster.main.schedule]\nbackup = []"), HasSubstr("expected a cron"));
  EXPECT_THAT(refusal("[cluster.main.serve]\nreceiver = true"), HasSubstr("unknown key 'receiver'"));
  EXPECT_THAT(refusal("[cluster.main.serve]\nreceive = 'yes'"), HasSubstr("expected true, false or a list"));
  EXPECT_THAT(refusal("[cluster.main]\nserve = true"), HasSubstr("must be a section [cluster.main.serve]"));
}

TEST(config, the_example_that_is_shipped_is_accepted) {
  const char* source = getenv("LIFEBOAT_SOURCE_DIR");
  if (source == nullptr) GTEST_SKIP() << "LIFEBOAT_SOURCE_DIR is not set: run it with ctest";
  auto config = read_config(cat(source, "/packaging/lifeboat.toml"));
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_NE(config->find(ConfigSection::cluster, "main"), nullptr);
  EXPECT_NE(config->only_repo(), nullptr);
}

TEST(config, a_missing_file_is_not_found) {
  auto config = read_config("/nonexistent/lifeboat.toml");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace lifeboat::app
