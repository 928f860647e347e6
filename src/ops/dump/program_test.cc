#include "ops/dump/program.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

TEST(Program, its_last_words_are_the_cause) {
  StopToken stop;
  auto failed = run_program({"/bin/sh", "-c", "echo first >&2; echo last >&2; exit 3"}, stop);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "exit code 3");
  EXPECT_EQ(failed.error().cause, "first\nlast");
}

TEST(Program, output_before_a_failure_is_not_taken_for_all_of_it) {
  StopToken stop;
  EXPECT_FALSE(program_output({"/bin/sh", "-c", "echo something; exit 1"}, 1000, stop));
  EXPECT_EQ(*program_output({"/bin/sh", "-c", "echo something"}, 1000, stop), "something\n");
}

TEST(Program, one_that_takes_nothing_more_is_an_error_and_a_stop_is_heard) {
  StopToken stop;
  auto deaf = Program::start({"/bin/sh", "-c", "exec 0<&-; echo no >&2; exit 4"}, Program::Pipe::to);
  ASSERT_TRUE(deaf);
  Bytes much(1 << 20);
  Status written;
  for (int i = 0; i < 100 && written; ++i) written = deaf->write(much, stop);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().cause, "no");
  auto silent = Program::start({"/bin/sleep", "1000"}, Program::Pipe::from);
  ASSERT_TRUE(silent);
  stop.request();
  auto read = silent->read(much, stop);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::cancelled);
}

TEST(Program, statements_with_passwords_are_not_shown) {
  EXPECT_EQ(
      without_secrets("pg_restore: error: x\nCommand was: CREATE USER MAPPING FOR a OPTIONS (password 'p');"),
      "pg_restore: error: x\nCommand was: (not shown, it may hold a password: user mapping)");
  EXPECT_EQ(without_secrets("Command was: CREATE TABLE t ();"), "Command was: CREATE TABLE t ();");
  EXPECT_EQ(
      without_secrets("Command was: CREATE SUBSCRIPTION s CONNECTION 'password=x';\npg_restore: warning: y"),
      "Command was: (not shown, it may hold a password: subscription)\npg_restore: warning: y");
}

}  // namespace
}  // namespace lifeboat::ops
