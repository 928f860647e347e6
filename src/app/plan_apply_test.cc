#include "app/plan_apply.h"

#include <gtest/gtest.h>

namespace lifeboat::app {
namespace {

using ready::ConfigLine;

TEST(PlanLines, go_into_their_place_and_leave_everything_else) {
  const std::string before =
      "# mine\n[cluster.main]\nowner = \"old\"   # who\njobs = 2\n\n# of the other\n[cluster.other]\nowner = "
      "\"x\"\n";
  const std::string after = with_plan_lines(before, {{"cluster.main", "owner", "\"new\""},
                                                     {"cluster.main", "pitr-days", "30"},
                                                     {"cluster.main.schedule", "backup", "\"@daily\""}});
  EXPECT_EQ(after,
            "# mine\n[cluster.main]\nowner = \"new\"\njobs = 2\npitr-days = 30\n\n# of the "
            "other\n[cluster.other]\nowner = "
            "\"x\"\n\n[cluster.main.schedule]\nbackup = \"@daily\"\n");
  EXPECT_EQ(with_plan_lines(after, {{"cluster.main", "owner", "\"new\""}}), after);
}

TEST(PlanLines, replace_a_list_over_several_lines) {
  const std::string before =
      "[cluster.main.schedule]\ncheck = [\"0 4 * * 0\", # [ no bracket\n  \"verify\",\n]\nlast = "
      "\"@daily\"\n";
  EXPECT_EQ(with_plan_lines(before, {{"cluster.main.schedule", "check", "\"x\""}}),
            "[cluster.main.schedule]\ncheck = \"x\"\nlast = \"@daily\"\n");
  EXPECT_EQ(
      with_plan_lines(before, {{"cluster.main.schedule", "last", "\"y\""}}),
      "[cluster.main.schedule]\ncheck = [\"0 4 * * 0\", # [ no bracket\n  \"verify\",\n]\nlast = \"y\"\n");
}

TEST(PlanLines, into_a_file_that_writes_sections_otherwise_are_refused) {
  const std::vector<ConfigLine> lines = {{"cluster.main.schedule", "backup", "\"@daily\""}};
  const std::string text = with_plan_lines("[cluster.main]\nschedule = {backup = \"@weekly\"}\n", lines);
  EXPECT_FALSE(check_configuration(text, "/x.toml", lines));
  EXPECT_TRUE(check_configuration(with_plan_lines("", lines), "/x.toml", lines));
}

TEST(PlanLines, with_a_job_that_is_no_command_are_refused) {
  const std::vector<ConfigLine> lines = {{"cluster.main.schedule", "x", "[\"@daily\", \"no-such-command\"]"}};
  EXPECT_FALSE(check_configuration(with_plan_lines("", lines), "/x.toml", lines));
}

TEST(PlanLines, leave_a_job_that_somebody_wrote_and_say_so) {
  const std::string before =
      "[cluster.main.schedule]\ndrill = [\"0 3 * * *\", \"drill\", \"--full\", \"--rto\", \"10m\"]\n"
      "pitr-drill = [\"0 1 1 * *\", \"drill\", \"--random-target\"]\nbackup = [\"0 3 * * *\", \"--type\", "
      "\"full\"]\n";
  std::vector<ready::ConfigLine> lines = {
      {"cluster.main.schedule", "drill", R"(["0 7 * * 0", "drill", "--target", "latest"])"},
      {"cluster.main.schedule", "pitr-drill", R"(["0 9 1 1,4,7,10 *", "drill", "--random-target"])"},
      {"cluster.main.schedule", "backup", R"("15 1 * * *")"},
      {"cluster.main.schedule", "verify", R"("0 5 * * 0")"}};
  const std::vector<std::string> kept = keep_own_jobs(before, "main", lines);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_NE(kept[0].find("drill --full --rto 10m"), std::string::npos) << kept[0];
  EXPECT_NE(kept[0].find("--target"), std::string::npos) << "what the plan would have";
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].key, "pitr-drill") << "another plan's";
  EXPECT_NE(with_plan_lines(before, lines).find("--rto"), std::string::npos);
}

TEST(PlanLines, of_one_cluster_are_its_sections_and_that_of_its_repository) {
  const std::string text =
      "# ours\n[cluster.main]\nrepo = \"near\" # the first\njobs = 2\n\n# of another\n[cluster.other]\nrepo "
      "= "
      "\"far\"\n\n[repo.near]\nurl = \"file:///near\"\nkey-file = \"/k\"\n\n[repo.far]\nurl = "
      "\"file:///far\"\n\n[cluster.main.schedule]\nbackup = \"@daily\"\n";
  EXPECT_EQ(text_of_cluster(text, "main"),
            "[cluster.main]\nrepo = \"near\" # the first\njobs = 2\n\n[repo.near]\nurl = "
            "\"file:///near\"\nkey-file = \"/k\"\n\n[cluster.main.schedule]\nbackup = \"@daily\"\n");
  const std::string alone = with_plan_lines("", {{"cluster.main", "repo", "\"main\""},
                                                 {"repo.main", "url", "\"file:///r\""},
                                                 {"repo.main", "key-file", "\"/k\""},
                                                 {"cluster.main.schedule", "backup", "\"@daily\""}});
  EXPECT_EQ(text_of_cluster(alone, "main"), alone) << "a new file is all the plan's";
}

TEST(Difference, shows_what_changes_with_two_lines_around) {
  EXPECT_EQ(line_difference("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nE\nf\n"), " c\n d\n-e\n+E\n f\n");
  EXPECT_EQ(line_difference("a\n", "a\n"), "");
  EXPECT_EQ(line_difference("", "a\n"), "+a\n");
}

}  // namespace
}  // namespace lifeboat::app
