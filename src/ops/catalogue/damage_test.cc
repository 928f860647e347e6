#include "ops/catalogue/damage.h"

#include <gtest/gtest.h>

#include "ops/backup/reference.h"
#include "repo/evidence.h"
#include "repo/pack_usage.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::ops {
namespace {

using repo::PackId;
using repo::TinyRepo;

class DamageTest : public ::testing::Test {
 protected:
  // `packs`: those that it says it refers to; of itself, when there are none.
  BackupId back_up(const std::optional<BackupId>& reference, std::vector<PackId> packs = {},
                   BackupType type = BackupType::incr) {
    tiny_.clock.advance_us(1'000'000);
    const BackupId id = tiny_.new_id();
    auto root = repo::store_tiny_tree(tiny_.repo, id, {{"a", repo::tiny_content(1, 300)}}, nullptr);
    EXPECT_TRUE(root);
    const Timestamp now{tiny_.clock.unix_us()};
    repo::Manifest manifest = repo::tiny_manifest(id, *root, now, now, {{1}, {1 << 20}, {2 << 20}});
    manifest.card.type = reference ? type : BackupType::full;
    manifest.card.reference = reference;
    if (packs.empty()) packs = {{id, 1}};
    repo::PackUsage usage;
    for (const PackId& pack : packs) usage[pack] = {10, 5};
    repo::PackNumbers numbers(BackupId::make(now, ++nodes_ + 1000));
    repo::PackNodeSink sink(tiny_.repo, numbers);
    auto node = sink.write(repo::encode_usage(usage));
    EXPECT_TRUE(node) << node.error().to_string();
    manifest.usage = *node;
    EXPECT_TRUE(sink.finish());
    EXPECT_TRUE(repo::write_manifest(tiny_.repo, manifest));
    EXPECT_TRUE(repo::write_card(tiny_.repo, manifest.card));
    return id;
  }
  std::string named(const PackId& pack) const {
    return cat("pgdata/base/5/1 from block 7: ", tiny_.repo.name(repo::pack_name(pack, repo::PackKind::data)),
               ": frame 73: its seal does not match its content");
  }
  void found(const BackupId& id, const std::string& problem, const char* kind = "verify") {
    tell(id, kind, false, {problem});
  }
  void whole(const BackupId& id, const char* kind = "verify") { tell(id, kind, true, {}); }
  void tell(const BackupId& id, const char* kind, bool passed, std::vector<std::string> problems) {
    tiny_.clock.advance_us(1'000'000);
    ProofRecord record;
    record.kind = kind;
    record.time = {tiny_.clock.unix_us()};
    record.backups.push_back({id, passed ? ProofLevel::wal : ProofLevel::none, passed, std::move(problems)});
    ASSERT_TRUE(repo::write_evidence(tiny_.repo, record.time, encode_proof(record)));
  }
  Proofs proofs() const {
    auto read = read_proofs(tiny_.repo);
    EXPECT_TRUE(read) << read.error().to_string();
    return read ? std::move(*read) : Proofs();
  }
  bool damaged(const BackupId& id) const { return found_damaged(proofs(), id).has_value(); }
  Reference base(BackupType type = BackupType::incr) const {
    auto chosen = choose_reference(tiny_.repo, type, pg::TimelineHistory::root({1}));
    EXPECT_TRUE(chosen) << chosen.error().to_string();
    return chosen ? std::move(*chosen) : Reference();
  }

  TinyRepo tiny_;
  uint32_t nodes_ = 0;
};

TEST_F(DamageTest, who_shares_the_pack_has_the_damage_whatever_was_proven_before) {
  const BackupId full = back_up(std::nullopt);
  const PackId pack{full, 1};
  const BackupId second = back_up(full, {pack});
  const BackupId third = back_up(second, {{second, 1}});
  whole(second);
  whole(third);
  found(full, named(pack));
  EXPECT_TRUE(damaged(second));
  EXPECT_FALSE(proofs().of(second)->good());
  EXPECT_NE(found_damaged(proofs(), second)->find(full.text), std::string::npos) << "where it was found";
  EXPECT_FALSE(damaged(third)) << "nothing of that pack is left in it";
  whole(second);
  EXPECT_FALSE(damaged(second)) << "it was read since";
}

TEST_F(DamageTest, a_drill_names_packs_too) {
  const BackupId full = back_up(std::nullopt);
  const BackupId second = back_up(full, {{full, 1}});
  found(second, named({full, 1}), "drill");
  EXPECT_TRUE(damaged(full));
}

TEST_F(DamageTest, what_was_taken_over_from_a_sound_backup_is_sound) {
  const BackupId full = back_up(std::nullopt);
  const BackupId second = back_up(full, {{full, 1}});
  found(full, named({full, 1}));
  whole(second);  // the frame that is damaged is not among those that it shares
  const BackupId third = back_up(second, {{full, 1}});
  EXPECT_FALSE(damaged(third));
  const BackupId inherits = back_up(full, {{full, 1}});
  EXPECT_TRUE(damaged(inherits));
  EXPECT_FALSE(damaged(back_up(std::nullopt)));
}

TEST_F(DamageTest, broken_wal_that_a_drill_replays_does_not_condemn_its_backup) {
  const BackupId full = back_up(std::nullopt);
  const std::string wal =
      "clusters/main/7-15/wal/00000001/00000000/000000010000000000000007: its seal does not match";
  found(full, wal, "drill");
  EXPECT_FALSE(damaged(full));
  // Where the backup's own WAL is meant, a verification says so of it.
  found(full, wal, "verify");
  EXPECT_TRUE(damaged(full));
}

TEST_F(DamageTest, a_drill_that_passed_since_does_not_make_damage_undone) {
  const BackupId full = back_up(std::nullopt);
  whole(full);
  found(full, named({full, 1}));
  whole(full, "drill");
  EXPECT_TRUE(damaged(full)) << "it need not have touched the frame";
  EXPECT_FALSE(proofs().of(full)->good());
  whole(full);
  EXPECT_FALSE(damaged(full));
}

TEST_F(DamageTest, an_incremental_backup_stands_on_the_newest_in_which_no_check_found_damage) {
  const BackupId full = back_up(std::nullopt);
  const BackupId second = back_up(full, {{full, 2}});
  EXPECT_EQ(base().card->id, second);
  found(second, named({second, 1}));
  EXPECT_EQ(base().card->id, full);
  ASSERT_EQ(base().damaged.size(), 1u);
  EXPECT_NE(base().damaged[0].find(second.text), std::string::npos);
  found(full, named({full, 1}), "drill");
  EXPECT_FALSE(base().card);
  EXPECT_NE(base().why_none.find(second.text), std::string::npos) << base().why_none;
  EXPECT_EQ(base().damaged.size(), 2u);
  EXPECT_FALSE(base(BackupType::diff).card);
  whole(second);
  EXPECT_EQ(base().card->id, second);
  EXPECT_TRUE(base().damaged.empty());
}

}  // namespace
}  // namespace lifeboat::ops
