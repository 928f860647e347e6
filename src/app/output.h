// What a command prints. Text mode: results on standard output, notes, progress and errors on standard error.
// JSON mode: standard output is exactly one JSON document on every exit code; notes and progress are JSON
// lines on standard error. Nothing secret goes in: Error and notes are printed as they stand.
//
//   TRY_ASSIGN(auto summary, ops::make_backup(…));
//   invocation.output().text(render(summary));              // text mode; nothing in JSON mode
//   invocation.output().document(to_json_text(json));       // JSON mode; nothing in text mode
//   return 0;
//
// A command that has a result and fails all the same (doctor, verify, an unconfirmed plan) gives its document
// and text first and returns the Error: the error becomes the member "error" of its document. Thread rule:
// note() and progress() from any thread, the rest from the main thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "app/command.h"
#include "util/result.h"

namespace lifeboat::app {

enum class OutputMode : uint8_t { text, json };
enum class LogLevel : uint8_t { error, warning, info, debug };

// How far long work has come. `total` 0 means not known yet.
struct ProgressState {
  std::string_view phase;  // "copying", "waiting for WAL"
  uint64_t done = 0;
  uint64_t total = 0;
  enum class Unit : uint8_t { bytes, items } unit = Unit::bytes;
};

class Output {
 public:
  // Descriptors are borrowed. Standard error that is a terminal gets a progress line that is redrawn.
  Output(int out_fd, int err_fd, OutputMode mode);

  OutputMode mode() const { return mode_; }
  bool json() const { return mode_ == OutputMode::json; }
  void set_mode(OutputMode mode) { mode_ = mode; }
  void set_level(LogLevel level) { level_ = level; }
  enum class ShowProgress : uint8_t { automatic, on, off };
  void set_progress(ShowProgress show) { show_progress_ = show; }

  // Text mode: adds to standard output at once. A missing line end is added.
  void text(std::string_view text);
  // JSON mode: the one document, an object's text. Kept until finish(); a second one replaces the first.
  void document(std::string json);
  // What document() was given last, in both modes; "" when nothing was. For hooks.
  const std::string& document() const { return document_; }
  // A line for people on standard error, "lifeboat: warning: …".
  void note(LogLevel level, std::string_view message);
  // Call as often as convenient: drawn at most some times a second. Shows rate and time left.
  void progress(const ProgressState& state);
  // Takes the progress line away; finish() and note() do so by themselves.
  void end_progress();

  // Prints the document or the error and returns the exit code: `code`, or the error's by the command's rule
  // (null: no command was recognised). `lenient` is wal get's --standby. Fails over to a code other than 0
  // when standard output cannot be written.
  int finish(const Command* command, bool lenient, const Result<int>& result);

 private:
  void clear_line();

  int out_fd_;
  int err_fd_;
  OutputMode mode_;
  LogLevel level_ = LogLevel::info;
  ShowProgress show_progress_ = ShowProgress::automatic;
  bool terminal_;
  std::string document_;
  int out_error_ = 0;  // first errno from writing standard output

  std::mutex mutex_;  // guards what follows and standard error
  bool line_shown_ = false;
  std::string phase_;
  int64_t phase_start_us_ = 0;
  uint64_t phase_start_done_ = 0;
  int64_t last_drawn_us_ = 0;
};

// The exit code of an error under a command's rule.
int exit_code(ExitRule rule, bool lenient, ErrorKind kind);

}  // namespace lifeboat::app
