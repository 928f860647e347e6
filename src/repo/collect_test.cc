#include "repo/collect.h"

#include <gtest/gtest.h>

#include "repo/summary_store.h"
#include "repo/wal_store.h"
#include "repo/wal_tail.h"
#include "storage/wrap/fault_store.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

constexpr int64_t kMinuteUs = 60'000'000;
constexpr int64_t kDayUs = 24 * 60 * kMinuteUs;

class CollectTest : public ::testing::Test {
 protected:
  CollectTest() {
    options_.policy.keep_count = 1;
    options_.segment_size = kTinySegment;
  }
  BackupId back_up(const TinyFiles& files, std::optional<BackupId> base = std::nullopt,
                   TinyPosition position = {}) {
    tiny_.clock.advance_us(kMinuteUs);
    auto id = tiny_.back_up(files, base, position);
    CHECK(id.has_value());
    return *id;
  }
  ExpirePlan run() {
    auto plan = run_expiry(tiny_.repo, options_);
    EXPECT_TRUE(plan) << plan.error().to_string();
    return plan ? std::move(*plan) : ExpirePlan();
  }
  void pass_grace() { tiny_.clock.advance_us(options_.grace_us + 1); }
  LeaseOptions lease_options() {
    LeaseOptions lease;
    lease.clock = &tiny_.clock;
    lease.background = false;
    lease.self = ProcessIdentity{"db1", "boot", 1, 4711, 1};
    return lease;
  }
  bool exists(const std::string& below) { return *tiny_.memory.exists(tiny_.repo.name(below)); }
  static TinyFiles files(uint64_t seed) {
    return {{"a", tiny_content(seed, 900)}, {"b", tiny_content(seed + 1, 300)}};
  }

  TinyRepo tiny_;
  ExpireOptions options_;
};

TEST_F(CollectTest, condemned_first_and_deleted_after_the_grace) {  // T37
  BackupId old = back_up(files(1));
  BackupId kept = back_up(files(5));
  ExpirePlan first = run();
  EXPECT_EQ(first.tombstone.backups, std::vector<BackupId>{old});
  EXPECT_TRUE(first.deletions.empty());
  EXPECT_EQ(*tombstoned_backups(tiny_.repo), std::set<BackupId>{old});
  EXPECT_TRUE(restore_tiny(tiny_.repo, old));

  tiny_.clock.advance_us(options_.grace_us);
  EXPECT_TRUE(run().nothing_to_do());
  tiny_.clock.advance_us(1);
  ExpirePlan second = run();
  EXPECT_FALSE(second.deletions.empty());
  EXPECT_FALSE(exists("cards/" + old.text));
  EXPECT_TRUE(tiny_.names("packs/" + old.text).empty());
  EXPECT_TRUE(tiny_.names("tombstones/").empty());
  EXPECT_EQ(*restore_tiny(tiny_.repo, kept), files(5));
  EXPECT_TRUE(run().nothing_to_do());
}

TEST_F(CollectTest, with_no_grace_one_run_does_it_all) {
  BackupId old = back_up(files(1));
  back_up(files(5));
  options_.grace_us = 0;
  run();
  EXPECT_FALSE(exists("cards/" + old.text));
  EXPECT_TRUE(tiny_.names("packs/" + old.text).empty());
  EXPECT_TRUE(tiny_.names("tombstones/").empty());
}

TEST_F(CollectTest, a_grace_shorter_than_a_lease_is_refused) {
  options_.grace_us = options_.lease.timing.lease_us;
  EXPECT_EQ(run_expiry(tiny_.repo, options_).error().kind, ErrorKind::config);
}

TEST_F(CollectTest, a_dry_run_says_what_the_run_does_and_changes_nothing) {
  back_up(files(1));
  back_up(files(5));
  run();
  pass_grace();
  back_up(files(9));
  auto before = tiny_.names();
  auto plan = plan_expiry(tiny_.repo, options_);
  ASSERT_TRUE(plan);
  EXPECT_EQ(tiny_.names(), before);
  ExpirePlan done = run();
  EXPECT_EQ(plan->tombstone.backups, done.tombstone.backups);
  ASSERT_EQ(plan->deletions.size(), done.deletions.size());
  for (size_t i = 0; i < done.deletions.size(); ++i)
    EXPECT_EQ(plan->deletions[i].object, done.deletions[i].object);
  EXPECT_EQ(plan->bytes, done.bytes);
  EXPECT_GT(plan->bytes, 0u);
}

TEST_F(CollectTest, only_what_was_approved_is_condemned) {
  BackupId one = back_up(files(1));
  BackupId two = back_up(files(5));
  back_up(files(9));
  options_.approved = {two};
  EXPECT_EQ(run().tombstone.backups, std::vector<BackupId>{two});
  EXPECT_TRUE(exists("cards/" + one.text));
}

TEST_F(CollectTest, packs_that_newer_backups_refer_to_outlive_their_writer) {
  TinyFiles base = files(1);
  BackupId old = back_up(base);
  TinyFiles changed = base;
  changed["b"] = tiny_content(77, 300);
  BackupId next = back_up(changed, old);
  options_.grace_us = 0;
  size_t packs = tiny_.names("packs/" + old.text).size();
  run();
  EXPECT_FALSE(exists("cards/" + old.text));
  size_t left = tiny_.names("packs/" + old.text).size();
  EXPECT_GT(left, 0u);
  EXPECT_LT(left, packs) << "its tree and what changed are not needed any more";
  EXPECT_EQ(*restore_tiny(tiny_.repo, next), changed);
  // When the one that needed them expires, they go as well, though their writer is long forgotten.
  back_up(files(20));
  run();
  EXPECT_TRUE(tiny_.names("packs/" + old.text).empty());
  EXPECT_TRUE(tiny_.names("packs/" + next.text).empty());
}

TEST_F(CollectTest, a_backup_that_a_live_lease_refers_to_is_not_condemned) {
  BackupId old = back_up(files(1));
  back_up(files(5));
  auto lease = ReaderLease::acquire(tiny_.repo, "restore", {old}, lease_options());
  ASSERT_TRUE(lease);
  EXPECT_TRUE(run().tombstone.backups.empty());
  ASSERT_TRUE(lease->end());
  EXPECT_EQ(run().tombstone.backups.size(), 1u);
}

TEST_F(CollectTest, leases_are_looked_at_again_before_deletion) {  // T37
  BackupId old = back_up(files(1));
  back_up(files(5));
  // The lease was taken after expiry had looked and before it condemned: it did not see the tombstone.
  auto lease = ReaderLease::acquire(tiny_.repo, "restore", {old}, lease_options());
  ASSERT_TRUE(lease);
  Tombstone stone;
  stone.created = {tiny_.clock.unix_us()};
  stone.grace_us = options_.grace_us;
  stone.backups = {old};
  ASSERT_TRUE(write_tombstone(tiny_.repo, stone));
  for (int i = 0; i < 8; ++i) {
    tiny_.clock.advance_us(10 * kMinuteUs);
    ASSERT_TRUE(lease->renew());
  }
  ExpirePlan spared = run();
  EXPECT_EQ(spared.spared, std::vector<BackupId>{old});
  EXPECT_TRUE(restore_tiny(tiny_.repo, old));
  ASSERT_TRUE(lease->end());
  run();
  EXPECT_FALSE(exists("cards/" + old.text));
}

TEST_F(CollectTest, a_dead_attempt_is_poisoned_then_condemned_then_removed) {  // T37
  BackupId kept = back_up(files(5));
  BackupId attempt = tiny_.new_id();
  auto lease = BackupLease::acquire(tiny_.repo, attempt, {}, lease_options());
  ASSERT_TRUE(lease);
  ASSERT_TRUE(write_attempt(tiny_.repo, {attempt, {}, {1}, {0x100}, kTinyBlock, false}));
  auto root = store_tiny_tree(tiny_.repo, attempt, files(9), nullptr);
  ASSERT_TRUE(root);
  ASSERT_TRUE(run().nothing_to_do());  // it lives
  tiny_.clock.advance_us(16 * kMinuteUs);
  EXPECT_EQ(run().tombstone.attempts, std::vector<BackupId>{attempt});
  EXPECT_EQ(read_card(tiny_.repo, attempt)->state, BackupState::aborted);
  EXPECT_EQ(write_card(tiny_.repo, tiny_manifest(attempt, *root, {}, {}, {}).card).error().kind,
            ErrorKind::conflict);
  pass_grace();
  run();
  EXPECT_TRUE(tiny_.names("packs/" + attempt.text).empty());
  // The poison stays for a host that sleeps long, then goes as well.
  EXPECT_TRUE(exists("cards/" + attempt.text));
  tiny_.clock.advance_us(31 * kDayUs);
  run();
  EXPECT_FALSE(exists("cards/" + attempt.text));
  run();
  EXPECT_FALSE(exists("cards/" + attempt.text)) << "the newest lease does not bring it back";
  EXPECT_TRUE(restore_tiny(tiny_.repo, kept));
}

TEST_F(CollectTest, an_attempt_that_is_gone_on_with_keeps_what_was_taken_over) {  // T37
  BackupId attempt = tiny_.new_id();
  {
    auto lease = BackupLease::acquire(tiny_.repo, attempt, {}, lease_options());
    ASSERT_TRUE(lease);
    ASSERT_TRUE(write_attempt(tiny_.repo, {attempt, {}, {1}, {0x100}, kTinyBlock, false}));
    ASSERT_TRUE(store_tiny_tree(tiny_.repo, attempt, files(9), nullptr));
    ASSERT_TRUE(lease->abort("killed"));
  }
  BackupId next = tiny_.new_id();
  auto lease = BackupLease::acquire(tiny_.repo, next, {attempt}, lease_options());
  ASSERT_TRUE(lease) << lease.error().to_string();
  EXPECT_TRUE(run().tombstone.attempts.empty()) << "it is leased";
  ASSERT_TRUE(write_attempt(tiny_.repo, {next, {}, {1}, {0x200}, kTinyBlock, false}));
  auto root = store_tiny_tree(tiny_.repo, next, files(9), nullptr, {attempt});
  ASSERT_TRUE(root);
  EXPECT_EQ(tiny_.names("packs/" + next.text).size(), 1u) << "nodes, and no data";
  Manifest manifest = tiny_manifest(next, *root, {}, {tiny_.clock.unix_us()}, {});
  ASSERT_TRUE(write_manifest(tiny_.repo, manifest));
  ASSERT_TRUE(lease->confirm());
  ASSERT_TRUE(write_card(tiny_.repo, manifest.card));
  EXPECT_EQ(run().tombstone.attempts, std::vector<BackupId>{attempt});
  EXPECT_EQ(BackupLease::acquire(tiny_.repo, tiny_.new_id(), {attempt}, lease_options()).error().kind,
            ErrorKind::precondition)
      << "it is condemned";
  pass_grace();
  run();
  EXPECT_FALSE(exists("attempts/" + attempt.text));
  EXPECT_EQ(*restore_tiny(tiny_.repo, next), files(9));
  pass_grace();
  run();
  EXPECT_TRUE(run().nothing_to_do()) << "and that is all";
  EXPECT_EQ(*restore_tiny(tiny_.repo, next), files(9));
}

TEST_F(CollectTest, packs_of_a_running_attempt_are_left_alone) {
  BackupId old = back_up(files(1));
  back_up(files(5));
  BackupId attempt = tiny_.new_id();
  auto lease = BackupLease::acquire(tiny_.repo, attempt, {}, lease_options());
  ASSERT_TRUE(lease);
  auto root = store_tiny_tree(tiny_.repo, attempt, files(9), nullptr);
  ASSERT_TRUE(root);
  options_.grace_us = 0;
  run();
  EXPECT_FALSE(exists("cards/" + old.text));
  Manifest manifest = tiny_manifest(attempt, *root, {}, {tiny_.clock.unix_us()}, {});
  ASSERT_TRUE(lease->confirm());
  ASSERT_TRUE(write_manifest(tiny_.repo, manifest));
  ASSERT_TRUE(write_card(tiny_.repo, manifest.card));
  EXPECT_EQ(*restore_tiny(tiny_.repo, attempt), files(9));
}

TEST_F(CollectTest, no_pack_goes_while_a_tree_that_counts_cannot_be_read) {
  BackupId old = back_up(files(1));
  BackupId kept = back_up(files(5));
  options_.grace_us = 0;
  std::string nodes;
  for (const std::string& name : tiny_.names("packs/" + kept.text)) {
    if (name.ends_with(".nodes")) nodes = tiny_.repo.name(name);
  }
  Bytes bytes = *tiny_.memory.get(nodes, 1 << 20);
  bytes[100] ^= 1;
  ASSERT_TRUE(tiny_.memory.overwrite(nodes, bytes));
  size_t packs = tiny_.names("packs/").size();
  auto refused = run_expiry(tiny_.repo, options_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::damaged);
  EXPECT_EQ(tiny_.names("packs/").size(), packs);
  EXPECT_TRUE(exists("cards/" + old.text));
}

TEST_F(CollectTest, leases_that_are_over_go_but_a_number_is_never_given_again) {
  for (int i = 0; i < 3; ++i) {
    tiny_.clock.advance_us(kMinuteUs);
    auto lease = BackupLease::acquire(tiny_.repo, tiny_.new_id(), {}, lease_options());
    ASSERT_TRUE(lease) << lease.error().to_string();
    ASSERT_TRUE(lease->renew());
    ASSERT_TRUE(lease->abort("test"));
  }
  auto reader = ReaderLease::acquire(tiny_.repo, "verify", {}, lease_options());
  ASSERT_TRUE(reader);
  ASSERT_TRUE(reader->end());
  run();
  EXPECT_EQ(tiny_.names("leases/"),
            (std::vector<std::string>{"leases/backup/00000003", "leases/backup/00000003.0001"}));
  tiny_.clock.advance_us(31 * kDayUs);
  run();
  EXPECT_TRUE(tiny_.names("cards/").empty());
  run();
  EXPECT_TRUE(tiny_.names("cards/").empty());
  EXPECT_EQ(BackupLease::acquire(tiny_.repo, tiny_.new_id(), {}, lease_options())->sequence(), 4u);
}

TEST_F(CollectTest, a_run_that_lost_its_lease_stops_deleting) {
  back_up(files(1));
  back_up(files(5));
  run();
  pass_grace();
  storage::FaultStore sleepy(tiny_.memory);
  bool slept = false;
  sleepy.set_hook([&](storage::FaultPlan::Domain, uint64_t, std::string_view what) {
    if (what != "remove" || slept) return;
    slept = true;
    tiny_.clock.advance_us(16 * kMinuteUs);
  });
  Repository repository = *Repository::open(std::make_unique<BorrowedStore>(sleepy), {});
  LineageRepo repo(repository, tiny_.repo.cluster(), tiny_.repo.lineage());
  options_.lease = lease_options();
  size_t before = tiny_.memory.object_count();
  auto ran = run_expiry(repo, options_);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().kind, ErrorKind::timeout);
  EXPECT_EQ(tiny_.memory.object_count(), before - 1) << "the deletion it slept in, and no other";
  EXPECT_EQ(tiny_.names("tombstones/").size(), 1u);
  run();
  EXPECT_TRUE(tiny_.names("tombstones/").empty());
}

TEST_F(CollectTest, a_tombstone_stays_while_another_run_is_at_work) {
  BackupId old = back_up(files(1));
  back_up(files(5));
  run();
  pass_grace();
  auto other = ReaderLease::acquire(tiny_.repo, "expire", {}, lease_options());
  ASSERT_TRUE(other);
  run();
  EXPECT_FALSE(exists("cards/" + old.text));
  EXPECT_EQ(tiny_.names("tombstones/").size(), 1u);
  ASSERT_TRUE(other->end());
  run();
  EXPECT_TRUE(tiny_.names("tombstones/").empty());
}

TEST_F(CollectTest, the_grace_counts_from_when_the_tombstone_became_visible) {
  BackupId old = back_up(files(1));
  back_up(files(5));
  // Its writer looked at the clock, then slept for hours.
  Tombstone stone;
  stone.created = {tiny_.clock.unix_us() - 5 * 60 * kMinuteUs};
  stone.grace_us = options_.grace_us;
  stone.backups = {old};
  ASSERT_TRUE(write_tombstone(tiny_.repo, stone));
  EXPECT_TRUE(run().deletions.empty());
  pass_grace();
  EXPECT_FALSE(run().deletions.empty());
}

// --- WAL

class CollectWalTest : public CollectTest {
 protected:
  void push(uint32_t number, uint32_t timeline = 1) {
    auto file = WalFileName::parse(SegmentName{{timeline}, 0, number}.to_string());
    ASSERT_TRUE(WalStore(tiny_.repo).push(*file, WalSource::from_bytes(tiny_content(number, 50))));
  }
  static Lsn at(uint64_t segments) { return {segments << 20}; }
  std::string stored() {
    std::string text;
    EXPECT_TRUE(WalStore(tiny_.repo).list_segments({1}, {}, [&](const SegmentName& name, int) -> Status {
      text += cat(text.empty() ? "" : " ", name.number);
      return {};
    }));
    return text;
  }
};

TEST_F(CollectWalTest, wal_goes_with_the_backups_that_needed_it) {  // RT2
  for (uint32_t i = 1; i <= 6; ++i) push(i);
  back_up(files(1), std::nullopt, {{1}, at(2), at(3)});
  back_up(files(5), std::nullopt, {{1}, at(4), at(5)});
  run();
  EXPECT_EQ(stored(), "1 2 3 4 5 6");
  pass_grace();
  run();
  EXPECT_EQ(stored(), "4 5 6");
}

TEST_F(CollectWalTest, change_summaries_go_with_their_segments) {
  SummaryStore summaries(tiny_.repo);
  auto summarise = [&](uint32_t i) {
    auto object = WalStore(tiny_.repo).find(*WalFileName::parse(SegmentName{{1}, 0, i}.to_string()));
    ASSERT_TRUE(object && *object);
    ASSERT_TRUE(summaries.put(**object, as_bytes("what changed")));
  };
  auto summarised = [&] {
    std::vector<uint32_t> numbers;
    CHECK(summaries
              .list({1}, {},
                    [&](const WalObject& object) -> Status {
                      numbers.push_back(object.file.segment.number);
                      return {};
                    })
              .has_value());
    return numbers;
  };
  for (uint32_t i = 1; i <= 6; ++i) push(i);
  for (uint32_t i = 1; i <= 5; ++i) summarise(i);
  // Made from a segment that another run was removing.
  std::string orphan =
      tiny_.repo.name(summary_object_name(*WalFileName::parse("000000010000000000000000"), {}));
  ASSERT_TRUE(tiny_.memory.put(orphan, as_bytes("x")));
  back_up(files(1), std::nullopt, {{1}, at(2), at(3)});
  back_up(files(5), std::nullopt, {{1}, at(4), at(5)});
  run();
  EXPECT_EQ(summarised(), (std::vector<uint32_t>{1, 2, 3, 4, 5}));
  pass_grace();
  run();
  EXPECT_EQ(stored(), "4 5 6");
  EXPECT_EQ(summarised(), (std::vector<uint32_t>{4, 5}));
}

TEST_F(CollectWalTest, tails_go_with_their_wal_and_when_their_segment_is_whole) {
  TailStore tails(tiny_.repo);
  auto put = [&](uint32_t number) {
    ASSERT_TRUE(tails.put({{1}, 0, number}, 0, WalSource::from_bytes(tiny_content(number, 50))));
  };
  auto there = [&] {
    auto pieces = tails.list({1});
    CHECK(pieces.has_value());
    std::vector<uint32_t> numbers;
    for (const TailPiece& piece : *pieces) numbers.push_back(piece.segment.number);
    return numbers;
  };
  for (uint32_t i = 1; i <= 5; ++i) push(i);
  put(5);  // what a receiver left
  put(6);  // of the segment at hand
  back_up(files(1), std::nullopt, {{1}, at(2), at(3)});
  back_up(files(5), std::nullopt, {{1}, at(4), at(5)});
  run();
  EXPECT_EQ(there(), (std::vector<uint32_t>{6}));
}

TEST_F(CollectWalTest, a_tail_that_nothing_kept_leads_to_goes) {
  TailStore tails(tiny_.repo);
  for (uint32_t i = 1; i <= 4; ++i) push(i);
  ASSERT_TRUE(tails.put({{1}, 0, 5}, 0, WalSource::from_bytes(tiny_content(5, 50))));
  ASSERT_TRUE(WalStore(tiny_.repo)
                  .push(*WalFileName::parse("00000002.history"),
                        WalSource::from_bytes(as_bytes("1\t0/500000\tx\n"))));
  push(9, 2);
  back_up(files(1), std::nullopt, {{2}, at(9), at(9)});
  options_.grace_us = 0;
  run();
  EXPECT_EQ(stored(), "");
  EXPECT_TRUE(tails.list({1})->empty());
}

TEST_F(CollectWalTest, history_files_stay) {  // T23
  push(1);
  ASSERT_TRUE(WalStore(tiny_.repo)
                  .push(*WalFileName::parse("00000002.history"),
                        WalSource::from_bytes(as_bytes("1\t0/200000\tx\n"))));
  push(9, 2);
  back_up(files(1), std::nullopt, {{2}, at(9), at(9)});
  options_.grace_us = 0;
  run();
  EXPECT_EQ(stored(), "");
  EXPECT_TRUE(WalStore(tiny_.repo).history({2}));
}

TEST_F(CollectWalTest, wal_that_a_backup_began_to_need_after_it_was_condemned_stays) {
  for (uint32_t i = 1; i <= 6; ++i) push(i);
  back_up(files(1), std::nullopt, {{1}, at(5), at(6)});
  // A standby far behind begins at 2: its lease was there before the tombstone, its start became known after.
  auto lease = BackupLease::acquire(tiny_.repo, tiny_.new_id(), {}, lease_options());
  ASSERT_TRUE(lease);
  ASSERT_TRUE(lease->set_start({1}, at(2), kTinySegment));
  Tombstone stone;
  stone.created = {tiny_.clock.unix_us()};
  stone.grace_us = options_.grace_us;
  stone.wal = {{{{1}, 0, 1}, {{1}, 0, 5}}};
  ASSERT_TRUE(write_tombstone(tiny_.repo, stone));
  for (int i = 0; i < 8; ++i) {
    tiny_.clock.advance_us(10 * kMinuteUs);
    ASSERT_TRUE(lease->renew());
  }
  run();
  EXPECT_EQ(stored(), "2 3 4 5 6");
}

TEST_F(CollectWalTest, a_backup_that_is_condemned_keeps_its_wal_for_its_grace) {
  // Found by the model check. An older tombstone condemned WAL that a backup from a standby far behind needs
  // again.
  for (uint32_t i = 1; i <= 6; ++i) push(i);
  Tombstone stone;
  stone.created = {tiny_.clock.unix_us()};
  stone.grace_us = options_.grace_us;
  stone.wal = {{{{1}, 0, 1}, {{1}, 0, 5}}};
  ASSERT_TRUE(write_tombstone(tiny_.repo, stone));
  back_up(files(1), std::nullopt, {{1}, at(2), at(3)});
  back_up(files(5), std::nullopt, {{1}, at(5), at(6)});
  pass_grace();
  EXPECT_EQ(run().tombstone.backups.size(), 1u);
  EXPECT_EQ(stored(), "2 3 4 5 6") << "condemned by this very run";
  run();
  EXPECT_EQ(stored(), "2 3 4 5 6") << "condemned and not ripe";
  pass_grace();
  run();  // the card goes
  run();  // what only it needed is condemned again
  pass_grace();
  run();
  EXPECT_EQ(stored(), "5 6");
}

TEST_F(CollectWalTest, condemned_wal_is_condemned_once) {
  for (uint32_t i = 1; i <= 6; ++i) push(i);
  back_up(files(1), std::nullopt, {{1}, at(4), at(5)});
  EXPECT_EQ(run().tombstone.wal.size(), 1u);
  EXPECT_TRUE(run().tombstone.empty());
  EXPECT_EQ(tiny_.names("tombstones/").size(), 1u);
  EXPECT_EQ(read_condemned(tiny_.repo)->first_wal({{1}, 0, 2}, std::nullopt), (SegmentName{{1}, 0, 2}));
}

// --- crashes

TEST(CollectCrashTest, after_a_crash_at_any_write_the_next_run_finishes) {
  constexpr int64_t kLater = 32 * kDayUs;
  auto scenario = [](TinyRepo& tiny) {
    CHECK(tiny.back_up({{"a", tiny_content(1, 900)}}).has_value());
    tiny.clock.advance_us(kMinuteUs);
    BackupId base = *tiny.back_up({{"a", tiny_content(2, 900)}, {"b", tiny_content(3, 300)}});
    tiny.clock.advance_us(kMinuteUs);
    CHECK(tiny.back_up({{"a", tiny_content(4, 900)}, {"b", tiny_content(3, 300)}}, base).has_value());
    LeaseOptions lease;
    lease.clock = &tiny.clock;
    lease.background = false;
    lease.self = ProcessIdentity{"db1", "boot", 1, 1, 1};
    BackupId attempt = tiny.new_id();
    CHECK(BackupLease::acquire(tiny.repo, attempt, {}, lease).has_value());
    CHECK(store_tiny_tree(tiny.repo, attempt, {{"a", tiny_content(9, 500)}}, nullptr).has_value());
    tiny.clock.advance_us(20 * kMinuteUs);
  };
  ExpireOptions options;
  options.policy.keep_count = 1;
  options.segment_size = kTinySegment;
  auto settle = [&](TinyRepo& tiny) {
    for (int i = 0; i < 4; ++i) {
      CHECK(run_expiry(tiny.repo, options).has_value());
      tiny.clock.advance_us(kLater);
    }
    return tiny.names();
  };
  auto without_ids = [](const std::vector<std::string>& names) { return names.size(); };

  TinyRepo reference;
  scenario(reference);
  size_t expected = without_ids(settle(reference));
  int crashes = 0;
  for (auto action : {storage::FaultPlan::Action::crash_before, storage::FaultPlan::Action::crash_after}) {
    for (uint64_t point = 1;; ++point) {
      TinyRepo tiny;
      scenario(tiny);
      storage::FaultStore faulty(tiny.memory);
      Repository repository = *Repository::open(std::make_unique<BorrowedStore>(faulty), {});
      LineageRepo repo(repository, tiny.repo.cluster(), tiny.repo.lineage());
      faulty.set_plan({.action = action, .at = point});
      for (int i = 0; i < 3 && !faulty.crashed(); ++i) {
        auto ran = run_expiry(repo, options);
        if (!faulty.crashed()) {
          ASSERT_TRUE(ran) << ran.error().to_string();
        }
        tiny.clock.advance_us(kLater);
      }
      if (!faulty.crashed()) break;
      ++crashes;
      std::vector<std::string> left = settle(tiny);
      EXPECT_EQ(without_ids(left), expected) << "crash at write " << point << "\n" << join(left, "\n");
      auto cards = read_cards(tiny.repo);
      for (const Card& card : *cards) EXPECT_TRUE(restore_tiny(tiny.repo, card.id));
    }
  }
  EXPECT_GT(crashes, 30);
}

}  // namespace
}  // namespace lifeboat::repo
