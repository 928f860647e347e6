#include "util/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "util/strings.h"

namespace lifeboat {
namespace {

ProcessSpec shell(std::string script) {
  return {.argv = {"/bin/sh", "-c", std::move(script)}};
}

TEST(Process, output_and_exit_code_are_captured) {
  auto outcome = run_process(shell("echo out; echo err >&2; exit 3"));
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->out, "out\n");
  EXPECT_EQ(outcome->err, "err\n");
  EXPECT_EQ(outcome->exit_code, 3);
  EXPECT_EQ(outcome->signal, 0);
  EXPECT_FALSE(outcome->ok());
}

TEST(Process, end_by_signal_is_told_apart_from_exit) {
  auto outcome = run_process(shell("kill -KILL $$"));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->signal, SIGKILL);
  EXPECT_FALSE(outcome->ok());
  EXPECT_EQ(outcome->describe(), "ended by signal 9 (Killed)");
}

TEST(Process, arguments_are_not_seen_by_a_shell) {
  auto outcome = run_process({.argv = {"printf", "%s|%s", "$HOME; rm -rf /tmp/nothing", "a b"}});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->out, "$HOME; rm -rf /tmp/nothing|a b");
}

TEST(Process, standard_input_is_fed_and_empty_otherwise) {
  std::string text(300'000, 'x');
  RunOptions options;
  options.stdin_text = text;
  auto outcome = run_process({.argv = {"wc", "-c"}}, options);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(trim(outcome->out), "300000");
  outcome = run_process({.argv = {"wc", "-c"}});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(trim(outcome->out), "0");
}

TEST(Process, output_past_the_limit_is_read_but_not_kept) {
  RunOptions options;
  options.capture_limit = 1000;
  auto outcome = run_process(shell("yes | head -c 1000000; echo done >&2"), options);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->out.size(), 1000u);
  EXPECT_TRUE(outcome->out_truncated);
  EXPECT_FALSE(outcome->err_truncated);
  EXPECT_EQ(outcome->err, "done\n");
}

TEST(Process, environment_changes_and_working_directory_reach_the_child) {
  ::setenv("LIFEBOAT_TEST_INHERITED", "yes", 1);
  ::setenv("LIFEBOAT_TEST_REMOVED", "yes", 1);
  ProcessSpec spec = shell("echo $LIFEBOAT_TEST_INHERITED/$LIFEBOAT_TEST_REMOVED/$LIFEBOAT_TEST_SET/$(pwd)");
  spec.env = {{"LIFEBOAT_TEST_REMOVED", std::nullopt}, {"LIFEBOAT_TEST_SET", "new"}};
  spec.cwd = "/usr";
  auto outcome = run_process(spec);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->out, "yes//new//usr\n");
}

TEST(Process, one_that_is_cut_off_makes_no_connection_and_neither_do_its_children) {
  // What is not cut off can: the canary.
  const std::string script =
      "import socket,sys\n"
      "s=socket.socket(socket.AF_UNIX); s.bind(''); s.listen()\n"
      "def tries(what):\n"
      "  try: what(); return 'yes'\n"
      "  except OSError as e: return str(e.errno)\n"
      "print(tries(lambda: socket.socket(socket.AF_INET)), tries(lambda: socket.socket(socket.AF_INET6)),"
      " tries(lambda: socket.socket(socket.AF_UNIX).connect(s.getsockname())),"
      " tries(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '/nowhere')),"
      " tries(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_RAW).sendmsg([b'x'], [], 0, '/nowhere')),"
      " tries(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendmsg([b'x'], [], 0, "
      "'/nowhere')),"
      " tries(lambda: [x.send(b'x') for x in socket.socketpair()]))\n";
  ProcessSpec spec = {.argv = {"/bin/sh", "-c", "python3 -c \"$1\"", "sh", script}};
  auto free = run_process(spec);
  ASSERT_TRUE(free);
  EXPECT_EQ(free->out, "yes yes yes 2 2 2 yes\n") << free->err;
  spec.cut_off = true;
  auto cut = run_process(spec);
  ASSERT_TRUE(cut) << cut.error().to_string();
  EXPECT_EQ(cut->out, "97 97 101 97 97 97 yes\n") << cut->err;
}

TEST(Process, missing_program_and_missing_directory_are_errors) {
  auto outcome = run_process({.argv = {"lifeboat-no-such-program"}});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::not_found);
  ProcessSpec spec = shell("true");
  spec.cwd = "/lifeboat-no-such-directory";
  outcome = run_process(spec);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::not_found);
  EXPECT_EQ(outcome.error().object, "/lifeboat-no-such-directory");
}

TEST(Process, time_out_ends_the_child) {
  RunOptions options;
  options.timeout_ms = 50;
  auto outcome = run_process({.argv = {"sleep", "1000"}}, options);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::timeout);
}

TEST(Process, child_that_ignores_sigterm_is_killed) {
  RunOptions options;
  options.timeout_ms = 100;
  options.kill_after_ms = 50;
  auto outcome = run_process(shell("trap '' TERM; while :; do sleep 0.01; done"), options);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::timeout);
}

TEST(Process, stop_token_ends_the_child) {
  StopToken stop;
  RunOptions options;
  options.stop = &stop;
  std::thread stopper([&] { stop.request(); });
  auto outcome = run_process({.argv = {"sleep", "1000"}}, options);
  stopper.join();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::cancelled);
}

TEST(Process, grandchild_that_holds_the_pipes_does_not_hold_us) {
  auto outcome = run_process(shell("sleep 3 & echo started"));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->out, "started\n");
}

TEST(Process, descriptors_are_not_inherited) {
  int leak = ::open("/dev/null", O_RDONLY);  // deliberately without O_CLOEXEC
  ASSERT_GE(leak, 3);
  auto outcome = run_process({.argv = {"ls", "/proc/self/fd"}});
  ::close(leak);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->out, "0\n1\n2\n3\n");  // 3 is ls reading the directory
}

TEST(Process, ignored_and_blocked_signals_are_reset) {
  ::signal(SIGINT, SIG_IGN);
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &set, &before);
  auto outcome = run_process({.argv = {"grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"}});
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::signal(SIGINT, SIG_DFL);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(Process, user_is_switched_with_its_groups) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  auto user = OsUser::by_name("daemon");
  ASSERT_TRUE(user);
  ProcessSpec spec = shell("id -un; id -u; id -Gn; echo $HOME; cat /etc/shadow");
  spec.user = *user;
  spec.cwd = "/";
  auto outcome = run_process(spec);
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->out, cat("daemon\n", user->uid, "\ndaemon\n", user->home, "\n"));
  EXPECT_NE(outcome->exit_code, 0);  // /etc/shadow was refused
}

TEST(Process, unknown_account_is_not_found) {
  auto user = OsUser::by_name("lifeboat-no-such-user");
  ASSERT_FALSE(user);
  EXPECT_EQ(user.error().kind, ErrorKind::not_found);
}

TEST(Process, failing_command_is_an_error_with_its_last_words) {
  auto outcome = run_checked(shell("echo first >&2; echo last >&2; exit 1"));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::failed);
  EXPECT_EQ(outcome.error().cause, "last");
}

TEST(ChildProcess, destructor_ends_the_child) {
  pid_t pid;
  {
    auto child = ChildProcess::start({.argv = {"sleep", "1000"}});
    ASSERT_TRUE(child);
    pid = child->pid();
    EXPECT_TRUE(child->running());
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcess, child_ends_with_the_thread_that_started_it) {
  std::optional<ChildProcess> child;
  std::thread([&] {
    auto started = ChildProcess::start({.argv = {"sleep", "600"}, .ends_with_us = true});
    ASSERT_TRUE(started);
    child.emplace(*std::move(started));
    EXPECT_TRUE(child->running());
  }).join();
  auto outcome = child->wait(10'000);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->signal, SIGTERM);
}

TEST(ChildProcess, signal_after_the_end_is_refused) {
  auto child = ChildProcess::start({.argv = {"true"}});
  ASSERT_TRUE(child);
  auto outcome = child->wait(-1);
  ASSERT_TRUE(outcome);
  EXPECT_TRUE(outcome->ok());
  Status sent = child->signal(SIGTERM);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().kind, ErrorKind::not_found);
}

TEST(ChildProcess, wait_with_a_limit_leaves_it_running) {
  auto child = ChildProcess::start({.argv = {"sleep", "1000"}});
  ASSERT_TRUE(child);
  auto outcome = child->wait(10);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::timeout);
  EXPECT_TRUE(child->running());
  ASSERT_TRUE(child->signal(SIGTERM));
  outcome = child->wait(-1);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->signal, SIGTERM);
}

}  // namespace
}  // namespace lifeboat
