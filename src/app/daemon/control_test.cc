#include "app/daemon/control.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "util/strings.h"

namespace lifeboat::app {
namespace {

class ControlTest : public ::testing::Test {
 protected:
  std::unique_ptr<ControlServer> listen() {
    auto server =
        ControlServer::listen(path_, [](std::string_view question) { return cat("you asked ", question); });
    EXPECT_TRUE(server) << server.error().to_string();
    return *std::move(server);
  }
  TempDir directory_ = TempDir::make().value();
  std::string path_ = directory_ / "s.sock";
};

TEST_F(ControlTest, a_question_is_answered_and_nobody_else_may_ask) {
  auto server = listen();
  EXPECT_EQ(ask_daemon(path_, "this", 5'000), "you asked this");
  struct stat facts{};
  ASSERT_EQ(stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
}

TEST_F(ControlTest, many_ask_at_once) {
  auto server = listen();
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 40; ++i) {
    threads.emplace_back(
        [&, i] { answered += ask_daemon(path_, cat(i), 10'000) == cat("you asked ", i) ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 40);
}

TEST_F(ControlTest, without_a_daemon_there_is_no_answer) {
  EXPECT_EQ(ask_daemon(path_, "this", 100), std::nullopt);
  {
    auto server = listen();
  }
  EXPECT_EQ(ask_daemon(path_, "this", 100), std::nullopt);
  EXPECT_EQ(ask_daemon(std::string(200, 'x'), "this", 100), std::nullopt);
}

TEST_F(ControlTest, a_daemon_that_hangs_is_told_from_one_that_is_not_there) {
  using State = DaemonLook::State;
  EXPECT_EQ(look_at_daemon(path_, "this", 100).state, State::absent);
  {
    auto server = listen();
    EXPECT_EQ(look_at_daemon(path_, "this", 5'000).answer, "you asked this");
  }
  auto slow = ControlServer::listen(path_, [](std::string_view) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return std::string("late");
  });
  DaemonLook look = look_at_daemon(path_, "this", 50);
  EXPECT_EQ(look.state, State::silent);
  EXPECT_EQ(look.listener, getpid());
}

TEST_F(ControlTest, an_answer_that_does_not_come_in_time_is_none) {
  auto slow = ControlServer::listen(path_, [](std::string_view) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return std::string("late");
  });
  EXPECT_EQ(ask_daemon(path_, "this", 50), std::nullopt);
}

TEST_F(ControlTest, one_daemon_has_the_path_and_what_a_dead_one_left_is_replaced) {
  auto server = listen();
  auto second = ControlServer::listen(path_, [](std::string_view) { return std::string(); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::busy);
  server.reset();
  ASSERT_TRUE(write_file_durable(path_, as_bytes("left over"), 0600));
  auto third = listen();
  EXPECT_EQ(ask_daemon(path_, "again", 5'000), "you asked again");
}

}  // namespace
}  // namespace lifeboat::app
