#include "ops/drill/host_fault.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

bool told(ErrorKind kind, std::string cause = "", DrillStage stage = DrillStage::recovery,
          std::string_view log = "") {
  return says_something_of_the_backup(make_error(kind, "object", "failed").with_cause(std::move(cause)),
                                      stage, log);
}

TEST(HostFault, what_the_repository_lacks_or_holds_damaged_is_the_backups) {
  for (ErrorKind kind : {ErrorKind::damaged, ErrorKind::not_found, ErrorKind::unsupported, ErrorKind::foreign,
                         ErrorKind::unreachable, ErrorKind::check_failed, ErrorKind::server})
    EXPECT_TRUE(told(kind)) << info(kind).id;
}

TEST(HostFault, what_this_host_or_the_caller_did_is_not) {
  for (ErrorKind kind :
       {ErrorKind::cancelled, ErrorKind::permission, ErrorKind::space, ErrorKind::unavailable,
        ErrorKind::timeout, ErrorKind::usage, ErrorKind::config, ErrorKind::conflict, ErrorKind::precondition,
        ErrorKind::busy, ErrorKind::wrong_key, ErrorKind::internal, ErrorKind::failed})
    EXPECT_FALSE(told(kind)) << info(kind).id;
}

TEST(HostFault, a_server_that_this_host_kept_from_coming_up_is_not) {
  EXPECT_TRUE(told(ErrorKind::check_failed, "PANIC:  could not locate a valid checkpoint record"));
  EXPECT_TRUE(
      told(ErrorKind::server, "could not read block 3 in file \"base/5/1\": Input/output error (58030)"));
  EXPECT_FALSE(told(ErrorKind::check_failed, "FATAL:  could not map anonymous shared memory"));
  EXPECT_FALSE(
      told(ErrorKind::server, "could not extend file \"base/5/1\": No space left on device (53100)"));
  EXPECT_FALSE(told(ErrorKind::check_failed, "", DrillStage::recovery,
                    "LOG:  startup process (PID 7) was terminated by signal 9: Killed"));
}

TEST(HostFault, a_program_that_is_not_here_is_not_and_a_crash_while_it_is_checked_is) {
  EXPECT_FALSE(told(ErrorKind::not_found, "No such file or directory", DrillStage::checks));
  EXPECT_FALSE(told(ErrorKind::unavailable, "", DrillStage::checks));
  EXPECT_TRUE(told(ErrorKind::unavailable, "", DrillStage::checks,
                   "LOG:  server process (PID 7) was terminated by signal 11: Segmentation fault"));
}

TEST(HostFault, of_a_dump_that_cannot_be_loaded) {
  EXPECT_TRUE(told(ErrorKind::failed, "pg_restore: error: could not execute query", DrillStage::loading));
  EXPECT_TRUE(told(ErrorKind::damaged, "", DrillStage::loading));
  EXPECT_TRUE(told(ErrorKind::failed, "ERROR:  extension \"postgis\" is not available", DrillStage::loading));
  EXPECT_FALSE(
      told(ErrorKind::failed, "ERROR:  could not extend file: No space left on device", DrillStage::loading));
  EXPECT_FALSE(told(ErrorKind::unavailable, "Input/output error", DrillStage::loading));
  EXPECT_FALSE(told(ErrorKind::failed, "server closed the connection unexpectedly", DrillStage::loading,
                    "PANIC:  could not write to file \"pg_wal/xlogtemp.1\": No space left on device"));
  EXPECT_FALSE(told(ErrorKind::failed, "server closed the connection unexpectedly", DrillStage::loading,
                    "LOG:  server process (PID 7) was terminated by signal 9: Killed"));
}

}  // namespace
}  // namespace lifeboat::ops
