#include "util/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "util/result.h"
#include "util/stop.h"

namespace lifeboat {
namespace {

TEST(ErrorKinds, table_is_complete_and_in_enum_order) {
  const auto& table = error_kinds();
  ASSERT_EQ(table.size(), static_cast<size_t>(ErrorKind::internal) + 1) << "internal is the last of the enum";
  std::set<std::string_view> ids;
  std::set<int> codes;
  for (size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(static_cast<size_t>(table[i].kind), i);
    EXPECT_EQ(&info(table[i].kind), &table[i]);
    EXPECT_FALSE(table[i].id.empty());
    EXPECT_FALSE(table[i].meaning.empty());
    ids.insert(table[i].id);
    codes.insert(table[i].exit_code);
  }
  EXPECT_EQ(ids.size(), table.size());
  EXPECT_EQ(codes.size(), table.size());
}

// T21: the archiver treats codes above 125 as signals and does not count them as failures.
TEST(ErrorKinds, exit_codes_are_failures_to_the_archiver) {
  for (const ErrorKindInfo& entry : error_kinds()) {
    EXPECT_GE(entry.exit_code, 1);
    EXPECT_LE(entry.exit_code, 125);
  }
}

// Exit codes are an interface of scripts: a change here is a change of docs/errors.md and of users' scripts.
TEST(ErrorKinds, exit_codes_are_pinned) {
  EXPECT_EQ(info(ErrorKind::failed).exit_code, 1);
  EXPECT_EQ(info(ErrorKind::usage).exit_code, 2);
  EXPECT_EQ(info(ErrorKind::not_found).exit_code, 4);
  EXPECT_EQ(info(ErrorKind::space).exit_code, 7);
  EXPECT_EQ(info(ErrorKind::unavailable).exit_code, 8);
  EXPECT_EQ(info(ErrorKind::damaged).exit_code, 10);
  EXPECT_EQ(info(ErrorKind::wrong_key).exit_code, 11);
  EXPECT_EQ(info(ErrorKind::foreign).exit_code, 12);
  EXPECT_EQ(info(ErrorKind::unreachable).exit_code, 13);
  EXPECT_EQ(info(ErrorKind::internal).exit_code, 70);
}

// X1
TEST(ErrorKinds, only_passing_conditions_are_retried) {
  std::set<std::string_view> retryable;
  for (const ErrorKindInfo& entry : error_kinds()) {
    if (entry.retryable) retryable.insert(entry.id);
  }
  EXPECT_EQ(retryable, (std::set<std::string_view>{"unavailable", "timeout", "busy"}));
}

TEST(Error, text_has_object_message_and_cause_but_no_hint) {
  auto broken = [] { return make_error(ErrorKind::damaged, "pack 17", "checksum does not match"); };
  EXPECT_EQ(broken().to_string(), "pack 17: checksum does not match");
  Error error = broken().with_cause("bit rot").with_hint("run verify");
  EXPECT_EQ(error.to_string(), "pack 17: checksum does not match: bit rot");
  EXPECT_EQ(error.hint, "run verify");
  Error outer = std::move(error).within("cannot read frame 3");
  EXPECT_EQ(outer.to_string(), "pack 17: cannot read frame 3: checksum does not match: bit rot");
  EXPECT_EQ(make_error(ErrorKind::failed, "", "alone").to_string(), "alone");
}

TEST(ErrnoError, kinds_follow_what_a_caller_can_do) {
  struct {
    int error;
    ErrorKind kind;
  } const kCases[] = {
      {ENOENT, ErrorKind::not_found},
      {ENOTDIR, ErrorKind::not_found},
      {EACCES, ErrorKind::permission},
      {EPERM, ErrorKind::permission},
      {EROFS, ErrorKind::permission},
      {ENOSPC, ErrorKind::space},
      {EDQUOT, ErrorKind::space},
      {EFBIG, ErrorKind::space},
      {EEXIST, ErrorKind::conflict},
      {EIO, ErrorKind::unavailable},
      {ESTALE, ErrorKind::unavailable},
      {ETIMEDOUT, ErrorKind::unavailable},
      {ECONNREFUSED, ErrorKind::unavailable},
      {EINVAL, ErrorKind::failed},
      {EMFILE, ErrorKind::failed},
  };
  for (const auto& entry : kCases) {
    EXPECT_EQ(errno_error(entry.error, "/path", "open").kind, entry.kind) << entry.error;
  }
  EXPECT_EQ(errno_error(ENOENT, "/path", "open").to_string(),
            "/path: cannot open: No such file or directory");
}

Result<int> half(int value) {
  if (value % 2 != 0) return make_error(ErrorKind::failed, "", "odd");
  return value / 2;
}

Result<int> quarter(int value) {
  TRY_ASSIGN(int first, half(value));
  TRY_ASSIGN(int second, half(first));
  return second;
}

Status check_quarter(int value) {
  TRY(quarter(value));
  return {};
}

TEST(Result, try_returns_the_first_error) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_TRUE(check_quarter(4).has_value());
  EXPECT_FALSE(check_quarter(5).has_value());
  EXPECT_EQ(half(3).value_or(-1), -1);
  EXPECT_EQ(half(4).value_or(-1), 2);
}

TEST(Result, holds_values_that_only_move) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  EXPECT_EQ(**result, 5);
  std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 5);
}

TEST(ResultDeathTest, value_of_an_error_is_a_bug) {
  Result<int> failed = make_error(ErrorKind::failed, "", "x");
  EXPECT_DEATH((void)failed.value(), "internal error");
  Result<int> good = 1;
  EXPECT_DEATH((void)good.error(), "internal error");
  EXPECT_DEATH((void)Status().error(), "internal error");
}

TEST(StopToken, once_stopped_every_check_is_cancelled) {
  StopToken token;
  EXPECT_TRUE(token.check().has_value());
  token.request();
  token.request();
  EXPECT_TRUE(token.stopped());
  EXPECT_EQ(token.check().error().kind, ErrorKind::cancelled);
}

}  // namespace
}  // namespace lifeboat
