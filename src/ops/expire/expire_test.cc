#include "ops/expire/expire.h"

#include <gtest/gtest.h>

#include "ops/catalogue/proof.h"
#include "repo/evidence.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::ops {
namespace {

using repo::tiny_content;
using repo::TinyRepo;

class ExpireTest : public ::testing::Test {
 protected:
  ExpireTest() {
    for (uint64_t i = 0; i < 4; ++i) {
      tiny_.clock.advance_us(1'000'000);
      ids_.push_back(*tiny_.back_up({{"a", tiny_content(i, 300)}}));
    }
  }
  void verify(const BackupId& id, bool passed = true) {
    ProofRecord record;
    record.kind = "verify";
    record.time = {tiny_.clock.unix_us()};
    record.backups.push_back({id, passed ? ProofLevel::wal : ProofLevel::none, passed, {}});
    ASSERT_TRUE(repo::write_evidence(tiny_.repo, record.time, encode_proof(record)));
  }
  std::vector<BackupId> expired(const ExpireRequest& request) {
    auto planned = plan_expire(tiny_.repository, "main", std::nullopt, request);
    EXPECT_TRUE(planned) << planned.error().to_string();
    std::vector<BackupId> list;
    if (planned) {
      for (const auto& decision : planned->plan.retention.expire) list.push_back(decision.id);
    }
    return list;
  }
  TinyRepo tiny_;
  std::vector<BackupId> ids_;
};

TEST_F(ExpireTest, without_a_policy_nothing_expires) {
  EXPECT_TRUE(expired({}).empty());
}

// T41
TEST_F(ExpireTest, the_newest_verified_backup_stays_whatever_the_count_says) {
  ExpireRequest request;
  request.policy.keep_count = 1;
  EXPECT_EQ(expired(request), (std::vector<BackupId>{ids_[0], ids_[1], ids_[2]}));
  verify(ids_[1]);
  EXPECT_EQ(expired(request), (std::vector<BackupId>{ids_[0], ids_[2]}));
}

TEST_F(ExpireTest, what_a_check_found_damaged_takes_no_place_among_the_newest) {
  ExpireRequest request;
  request.policy.keep_count = 2;
  verify(ids_[3], false);
  EXPECT_EQ(expired(request), std::vector<BackupId>{ids_[0]});
  verify(ids_[1], false);
  EXPECT_EQ(expired(request), std::vector<BackupId>());
}

// T41: which backup is verified is not guessed.
TEST_F(ExpireTest, evidence_that_cannot_be_read_stops_expiry) {
  ASSERT_TRUE(repo::write_evidence(tiny_.repo, {tiny_.clock.unix_us()}, "not json"));
  ExpireRequest request;
  request.policy.keep_count = 1;
  auto planned = plan_expire(tiny_.repository, "main", std::nullopt, request);
  ASSERT_FALSE(planned);
  EXPECT_EQ(planned.error().kind, ErrorKind::damaged);
  EXPECT_TRUE(expired({}).empty());
}

TEST_F(ExpireTest, only_what_was_shown_is_condemned) {
  ExpireRequest request;
  request.policy.keep_count = 2;
  auto planned = plan_expire(tiny_.repository, "main", std::nullopt, request);
  ASSERT_TRUE(planned);
  // A backup more between the plan and the consent would push another one out of the newest two.
  tiny_.clock.advance_us(1'000'000);
  ids_.push_back(*tiny_.back_up({{"a", tiny_content(9, 300)}}));
  planned->options.lease.background = false;
  planned->options.lease.clock = &tiny_.clock;
  auto done = carry_out_expire(*planned);
  ASSERT_TRUE(done) << done.error().to_string();
  std::vector<BackupId> condemned;
  for (const BackupId& id : done->tombstone.backups) condemned.push_back(id);
  EXPECT_EQ(condemned, (std::vector<BackupId>{ids_[0], ids_[1]}));
}

TEST_F(ExpireTest, an_unknown_lineage_is_refused) {
  auto planned = plan_expire(tiny_.repository, "main", Lineage{{99}, 15}, {});
  ASSERT_FALSE(planned);
  EXPECT_EQ(planned.error().kind, ErrorKind::foreign);
}

}  // namespace
}  // namespace lifeboat::ops
