// R8: a plan before, a record with computed verdicts after.
#include "ready/recover/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

namespace lifeboat::ready {
namespace {

using testing::HasSubstr;

const Timestamp kNow = Timestamp::from_seconds(1'800'000'000);

ops::RestorePlan restore_plan() {
  ops::RestorePlan plan;
  plan.cluster = "main";
  plan.backup.id = BackupId::make(kNow, 1);
  plan.placements.emplace_back();
  plan.placements[0].final_path = plan.placements[0].staging_path = "/srv/data";
  plan.replace = true;
  plan.existing_data = true;
  plan.reach.stop = {0x3000000};
  plan.own_wal_to = {0x2fff000};
  plan.reach.timeline = {1};
  plan.reach.last_commit = kNow.plus_us(-60'000'000);
  plan.estimate.copy_seconds = 5;
  return plan;
}

Assessment assessment() {
  Assessment what;
  what.cluster = "main";
  what.began = what.noticed = kNow;
  what.last_known_commit = kNow.plus_us(-30'000'000);
  return what;
}

// All went well, in two minutes.
PostMortem record(ops::RestorePlan plan = restore_plan()) {
  PostMortem made;
  ops::RollbackPlan steps;
  steps.restore = plan;
  made.plan = make_recover_plan(assessment(), std::move(steps));
  made.ended = kNow.plus_us(120'000'000);
  made.outcome.emplace();
  made.outcome->restored.plan = plan;
  made.outcome->restored.recovery.emplace();
  made.outcome->restored.recovery->replayed = {0x3000000};
  made.outcome->restored.recovery->last_commit = plan.reach.last_commit;
  made.validation.emplace();
  made.validation->answers = made.validation->archives = true;
  made.validation->archived_seconds = 1;
  made.rpo_target = 300;
  made.rto_target = 900;
  return made;
}

std::map<std::string, RecoverVerdict> verdicts(const PostMortem& of) {
  std::map<std::string, RecoverVerdict> found;
  for (const JudgedPoint& one : judge(of)) found[one.id] = one.verdict;
  return found;
}

TEST(assessment, a_primary_that_answers_is_not_lost) {
  Assessment what = assessment();
  EXPECT_EQ(warning_of(what), "");
  what.primary_answers = true;
  EXPECT_THAT(warning_of(what), HasSubstr("split brain"));
  ops::RollbackPlan steps;
  steps.restore = restore_plan();
  EXPECT_THAT(render_recover_plan(make_recover_plan(what, std::move(steps))), HasSubstr("WARNING"));
  what.failure = Failure::data_changed;
  EXPECT_EQ(warning_of(what), "") << "then it answers, as it should";
}

TEST(loss, an_old_directory_gives_all_its_wal) {
  const ExpectedLoss loss = expected_loss(assessment(), restore_plan());
  EXPECT_TRUE(loss.whole);
  EXPECT_EQ(loss.seconds, 0);
}

TEST(loss, a_directory_whose_wal_is_gone_gives_none) {
  ops::RestorePlan plan = restore_plan();
  plan.own_wal_to = {};
  const ExpectedLoss loss = expected_loss(assessment(), plan);
  EXPECT_FALSE(loss.whole);
  EXPECT_EQ(loss.seconds, 60);
  EXPECT_THAT(loss.says, HasSubstr("is not shown"));
  EXPECT_EQ(measured_loss(record(plan)), 60);
}

TEST(loss, nothing_is_lost_only_where_its_last_checkpoint_was_reached_and_no_wal_left_behind) {
  EXPECT_EQ(measured_loss(record()), 0);
  PostMortem short_of_it = record();
  short_of_it.outcome->restored.plan.own_wal_to = {0x4000000};
  EXPECT_EQ(measured_loss(short_of_it), 60);
  PostMortem left = record();
  left.outcome->restored.wal_left_behind = true;
  EXPECT_EQ(measured_loss(left), 60);
}

TEST(loss, without_it_what_was_not_archived_is_gone) {
  ops::RestorePlan plan = restore_plan();
  plan.existing_data = false;
  plan.own_wal_to = {};
  const ExpectedLoss loss = expected_loss(assessment(), plan);
  EXPECT_FALSE(loss.whole);
  EXPECT_EQ(loss.seconds, 60);
  PostMortem after = record(plan);
  EXPECT_EQ(measured_loss(after), 60);
  EXPECT_EQ(verdicts(after)["rpo_met"], RecoverVerdict::pass);
  after.rpo_target = 10;
  EXPECT_EQ(verdicts(after)["rpo_met"], RecoverVerdict::fail);
  EXPECT_TRUE(recovered(after)) << "less than was promised, and recovered all the same";
}

TEST(verdict, a_database_that_does_not_open_is_not_recovered) {
  PostMortem after = record();
  EXPECT_TRUE(recovered(after));
  after.validation->broken = {"shop: FATAL: could not open file \"base/5/1259\""};
  EXPECT_EQ(verdicts(after)["server_open"], RecoverVerdict::fail);
  EXPECT_FALSE(recovered(after));
}

TEST(loss, a_moment_that_a_lost_primary_is_brought_back_to_is_a_loss) {
  ops::RestorePlan plan = restore_plan();
  plan.asked.kind = pg::TargetKind::time;
  plan.asked.time = kNow.plus_us(-50'000'000);
  const ExpectedLoss loss = expected_loss(assessment(), plan);
  EXPECT_FALSE(loss.chosen);
  EXPECT_FALSE(loss.whole);
  EXPECT_EQ(loss.seconds, 60);
  EXPECT_EQ(measured_loss(record(plan)), 60);
}

TEST(loss, a_chosen_moment_is_no_missed_target) {
  ops::RestorePlan plan = restore_plan();
  plan.asked.kind = pg::TargetKind::time;
  plan.asked.time = kNow.plus_us(-50'000'000);
  Assessment mistake = assessment();
  mistake.failure = Failure::data_changed;
  const ExpectedLoss loss = expected_loss(mistake, plan);
  EXPECT_TRUE(loss.chosen);
  EXPECT_EQ(loss.seconds, 30);
  EXPECT_THAT(loss.says, HasSubstr("on purpose"));
  PostMortem after = record(plan);
  after.plan.loss = loss;
  EXPECT_EQ(verdicts(after)["rpo_met"], RecoverVerdict::not_applicable);
}

TEST(verdicts, follow_from_what_was_measured) {
  EXPECT_TRUE(recovered(record()));
  PostMortem short_of_it = record();
  short_of_it.outcome->restored.recovery->replayed = {0x2000000};
  EXPECT_EQ(verdicts(short_of_it)["target_reached"], RecoverVerdict::fail);
  EXPECT_FALSE(recovered(short_of_it));
  PostMortem silent = record();
  silent.validation->answers = false;
  EXPECT_EQ(verdicts(silent)["server_open"], RecoverVerdict::fail);
  EXPECT_EQ(verdicts(silent)["indexes_valid"], RecoverVerdict::unknown);
  PostMortem unarchived = record();
  unarchived.validation->archives = false;
  EXPECT_EQ(verdicts(unarchived)["archiving_on"], RecoverVerdict::fail);
  EXPECT_TRUE(recovered(unarchived)) << "the data is back";
  PostMortem failing = record();
  failing.validation->archived_seconds.reset();
  EXPECT_EQ(verdicts(failing)["archiving_on"], RecoverVerdict::unknown);
  failing.validation->archiving_problem = "did not reach the repository";
  EXPECT_EQ(verdicts(failing)["archiving_on"], RecoverVerdict::fail);
  EXPECT_FALSE(archives(failing));
  EXPECT_THAT(headline(failing), HasSubstr("RECOVERED, AND NOT ARCHIVED"));
  PostMortem broken = record();
  broken.validation->invalid_indexes = {"app: public.i"};
  EXPECT_EQ(verdicts(broken)["indexes_valid"], RecoverVerdict::fail);
  PostMortem late = record();
  late.rto_target = 100;
  EXPECT_EQ(verdicts(late)["rto_met"], RecoverVerdict::fail);
  EXPECT_TRUE(recovered(late));
}

TEST(verdicts, a_recovery_that_failed_says_why) {
  PostMortem failed = record();
  failed.outcome.reset();
  failed.validation.reset();
  failed.error = make_error(ErrorKind::damaged, "pack 7", "does not match its seal");
  EXPECT_FALSE(recovered(failed));
  const std::string text = post_mortem_markdown(failed, "");
  EXPECT_THAT(text, HasSubstr("NOT RECOVERED"));
  EXPECT_THAT(text, HasSubstr("pack 7: does not match its seal"));
  EXPECT_FALSE(post_mortem_json(failed, "")["recovered"].get<bool>());
}

TEST(plan, what_the_newest_drill_left_open_is_taken_from_all_of_them) {
  ops::RestorePlan plan = restore_plan();
  plan.bytes = 1'000'000'000;
  plan.reach.wal_bytes = 200'000'000;
  Rates rates;
  estimate_from(rates, plan);
  EXPECT_FALSE(plan.estimate.replay_seconds) << "nothing was measured";
  rates.basis = RateBasis::drills;
  rates.samples = 9;
  rates.restore_bytes_per_second = 100e6;
  rates.replay_bytes_per_second = 10e6;
  estimate_from(rates, plan);
  EXPECT_DOUBLE_EQ(*plan.estimate.copy_seconds, 10);
  EXPECT_DOUBLE_EQ(*plan.estimate.replay_seconds, 20);
  EXPECT_THAT(plan.estimate.basis, HasSubstr("9 drills"));
  plan.estimate.copy_seconds = 5;
  estimate_from(rates, plan);
  EXPECT_EQ(plan.estimate.copy_seconds, 5) << "nothing is open any more";
}

TEST(plan, tells_people_what_they_ask) {
  ops::RollbackPlan steps;
  steps.restore = restore_plan();
  const std::string text = stakeholder_text(make_recover_plan(assessment(), steps));
  for (const char* word : {"main", "not available", "5.00 s", "nothing that was committed", "Next message"})
    EXPECT_THAT(text, HasSubstr(word));
  for (const char* id : {"primary-lost", "data-changed", "corruption", "region-lost"})
    EXPECT_EQ(to_string(*parse_failure(id)), id);
  EXPECT_FALSE(parse_failure("fire").has_value());
}

}  // namespace
}  // namespace lifeboat::ready
