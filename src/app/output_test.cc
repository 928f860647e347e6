#include "app/output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "app/render.h"
#include "app/testing/sample_commands.h"
#include "util/files.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

class outputs : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TempDir::make();
    ASSERT_TRUE(directory);
    directory_.emplace(std::move(directory).value());
    out_fd_ = open((*directory_ / "out").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    err_fd_ = open((*directory_ / "err").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(out_fd_, 0);
    ASSERT_GE(err_fd_, 0);
  }
  void TearDown() override {
    close(out_fd_);
    close(err_fd_);
  }
  std::string out() const { return read_text(*directory_ / "out", 1 << 20).value_or("unreadable"); }
  std::string err() const { return read_text(*directory_ / "err", 1 << 20).value_or("unreadable"); }

  std::optional<TempDir> directory_;
  int out_fd_ = -1;
  int err_fd_ = -1;
};

Error sample_error() {
  return make_error(ErrorKind::not_found, "backup x", "is not there")
      .with_cause("ENOENT")
      .with_hint("look elsewhere");
}

TEST_F(outputs, text_goes_to_standard_output_and_errors_to_standard_error) {
  Output output(out_fd_, err_fd_, OutputMode::text);
  output.text("a line");
  output.document("{}");
  EXPECT_EQ(output.finish(&testing_table::kRestore, false, sample_error()), 4);
  EXPECT_EQ(out(), "a line\n");
  EXPECT_EQ(err(), "lifeboat: error: backup x: is not there: ENOENT\nlifeboat: hint: look elsewhere\n");
}

TEST_F(outputs, json_is_one_document_with_its_schema) {
  Output output(out_fd_, err_fd_, OutputMode::json);
  output.text("not shown");
  output.document(to_json_text({{"backup", "x"}, {"size", 3}}));
  EXPECT_EQ(output.finish(&testing_table::kRestore, false, 0), 0);
  Json json = Json::parse(out());
  EXPECT_EQ(json.dump(), R"({"schema":"lifeboat/restore/1","backup":"x","size":3})");
  EXPECT_EQ(err(), "");
}

TEST_F(outputs, a_failure_without_result_is_an_error_document) {
  Output output(out_fd_, err_fd_, OutputMode::json);
  EXPECT_EQ(output.finish(nullptr, false, sample_error()), 4);
  Json json = Json::parse(out());
  EXPECT_EQ(json["schema"], "lifeboat/error/1");
  EXPECT_EQ(json["error"]["kind"], "not_found");
  EXPECT_EQ(json["error"]["object"], "backup x");
  EXPECT_EQ(json["error"]["message"], "is not there");
  EXPECT_EQ(json["error"]["cause"], "ENOENT");
  EXPECT_EQ(json["error"]["hint"], "look elsewhere");
  EXPECT_EQ(json["error"]["exit_code"], 4);
}

TEST_F(outputs, a_result_that_fails_carries_both) {
  Output output(out_fd_, err_fd_, OutputMode::json);
  output.document(to_json_text({{"checks", Json::array()}}));
  EXPECT_EQ(output.finish(&testing_table::kRestore, false, make_error(ErrorKind::check_failed, "", "no")),
            17);
  Json json = Json::parse(out());
  EXPECT_EQ(json["schema"], "lifeboat/restore/1");
  EXPECT_EQ(json["error"]["kind"], "check_failed");
  EXPECT_TRUE(json.contains("checks"));
}

TEST_F(outputs, an_empty_document_stays_json) {
  Output output(out_fd_, err_fd_, OutputMode::json);
  output.document("{}");
  EXPECT_EQ(output.finish(&testing_table::kRestore, false, 0), 0);
  EXPECT_EQ(Json::parse(out()).size(), 1u);
}

TEST_F(outputs, a_command_that_forgot_its_document_is_a_bug_that_shows) {
  Output output(out_fd_, err_fd_, OutputMode::json);
  EXPECT_EQ(output.finish(&testing_table::kRestore, false, 0), 70);
  EXPECT_EQ(Json::parse(out())["error"]["kind"], "internal");
}

TEST_F(outputs, names_that_are_not_utf8_do_not_break_json) {
  Output output(out_fd_, err_fd_, OutputMode::json);
  EXPECT_EQ(output.finish(nullptr, false, make_error(ErrorKind::failed, "file \xff", "x")), 1);
  EXPECT_THAT(Json::parse(out())["error"]["object"].get<std::string>(), HasSubstr("\xef\xbf\xbd"));
}

TEST_F(outputs, notes_below_the_level_are_left_out) {
  Output output(out_fd_, err_fd_, OutputMode::text);
  output.note(LogLevel::debug, "hidden");
  output.note(LogLevel::info, "shown");
  output.set_level(LogLevel::error);
  output.note(LogLevel::warning, "hidden too");
  EXPECT_EQ(err(), "lifeboat: note: shown\n");
}

TEST_F(outputs, json_notes_and_progress_are_lines_on_standard_error) {
  Output output(out_fd_, err_fd_, OutputMode::json);
  output.note(LogLevel::warning, "careful");
  output.progress({.phase = "copying", .done = 10, .total = 100});
  std::string text = err();
  auto lines = std::count(text.begin(), text.end(), '\n');
  EXPECT_EQ(lines, 2);
  Json note = Json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(note["level"], "warning");
  Json progress = Json::parse(text.substr(text.find('\n')));
  EXPECT_EQ(progress["event"], "progress");
  EXPECT_EQ(progress["done"], 10);
  EXPECT_EQ(progress["total"], 100);
  EXPECT_EQ(out(), "");
}

TEST_F(outputs, without_terminal_progress_is_silent_unless_asked_for) {
  Output output(out_fd_, err_fd_, OutputMode::text);
  output.progress({.phase = "copying", .done = 10, .total = 100});
  EXPECT_EQ(err(), "");
  output.set_progress(Output::ShowProgress::on);
  output.progress({.phase = "copying", .done = 10'000'000, .total = 100'000'000});
  EXPECT_EQ(err(), "lifeboat: copying: 10.0 MB of 100 MB, 10 %\n");
}

TEST_F(outputs, a_result_that_cannot_be_written_is_no_success) {
  int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  Output output(full, err_fd_, OutputMode::text);
  output.text("result");
  EXPECT_EQ(output.finish(&testing_table::kRestore, false, 0), info(ErrorKind::space).exit_code);
  EXPECT_THAT(err(), HasSubstr("standard output"));
  close(full);
}

// T21: the archiver does not count a command that ends above 125 as failed.
TEST(exit_codes, wal_push_fails_with_1_to_125_only) {
  for (const ErrorKindInfo& kind : error_kinds()) {
    int code = exit_code(ExitRule::wal_push, false, kind.kind);
    EXPECT_GE(code, 1) << kind.id;
    EXPECT_LE(code, 125) << kind.id;
  }
}

// T29: only certain absence, which the handler returns as the value 1, may end recovery.
TEST(exit_codes, no_error_of_wal_get_is_taken_for_absence) {
  for (const ErrorKindInfo& kind : error_kinds()) {
    EXPECT_EQ(exit_code(ExitRule::wal_get, false, kind.kind), 255) << kind.id;
    int lenient = exit_code(ExitRule::wal_get, true, kind.kind);
    EXPECT_LE(lenient, 125) << kind.id;
    EXPECT_GT(lenient, 1) << kind.id;
  }
}

TEST(exit_codes, no_other_command_ends_above_125) {
  for (const ErrorKindInfo& kind : error_kinds()) {
    EXPECT_EQ(exit_code(ExitRule::standard, false, kind.kind), kind.exit_code);
    EXPECT_LE(kind.exit_code, 125);
    EXPECT_GE(kind.exit_code, 1);
  }
}

}  // namespace
}  // namespace lifeboat::app
