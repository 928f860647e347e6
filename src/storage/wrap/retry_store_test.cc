#include "storage/wrap/retry_store.h"

#include <gtest/gtest.h>

#include <numeric>

#include "storage/memory/memory_store.h"
#include "storage/wrap/fault_store.h"
#include "storage/wrap/readonly_store.h"
#include "tests/support/manual_clock.h"
#include "util/strings.h"

namespace lifeboat::storage {
namespace {

using Action = FaultPlan::Action;
using Domain = FaultPlan::Domain;

// RetryStore → FaultStore → MemoryStore, with a clock that counts what is waited.
class RetryStoreTest : public testing::Test {
 protected:
  RetryStoreTest() {
    auto fault = std::make_unique<FaultStore>(memory_);
    fault_ = fault.get();
    store_ = std::make_unique<RetryStore>(
        std::move(fault),
        RetryPolicy{.patience_us = 3'000'000, .first_delay_us = 1'000'000, .largest_delay_us = 3'000'000},
        clock_, [this] { return random_; }, &stop_,
        [this](const Error& failed, int64_t left_us) { told_ += cat(failed.message, " ", left_us, " "); });
    EXPECT_TRUE(memory_.put("dir/a", as_bytes("A")).has_value());
    EXPECT_TRUE(memory_.put("dir/b", as_bytes("B")).has_value());
    EXPECT_TRUE(memory_.put("dir/c", as_bytes("C")).has_value());
  }

  void fail_reads(uint64_t at, uint64_t times, ErrorKind kind = ErrorKind::unavailable) {
    fault_->set_plan(
        {.action = Action::fail, .domain = Domain::reads, .at = at, .times = times, .kind = kind});
  }
  void fail_writes(uint64_t at, uint64_t times, ErrorKind kind = ErrorKind::unavailable) {
    fault_->set_plan({.action = Action::fail, .at = at, .times = times, .kind = kind});
  }
  int64_t waited() const {
    auto sleeps = clock_.sleeps();
    return std::accumulate(sleeps.begin(), sleeps.end(), int64_t{0});
  }

  ManualClock clock_;
  StopToken stop_;
  uint64_t random_ = 0;
  std::string told_;
  MemoryStore memory_;
  FaultStore* fault_ = nullptr;
  std::unique_ptr<RetryStore> store_;
};

TEST_F(RetryStoreTest, passing_failure_is_not_seen_by_the_caller) {
  for (ErrorKind kind : {ErrorKind::unavailable, ErrorKind::timeout, ErrorKind::busy}) {
    fail_reads(1, 3, kind);
    EXPECT_TRUE(store_->now().has_value());
    EXPECT_EQ(fault_->read_points(), 4u);
  }
}

TEST_F(RetryStoreTest, gives_up_when_patience_ends_with_the_last_error) {
  fail_reads(1, 100);
  auto done = store_->get("dir/a", 10);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().kind, ErrorKind::unavailable);
  EXPECT_NE(done.error().message.find("; tried 4 times in 3.00 s"), std::string::npos)
      << done.error().message;
  EXPECT_EQ(fault_->read_points(), 4u);
}

TEST_F(RetryStoreTest, a_store_that_is_gone_is_not_waited_for_again_until_it_answers) {
  fail_reads(1, 6);
  EXPECT_FALSE(store_->now().has_value());
  const int64_t before = waited();
  EXPECT_FALSE(store_->now().has_value());
  EXPECT_FALSE(store_->now().has_value());
  EXPECT_EQ(fault_->read_points(), 6u);
  EXPECT_EQ(waited(), before);
  EXPECT_TRUE(store_->now().has_value());
  fail_reads(1, 1);
  EXPECT_TRUE(store_->now().has_value()) << "it is repeated again";
}

TEST_F(RetryStoreTest, all_calls_together_wait_no_longer_than_allowed) {
  auto fault = std::make_unique<FaultStore>(memory_);
  FaultStore* flaky = fault.get();
  RetryStore store(
      std::move(fault), RetryPolicy{.in_all_us = 2'500'000, .first_delay_us = 2'000'000}, clock_,
      [] { return 0; }, nullptr);
  for (int call = 0; call < 3; ++call) {  // 1 s, 1 s, and half a second that is left
    flaky->set_plan({.action = Action::fail, .domain = Domain::reads, .at = 1, .times = 1});
    EXPECT_TRUE(store.now().has_value());
  }
  EXPECT_EQ(waited(), 2'500'000);
  flaky->set_plan({.action = Action::fail, .domain = Domain::reads, .at = 1, .times = 1});
  EXPECT_FALSE(store.now().has_value());
  EXPECT_EQ(waited(), 2'500'000);
}

TEST_F(RetryStoreTest, the_wait_is_told_now_and_then) {
  fail_reads(1, 3);
  EXPECT_TRUE(store_->now().has_value());
  EXPECT_EQ(told_.substr(told_.size() - 9), " 3000000 ");
  const std::string once = told_;
  EXPECT_TRUE(store_->now().has_value());
  fail_reads(1, 1);
  EXPECT_TRUE(store_->now().has_value());
  EXPECT_EQ(told_, once) << "success is no news, nor is the next failure";
  clock_.advance_us(10'000'000);
  fail_reads(1, 1);
  EXPECT_TRUE(store_->now().has_value());
  EXPECT_EQ(told_, once + once);
}

TEST_F(RetryStoreTest, lasting_failure_is_reported_at_once) {
  for (const ErrorKindInfo& entry : error_kinds()) {
    if (entry.retryable) continue;
    fail_reads(1, 1, entry.kind);
    EXPECT_EQ(store_->now().error().kind, entry.kind);
    EXPECT_EQ(fault_->read_points(), 1u);
  }
  EXPECT_EQ(waited(), 0);
}

TEST_F(RetryStoreTest, delays_double_up_to_the_cap) {
  fail_reads(1, 100);
  EXPECT_FALSE(store_->now().has_value());
  EXPECT_EQ(waited(), 500'000 + 1'000'000 + 1'500'000) << "half of 1, 2 and 3 seconds without jitter";
}

TEST_F(RetryStoreTest, jitter_stays_between_half_and_all) {
  for (uint64_t random : {uint64_t{0}, uint64_t{250'000}, uint64_t{500'000}, uint64_t{500'001}, UINT64_MAX}) {
    random_ = random;
    int64_t before = waited();
    fail_reads(1, 1);
    EXPECT_TRUE(store_->now().has_value());
    EXPECT_GE(waited() - before, 500'000);
    EXPECT_LE(waited() - before, 1'000'000);
  }
  random_ = 500'000;
  int64_t before = waited();
  fail_reads(1, 1);
  EXPECT_TRUE(store_->now().has_value());
  EXPECT_EQ(waited() - before, 1'000'000);
}

TEST_F(RetryStoreTest, every_idempotent_call_is_repeated) {
  fail_writes(1, 1);
  EXPECT_TRUE(store_->remove("dir/none").has_value());
  fail_writes(1, 1);
  EXPECT_TRUE(store_->remove_unfinished(Timestamp{1}).has_value());
  fail_writes(1, 1);
  EXPECT_TRUE(store_->put("new", as_bytes("x")).has_value()) << "create is repeated";
  fail_reads(1, 1);
  EXPECT_EQ(store_->list_dirs("").value(), std::vector<std::string>{"dir"});
  fail_reads(1, 1);
  EXPECT_TRUE(store_->exists("dir/a").value());
}

TEST_F(RetryStoreTest, append_and_commit_are_never_repeated) {
  for (uint64_t at : {2u, 3u}) {
    fail_writes(at, 1);
    EXPECT_EQ(store_->put("new", as_bytes("x")).error().kind, ErrorKind::unavailable);
    EXPECT_EQ(fault_->write_points(), at);
  }
  EXPECT_EQ(waited(), 0);
}

TEST_F(RetryStoreTest, failed_read_opens_the_object_again) {
  auto reader = store_->open("dir/b").value();
  EXPECT_EQ(reader->size(), 1u);
  fail_reads(1, 1);
  Bytes out(1);
  EXPECT_TRUE(reader->read_at(0, out).has_value());
  EXPECT_EQ(as_text(out), "B");
  EXPECT_EQ(fault_->read_points(), 3u) << "read, open, read";
}

TEST_F(RetryStoreTest, object_with_another_size_after_reopening_is_damage) {
  auto reader = store_->open("dir/b").value();
  ASSERT_TRUE(memory_.overwrite("dir/b", Bytes(2)).has_value());
  fail_reads(1, 1);
  Bytes out(1);
  EXPECT_EQ(reader->read_at(0, out).error().kind, ErrorKind::damaged);
}

// A store whose listing breaks off after a number of names, once.
class BreakingList : public FaultStore {
 public:
  BreakingList(Store& inner, int after) : FaultStore(inner), after_(after) {}
  Status list(std::string_view prefix, const std::function<Status(const ObjectInfo&)>& each) override {
    return FaultStore::list(prefix, [&](const ObjectInfo& info) -> Status {
      if (after_-- == 0) return make_error(ErrorKind::unavailable, "", "connection lost");
      return each(info);
    });
  }

 private:
  int after_;
};

TEST_F(RetryStoreTest, broken_listing_continues_without_repeating_names) {
  for (int after : {0, 1, 2}) {
    RetryStore store(
        std::make_unique<BreakingList>(memory_, after), RetryPolicy{}, clock_, [] { return 0; }, nullptr);
    std::string seen;
    ASSERT_TRUE(store
                    .list("",
                          [&](const ObjectInfo& info) -> Status {
                            seen += info.name + " ";
                            return {};
                          })
                    .has_value());
    EXPECT_EQ(seen, "dir/a dir/b dir/c ");
  }
}

TEST_F(RetryStoreTest, retryable_error_from_each_is_returned_and_not_repeated) {
  int calls = 0;
  Status done = store_->list("", [&](const ObjectInfo&) -> Status {
    ++calls;
    return make_error(ErrorKind::unavailable, "", "mine");
  });
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().message, "mine");
  EXPECT_EQ(done.error().kind, ErrorKind::unavailable);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(waited(), 0);
}

TEST_F(RetryStoreTest, stop_request_ends_the_waiting) {
  fail_reads(1, 100);
  stop_.request();
  EXPECT_EQ(store_->now().error().kind, ErrorKind::cancelled);
  EXPECT_EQ(fault_->read_points(), 1u);
  EXPECT_EQ(waited(), 0);
}

TEST(ReadOnlyStore, reads_pass_and_changes_are_refused) {
  auto memory = std::make_unique<MemoryStore>();
  MemoryStore* inner = memory.get();
  ASSERT_TRUE(inner->put("dir/a", as_bytes("A")).has_value());
  ReadOnlyStore store(std::move(memory));
  EXPECT_EQ(as_text(store.get("dir/a", 10).value()), "A");
  EXPECT_EQ(store.list_dirs("").value(), std::vector<std::string>{"dir"});
  int seen = 0;
  EXPECT_TRUE(store
                  .list("",
                        [&](const ObjectInfo&) -> Status {
                          ++seen;
                          return {};
                        })
                  .has_value());
  EXPECT_EQ(seen, 1);
  EXPECT_TRUE(store.now().has_value());
  EXPECT_EQ(store.put("dir/b", {}).error().kind, ErrorKind::permission);
  EXPECT_EQ(store.create("dir/b").error().kind, ErrorKind::permission);
  EXPECT_EQ(store.remove("dir/a").error().kind, ErrorKind::permission);
  EXPECT_EQ(store.remove_unfinished(Timestamp{1}).error().kind, ErrorKind::permission);
  EXPECT_EQ(inner->object_count(), 1u);
}

}  // namespace
}  // namespace lifeboat::storage
