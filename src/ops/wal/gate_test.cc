#include "ops/wal/gate.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

class WalGateTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = TempDir::make();
    ASSERT_TRUE(made);
    directory_.emplace(std::move(*made));
    ASSERT_TRUE(create_dirs(directory_->path() + "/pg_wal"));
    target_ = directory_->path() + "/pg_wal/RECOVERYXLOG";
  }
  SegmentName segment(uint64_t index) const {
    return SegmentName::containing(Timeline{1}, Lsn{index * size_.bytes}, size_);
  }
  Result<WalComes> pass(uint64_t index) const { return wait_at_gate(target_, segment(index), &stop_); }

  SegmentSize size_{16 << 20};
  StopToken stop_;
  std::optional<TempDir> directory_;
  std::string target_;
};

TEST_F(WalGateTest, without_a_gate_everything_passes) {
  EXPECT_TRUE(pass(1));
}

TEST_F(WalGateTest, what_was_checked_passes_and_the_rest_waits) {
  auto gate = WalGate::close(directory_->path(), size_);
  ASSERT_TRUE(gate);
  ASSERT_TRUE(gate->advance(Lsn{3ull * size_.bytes}));
  EXPECT_TRUE(pass(2));
  std::atomic<bool> passed{false};
  std::thread waiter([&] {
    EXPECT_TRUE(pass(3));
    passed = true;
  });
  Clock::system().sleep_us(50'000);
  EXPECT_FALSE(passed);
  // A segment passes when all of it was checked.
  ASSERT_TRUE(gate->advance(Lsn{4ull * size_.bytes - 1}));
  Clock::system().sleep_us(50'000);
  EXPECT_FALSE(passed);
  ASSERT_TRUE(gate->advance(Lsn{4ull * size_.bytes}));
  waiter.join();
  ASSERT_TRUE(gate->open());
  EXPECT_EQ(*pass(1000), WalComes::from_repository);
}

TEST_F(WalGateTest, what_was_put_into_pg_wal_is_waited_for_and_not_fetched) {
  auto gate = WalGate::close(directory_->path(), size_, WalComes::in_pg_wal);
  ASSERT_TRUE(gate);
  ASSERT_TRUE(gate->advance(Lsn{2ull * size_.bytes}));
  auto passed = pass(1);
  ASSERT_TRUE(passed) << passed.error().to_string();
  EXPECT_EQ(*passed, WalComes::in_pg_wal);
  stop_.request();
  EXPECT_FALSE(pass(2));
}

TEST_F(WalGateTest, a_refusal_says_why) {
  auto gate = WalGate::close(directory_->path(), size_);
  ASSERT_TRUE(gate);
  ASSERT_TRUE(gate->refuse("a tablespace\nis alive"));
  auto refused = pass(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::precondition);
  EXPECT_EQ(refused.error().cause, "a tablespace is alive");
}

TEST_F(WalGateTest, a_checker_that_was_killed_lets_nothing_pass) {
  pid_t child = fork();
  if (child == 0) {
    auto gate = WalGate::close(directory_->path(), size_);
    _exit(gate ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  auto held = pass(1);
  ASSERT_FALSE(held);
  EXPECT_EQ(held.error().kind, ErrorKind::precondition);
}

TEST_F(WalGateTest, something_else_under_that_name_lets_nothing_pass) {
  ASSERT_TRUE(write_file_durable(directory_->path() + "/" + kWalGateFile, as_bytes("?"), 0600));
  auto held = pass(1);
  ASSERT_FALSE(held);
  EXPECT_EQ(held.error().kind, ErrorKind::damaged);
}

}  // namespace
}  // namespace lifeboat::ops
