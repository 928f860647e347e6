#include "repo/lease.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "repo/tombstone.h"
#include "storage/wrap/fault_store.h"
#include "storage/wrap/readonly_store.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

constexpr int64_t kMinuteUs = 60'000'000;

class LeaseTest : public ::testing::Test {
 protected:
  // A process on another host, so that only time tells whether it lives.
  LeaseOptions options(std::string host = "db1") {
    LeaseOptions options;
    options.clock = &tiny_.clock;
    options.background = false;
    options.self = ProcessIdentity{std::move(host), "boot", 1, 4711, 1};
    return options;
  }
  Result<BackupLease> acquire(std::vector<BackupId> references = {}, std::string host = "db1") {
    id_ = tiny_.new_id();
    return BackupLease::acquire(tiny_.repo, id_, std::move(references), options(std::move(host)));
  }
  Status commit(const BackupId& id) {
    Card card;
    card.id = id;
    return write_card(tiny_.repo, card);
  }
  BackupState state_of(const BackupId& id) { return read_card(tiny_.repo, id)->state; }
  void condemn(Tombstone stone) {
    stone.created = {tiny_.clock.unix_us()};
    stone.grace_us = 60 * kMinuteUs;
    ASSERT_TRUE(write_tombstone(tiny_.repo, stone));
  }

  TinyRepo tiny_;
  BackupId id_;
};

TEST_F(LeaseTest, a_second_backup_is_busy_and_names_the_holder) {
  auto first = acquire();
  ASSERT_TRUE(first) << first.error().to_string();
  std::string first_id = id_.text;
  auto second = acquire({}, "db2");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::busy);
  for (std::string_view part : {"db1", "4711", first_id.c_str(), "since 20"}) {
    EXPECT_NE(second.error().to_string().find(part), std::string::npos) << second.error().to_string();
  }
}

TEST_F(LeaseTest, a_card_of_any_state_ends_it) {
  for (BackupState state : {BackupState::complete, BackupState::damaged, BackupState::aborted}) {
    auto lease = acquire();
    ASSERT_TRUE(lease) << lease.error().to_string();
    EXPECT_FALSE(acquire());
    Card card;
    card.id = BackupId{read_leases(tiny_.repo)->back().record.id};
    card.state = state;
    ASSERT_TRUE(write_card(tiny_.repo, card));
  }
  EXPECT_EQ(acquire()->sequence(), 4u);
}

TEST_F(LeaseTest, a_host_that_slept_past_its_lease_cannot_commit) {  // T37
  auto sleeper = acquire();
  ASSERT_TRUE(sleeper);
  BackupId slept = id_;
  tiny_.clock.advance_us(16 * kMinuteUs);
  auto next = acquire({}, "db2");
  ASSERT_TRUE(next) << next.error().to_string();
  EXPECT_EQ(state_of(slept), BackupState::aborted);
  EXPECT_EQ(sleeper->check().error().kind, ErrorKind::timeout);
  EXPECT_EQ(sleeper->renew().error().kind, ErrorKind::timeout);
  EXPECT_FALSE(sleeper->confirm());
  EXPECT_EQ(commit(slept).error().kind, ErrorKind::conflict);
}

TEST_F(LeaseTest, a_lease_that_lapsed_is_not_revived_even_if_nobody_noticed) {
  auto lease = acquire();
  ASSERT_TRUE(lease);
  tiny_.clock.advance_us(16 * kMinuteUs);
  EXPECT_FALSE(lease->renew());
  EXPECT_FALSE(lease->confirm());
}

TEST_F(LeaseTest, renewing_keeps_it_alive) {
  auto lease = acquire();
  ASSERT_TRUE(lease);
  BackupId id = id_;
  for (int i = 0; i < 10; ++i) {
    tiny_.clock.advance_us(14 * kMinuteUs);
    ASSERT_TRUE(lease->renew());
    ASSERT_TRUE(lease->check());
    EXPECT_EQ(acquire().error().kind, ErrorKind::busy);
  }
  EXPECT_TRUE(lease->confirm());
  EXPECT_TRUE(commit(id));
  EXPECT_EQ(tiny_.names("leases/backup/").size(), 11u);
}

TEST_F(LeaseTest, a_dead_process_of_this_host_ends_it_at_once) {
  pid_t child = fork();
  if (child == 0) _exit(0);
  ProcessIdentity dead = ProcessIdentity::self();
  dead.pid = child;
  dead.start_ticks = 0;
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  LeaseOptions theirs = options();
  theirs.self = dead;
  BackupId id = tiny_.new_id();
  ASSERT_TRUE(BackupLease::acquire(tiny_.repo, id, {}, theirs));
  EXPECT_TRUE(acquire());
  EXPECT_EQ(state_of(id), BackupState::aborted);
}

TEST_F(LeaseTest, processes_are_told_apart) {
  ProcessIdentity self = ProcessIdentity::self();
  EXPECT_FALSE(self.boot_id.empty());
  EXPECT_NE(self.pid_namespace, 0u);
  EXPECT_NE(self.start_ticks, 0u);
  EXPECT_FALSE(process_is_gone(self));
  ProcessIdentity reused = self;
  reused.start_ticks += 1;
  EXPECT_TRUE(process_is_gone(reused)) << "the pid belongs to a later process";
  for (auto change :
       {+[](ProcessIdentity& p) { p.host += "x"; }, +[](ProcessIdentity& p) { p.boot_id += "x"; },
        +[](ProcessIdentity& p) { p.pid_namespace += 1; }}) {
    ProcessIdentity elsewhere = reused;
    change(elsewhere);
    EXPECT_FALSE(process_is_gone(elsewhere)) << "another place cannot be judged from here";
  }
}

TEST_F(LeaseTest, references_that_are_condemned_or_gone_are_refused_and_the_attempt_aborted) {  // T37
  BackupId base = *tiny_.back_up({{"a", tiny_content(1, 100)}});
  ASSERT_TRUE(acquire({base}));
  ASSERT_TRUE(commit(id_));
  Tombstone stone;
  stone.backups = {base};
  condemn(stone);
  auto refused = acquire({base});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::precondition);
  EXPECT_EQ(state_of(id_), BackupState::aborted);
  EXPECT_EQ(acquire({tiny_.new_id()}).error().kind, ErrorKind::precondition);
  EXPECT_TRUE(acquire());
}

TEST_F(LeaseTest, confirm_notices_what_was_condemned_meanwhile) {
  BackupId base = *tiny_.back_up({{"a", tiny_content(1, 100)}});
  auto lease = acquire({base});
  ASSERT_TRUE(lease);
  EXPECT_TRUE(lease->confirm());
  Tombstone stone;
  stone.backups = {base};
  condemn(stone);
  EXPECT_EQ(lease->confirm().error().kind, ErrorKind::precondition);
}

TEST_F(LeaseTest, a_start_inside_condemned_wal_is_refused) {
  auto lease = acquire();
  ASSERT_TRUE(lease);
  Tombstone stone;
  stone.wal = {{{{1}, 0, 0}, {{1}, 0, 10}}};
  condemn(stone);
  EXPECT_EQ(lease->set_start({1}, {9ull << 20}, kTinySegment).error().kind, ErrorKind::precondition);
  EXPECT_TRUE(lease->set_start({1}, {10ull << 20}, kTinySegment));
  EXPECT_TRUE(lease->set_start({2}, {1ull << 20}, kTinySegment));
  auto leases = read_leases(tiny_.repo);
  ASSERT_EQ(leases->size(), 1u);
  ASSERT_TRUE(leases->front().record.wal_from.has_value());
  EXPECT_EQ(leases->front().record.wal_from->timeline, Timeline{2});
}

TEST_F(LeaseTest, of_two_that_race_for_a_number_one_wins) {
  storage::FaultStore raced(tiny_.memory);
  bool done = false;
  Result<BackupLease> winner = make_error(ErrorKind::failed, "", "not tried");
  raced.set_hook([&](storage::FaultPlan::Domain domain, uint64_t, std::string_view) {
    if (domain != storage::FaultPlan::Domain::writes || done) return;
    done = true;
    winner = acquire({}, "winner");
  });
  Repository repository = *Repository::open(std::make_unique<BorrowedStore>(raced), {});
  LineageRepo repo(repository, tiny_.repo.cluster(), tiny_.repo.lineage());
  auto loser = BackupLease::acquire(repo, BackupId::make({tiny_.clock.unix_us()}, 99), {}, options("loser"));
  EXPECT_TRUE(winner);
  ASSERT_FALSE(loser);
  EXPECT_EQ(loser.error().kind, ErrorKind::busy);
  EXPECT_NE(loser.error().to_string().find("winner"), std::string::npos);
}

TEST_F(LeaseTest, an_answer_that_got_lost_does_not_lock_us_out) {
  storage::FaultStore faulty(tiny_.memory);
  // The lease is created, the answer is lost, and a retry meets our own object.
  Repository repository = *Repository::open(std::make_unique<BorrowedStore>(faulty), {});
  LineageRepo repo(repository, tiny_.repo.cluster(), tiny_.repo.lineage());
  faulty.set_plan({});
  ASSERT_TRUE(BackupLease::acquire(repo, BackupId::make({1}, 1), {}, options())->abort("over"));
  uint64_t commit_point = 0;
  faulty.set_hook([&](storage::FaultPlan::Domain domain, uint64_t number, std::string_view what) {
    if (domain == storage::FaultPlan::Domain::writes && what == "commit" && commit_point == 0)
      commit_point = number;
  });
  faulty.set_plan({});
  commit_point = 0;
  ASSERT_TRUE(BackupLease::acquire(repo, BackupId::make({1}, 2), {}, options())->abort("over"));
  ASSERT_NE(commit_point, 0u);
  faulty.set_plan(
      {.action = storage::FaultPlan::Action::fail_after, .at = commit_point, .kind = ErrorKind::conflict});
  auto lease = BackupLease::acquire(repo, BackupId::make({1}, 3), {}, options());
  ASSERT_TRUE(lease) << lease.error().to_string();
  EXPECT_EQ(lease->sequence(), 3u);
  EXPECT_TRUE(lease->renew());
}

TEST_F(LeaseTest, the_background_thread_renews) {
  LeaseOptions fast;
  fast.timing = {.lease_us = 60 * kMinuteUs, .renew_us = 2'000};
  auto lease = BackupLease::acquire(tiny_.repo, tiny_.new_id(), {}, fast);
  ASSERT_TRUE(lease);
  while (tiny_.names("leases/backup/").size() < 4) std::this_thread::yield();
  EXPECT_TRUE(lease->check());
}

TEST_F(LeaseTest, the_owner_is_stopped_when_the_lease_is_lost) {
  storage::FaultStore faulty(tiny_.memory);
  Repository repository = *Repository::open(std::make_unique<BorrowedStore>(faulty), {});
  LineageRepo repo(repository, tiny_.repo.cluster(), tiny_.repo.lineage());
  StopToken stop;
  LeaseOptions fast;
  fast.timing = {.lease_us = 20'000, .renew_us = 2'000};
  fast.stop = &stop;
  auto lease = BackupLease::acquire(repo, tiny_.new_id(), {}, fast);
  ASSERT_TRUE(lease);
  faulty.set_plan({.action = storage::FaultPlan::Action::fail, .at = 1, .times = ~uint64_t{0}});
  while (!stop.stopped()) std::this_thread::yield();
  EXPECT_FALSE(lease->check());
}

TEST_F(LeaseTest, readers_share_end_and_lapse) {
  BackupId base = *tiny_.back_up({{"a", tiny_content(1, 100)}});
  auto one = ReaderLease::acquire(tiny_.repo, "restore", {base}, options());
  auto two = ReaderLease::acquire(tiny_.repo, "drill", {base}, options());
  ASSERT_TRUE(one && two);
  EXPECT_TRUE(one->held());
  ASSERT_TRUE(one->end());
  ASSERT_TRUE(one->end());
  auto leases = read_leases(tiny_.repo);
  ASSERT_EQ(leases->size(), 2u);
  auto no_card = [](const BackupId&) -> Result<bool> { return false; };
  auto here = [](const ProcessIdentity&) { return false; };
  int live = 0;
  for (const LeaseState& lease : *leases) {
    live += *judge_lease(lease, {tiny_.clock.unix_us()}, no_card, here) == LeaseVerdict::live;
  }
  EXPECT_EQ(live, 1);
  for (const LeaseState& lease : *leases) {
    Timestamp later{tiny_.clock.unix_us() + 16 * kMinuteUs};
    EXPECT_EQ(*judge_lease(lease, later, no_card, here), LeaseVerdict::over);
  }
}

TEST_F(LeaseTest, on_a_read_only_repository_a_reader_goes_without) {
  BackupId base = *tiny_.back_up({{"a", tiny_content(1, 100)}});
  Repository repository = *Repository::open(
      std::make_unique<storage::ReadOnlyStore>(std::make_unique<BorrowedStore>(tiny_.memory)), {});
  LineageRepo repo(repository, tiny_.repo.cluster(), tiny_.repo.lineage());
  auto lease = ReaderLease::acquire(repo, "restore", {base}, options());
  ASSERT_TRUE(lease) << lease.error().to_string();
  EXPECT_FALSE(lease->held());
  EXPECT_TRUE(lease->check());
  EXPECT_TRUE(lease->renew());
  EXPECT_TRUE(lease->end());
  Tombstone stone;
  stone.backups = {base};
  condemn(stone);
  EXPECT_EQ(ReaderLease::acquire(repo, "restore", {base}, options()).error().kind, ErrorKind::precondition);
}

TEST_F(LeaseTest, an_attempt_that_had_committed_cannot_be_poisoned) {
  BackupId id = *tiny_.back_up({{"a", tiny_content(1, 100)}});
  EXPECT_FALSE(*poison_attempt(tiny_.repo, id, "dead", "db1", {1}));
  EXPECT_EQ(state_of(id), BackupState::complete);
  BackupId attempt = tiny_.new_id();
  EXPECT_TRUE(*poison_attempt(tiny_.repo, attempt, "dead", "db1", {1}));
  EXPECT_TRUE(*poison_attempt(tiny_.repo, attempt, "dead", "db1", {1}));
  EXPECT_EQ(state_of(attempt), BackupState::aborted);
}

TEST(LeaseRecordTest, a_record_survives_and_other_text_is_damaged) {
  LeaseRecord record;
  record.purpose = "backup";
  record.id = "20261120T105625Z-4f2a9c";
  record.process = {"h\xff", "b", 1, 2, 3};
  record.references = {BackupId{"20261120T105625Z-4f2a9c"}};
  record.wal_from = WalPosition{{3}, {0x16B374D848}};
  auto decoded = decode_lease("o", as_bytes(encode_lease(record)));
  ASSERT_TRUE(decoded) << decoded.error().to_string();
  EXPECT_EQ(decoded->references, record.references);
  EXPECT_EQ(decoded->wal_from->lsn, record.wal_from->lsn);
  EXPECT_EQ(decoded->process.start_ticks, 3u);
  for (std::string_view text : {"", "{}", "[]", "{\"purpose\":1}"}) {
    EXPECT_EQ(decode_lease("o", as_bytes(text)).error().kind, ErrorKind::damaged);
  }
}

}  // namespace
}  // namespace lifeboat::repo
