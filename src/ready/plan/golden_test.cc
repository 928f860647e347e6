// Plans for stated situations against golden files: tests/golden/plans/NAME/{requirements,facts}.json give
// backup_plan.json and backup_plan.md. LIFEBOAT_WRITE_GOLDEN=1 writes them anew; every changed line is then
// to be read. They cover P1 to P5, P8, P9 and RT3.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "ready/plan/plan.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::json;

std::string folder() {
  const char* source = std::getenv("LIFEBOAT_SOURCE_DIR");
  return join_path(source != nullptr ? source : ".", "tests/golden/plans");
}

std::string must_read(const std::string& path) {
  auto text = read_text(path, 1 << 20);
  EXPECT_TRUE(text) << path;
  return text ? *text : std::string();
}

void compare_or_update(const std::string& path, const std::string& made) {
  if (std::getenv("LIFEBOAT_WRITE_GOLDEN") != nullptr) {
    ASSERT_TRUE(write_file_durable(path, as_bytes(made), 0644));
    return;
  }
  EXPECT_EQ(must_read(path), made) << path;
}

Plan plan_of(const std::string& name) {
  const std::string place = join_path(folder(), name);
  const std::string demands = join_path(place, "requirements.json");
  const std::string known = join_path(place, "facts.json");
  auto requirements = parse_requirements(must_read(demands), demands);
  EXPECT_TRUE(requirements) << requirements.error().to_string();
  auto facts = parse_facts(must_read(known), known);
  EXPECT_TRUE(facts) << facts.error().to_string();
  return make_plan(*requirements, *facts, facts->rates);
}

TEST(GoldenPlans, are_as_they_were_reviewed) {
  auto names = list_dir(folder());
  ASSERT_TRUE(names);
  ASSERT_GE(names->size(), 30U);
  for (const DirEntry& entry : *names) {
    SCOPED_TRACE(entry.name);
    const Plan plan = plan_of(entry.name);
    compare_or_update(join_path(join_path(folder(), entry.name), "backup_plan.json"), plan_json(plan));
    compare_or_update(join_path(join_path(folder(), entry.name), "backup_plan.md"), plan_markdown(plan));
  }
}

// Whatever the situation: sums are sums, and the status follows from the verdicts and gaps.
TEST(GoldenPlans, hold_together) {
  auto names = list_dir(folder());
  ASSERT_TRUE(names);
  for (const DirEntry& entry : *names) {
    SCOPED_TRACE(entry.name);
    const Plan plan = plan_of(entry.name);
    for (const Delivered* one : {&plan.rpo, &plan.rto}) {
      if (!one->seconds) continue;
      double sum = 0;
      for (const Term& term : one->terms) sum += term.seconds;
      EXPECT_NEAR(sum, *one->seconds, 1e-6);
      if (one->verdict == TargetVerdict::met) {
        EXPECT_LE(*one->seconds + one->error_seconds, one->target_seconds);
      }
      if (one->verdict == TargetVerdict::missed) {
        EXPECT_EQ(plan.status, PlanStatus::blocked);
      }
    }
    const bool met = plan.rpo.verdict == TargetVerdict::met && plan.rto.verdict == TargetVerdict::met;
    EXPECT_TRUE(met || plan.status != PlanStatus::ready);
    for (const Gap& gap : plan.gaps) {
      if (gap.weight == GapWeight::blocking) {
        EXPECT_EQ(plan.status, PlanStatus::blocked) << gap.id;
        EXPECT_TRUE(gap.decision) << gap.id << ": what blocks has a draft decision record";
      }
      if (gap.weight == GapWeight::critical) {
        EXPECT_NE(plan.status, PlanStatus::ready) << gap.id;
      }
    }
    EXPECT_FALSE(plan.reasons.empty());
    EXPECT_EQ(plan.quality.size(), 11U);
  }
}

struct Expected {
  const char* name;
  PlanStatus status;
  const char* reason;  // the gap that decides; "" none
};

class StatedSituation : public testing::TestWithParam<Expected> {};

TEST_P(StatedSituation, has_the_right_status_for_the_right_reason) {
  const Expected& expected = GetParam();
  const Plan plan = plan_of(expected.name);
  EXPECT_EQ(to_string(plan.status), to_string(expected.status));
  if (*expected.reason == '\0') return;
  ASSERT_FALSE(plan.gaps.empty());
  EXPECT_EQ(plan.gaps.front().id, expected.reason);
}

INSTANTIATE_TEST_SUITE_P(
    Plans, StatedSituation,
    testing::Values(Expected{"small-production", PlanStatus::ready, ""},
                    Expected{"production-default-targets", PlanStatus::ready, ""},
                    Expected{"huge-instant", PlanStatus::ready, ""},
                    Expected{"weekly-base-is-refused", PlanStatus::ready, ""},
                    Expected{"rpo-zero-with-standby", PlanStatus::ready, ""},
                    Expected{"huge-full-speed-impossible", PlanStatus::blocked, "rto"},
                    Expected{"replay-impossible", PlanStatus::blocked, "rto"},
                    Expected{"rto-below-the-start", PlanStatus::blocked, "rto"},
                    Expected{"calibration-shows-impossible", PlanStatus::blocked, "rto"},
                    Expected{"rpo-zero-managed", PlanStatus::blocked, "rpo"},
                    Expected{"managed-provider-silent", PlanStatus::blocked, "rpo"},
                    Expected{"retention-below-compliance", PlanStatus::blocked, "compliance_minimum"},
                    Expected{"archive-class-is-refused", PlanStatus::blocked, "storage_class"},
                    Expected{"storage-too-small", PlanStatus::blocked, "capacity"},
                    Expected{"unsupported-major", PlanStatus::blocked, "version"},
                    Expected{"huge-instant-not-measured", PlanStatus::unproven, "rto_unproven"},
                    Expected{"rpo-zero-alone", PlanStatus::unproven, "synchronous_commit"},
                    Expected{"calibration-only", PlanStatus::unproven, "no_drill"},
                    Expected{"drill-is-old", PlanStatus::unproven, "old_drill"},
                    Expected{"one-drill-reaches-across", PlanStatus::unproven, "rto_unproven"},
                    Expected{"wal-not-measured", PlanStatus::unproven, "rto_unproven"},
                    Expected{"wal-weak", PlanStatus::unproven, "wal_rate"},
                    Expected{"wal-burst-blocks-nothing", PlanStatus::unproven, "wal_rate"},
                    Expected{"wal-stated-against-weak", PlanStatus::ready, ""},
                    Expected{"network-without-tls", PlanStatus::unproven, "transit"},
                    Expected{"one-key-only", PlanStatus::unproven, "key_custody"}),
    [](const auto& instance) {
      std::string name = instance.param.name;
      for (char& c : name)
        if (c == '-') c = '_';
      return name;
    });

TEST(Requirements, without_a_target_no_plan_is_made) {
  for (const char* text :
       {R"({"rto_seconds": 900, "substrate": "managed", "owner": "x"})",
        R"({"rpo_seconds": null, "rto_seconds": 900, "substrate": "managed", "owner": "x"})",
        R"({"rpo_seconds": 300, "substrate": "managed", "owner": "x"})", "{}"}) {
    auto parsed = parse_requirements(text, "r.json");
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().kind, ErrorKind::undecided) << text;
  }
}

TEST(Requirements, tell_every_mistake_at_once) {
  auto parsed = parse_requirements(
      R"({"rpo_seconds": -1, "rto_seconds": 0, "substrate": "cloud", "retention_days": "30", "legal_hold": 1})",
      "r.json");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().kind, ErrorKind::config);
  for (const char* word :
       {"rpo_seconds", "rto_seconds", "substrate", "owner", "retention_days", "legal_hold"})
    EXPECT_NE(parsed.error().message.find(word), std::string::npos) << word;
}

TEST(Requirements, refuse_what_they_do_not_know_and_name_the_nearest) {
  const std::string head = R"({"substrate": "managed", "owner": "x", "rto_seconds": 900, )";
  const std::pair<std::string, std::string> cases[] = {
      {R"("rpo_second": 300})", "unknown member 'rpo_second' (did you mean rpo_seconds?)"},
      {R"("rpo_seconds": 300, "retention_day": 7})",
       "unknown member 'retention_day' (did you mean retention_days?)"},
      {R"("rpo_seconds": 300, "storage": {"capacity_byte": 5}})",
       "unknown member 'storage.capacity_byte' (did you mean storage.capacity_bytes?)"},
      {R"("rpo_seconds": 300, "provider": {"window": 5}})",
       "unknown member 'provider.window' (did you mean provider.window_days?)"},
      {R"("rpo_seconds": 300, "colour": "red"})", "unknown member 'colour'"}};
  for (const auto& [rest, message] : cases) {
    auto parsed = parse_requirements(head + rest, "r.json");
    ASSERT_FALSE(parsed) << rest;
    EXPECT_EQ(parsed.error().kind, ErrorKind::config) << rest;
    EXPECT_NE(parsed.error().message.find(message), std::string::npos) << parsed.error().message;
  }
  EXPECT_TRUE(parse_requirements(head + R"("rpo_seconds": 300, "$schema": "x", "provider": {}})", "r.json"));
}

TEST(Requirements, come_back_as_they_were_written) {
  const std::string path = join_path(folder(), "minimum-duration-charge/requirements.json");
  auto parsed = parse_requirements(must_read(path), path);
  ASSERT_TRUE(parsed);
  auto again = parse_requirements(requirements_json(*parsed), "again");
  ASSERT_TRUE(again);
  EXPECT_EQ(requirements_json(*again), requirements_json(*parsed));
}

// An older file may have a 0 that nobody waited long enough for.
TEST(Facts, with_a_measured_rate_of_0_leave_it_unknown) {
  const std::string path = join_path(folder(), "small-production/facts.json");
  auto facts = parse_facts(must_read(path), path);
  auto demands =
      parse_requirements(must_read(join_path(folder(), "small-production/requirements.json")), "r");
  ASSERT_TRUE(facts && demands);
  facts->server->wal_bytes_per_day = 0;
  facts->server->wal_how = "a sample of 3 seconds";
  const Plan plan = make_plan(*demands, *facts, facts->rates);
  EXPECT_EQ(plan.status, PlanStatus::unproven);
  EXPECT_FALSE(plan.rto.seconds);
  EXPECT_NE(plan.rto.why.find("not measured long enough"), std::string::npos) << plan.rto.why;
  demands->wal_bytes_per_day = 5e9;
  EXPECT_EQ(make_plan(*demands, *facts, facts->rates).status, PlanStatus::ready) << "stated";
}

TEST(Security, of_a_local_socket_claims_no_tls) {
  const std::string path = join_path(folder(), "small-production/facts.json");
  auto facts = parse_facts(must_read(path), path);
  auto demands =
      parse_requirements(must_read(join_path(folder(), "small-production/requirements.json")), "r");
  ASSERT_TRUE(facts && demands);
  facts->server->settings["ssl"] = "off";
  const Plan plan = make_plan(*demands, *facts, facts->rates);
  const std::string all = join(plan.security, "\n");
  EXPECT_NE(all.find("a local socket, which needs no TLS"), std::string::npos) << all;
  EXPECT_NE(all.find("TLS for network clients: not seen (ssl = off)"), std::string::npos) << all;
  auto check = std::ranges::find_if(plan.quality, [](const QualityCheck& one) {
    return one.claim.find("in transit") != std::string::npos;
  });
  ASSERT_NE(check, plan.quality.end());
  EXPECT_EQ(check->result, "open");
}

TEST(Facts, come_back_as_they_were_written) {
  const std::string path = join_path(folder(), "pgbackrest-in-use/facts.json");
  auto parsed = parse_facts(must_read(path), path);
  ASSERT_TRUE(parsed);
  auto again = parse_facts(facts_json(*parsed), "again");
  ASSERT_TRUE(again);
  EXPECT_EQ(facts_json(*again), facts_json(*parsed));
}

TEST(Facts, that_are_old_prove_nothing) {
  const std::string path = join_path(folder(), "small-production/facts.json");
  auto facts = parse_facts(must_read(path), path);
  ASSERT_TRUE(facts);
  auto demands =
      parse_requirements(must_read(join_path(folder(), "small-production/requirements.json")), "r");
  ASSERT_TRUE(demands);
  facts->now = facts->time.plus_us(25ll * 3600 * 1'000'000);
  const Plan plan = make_plan(*demands, *facts, facts->rates);
  EXPECT_EQ(plan.status, PlanStatus::unproven);
  EXPECT_EQ(plan.gaps.front().id, "old_facts");
}

}  // namespace
}  // namespace lifeboat::ready
