#include "app/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/help.h"
#include "app/render.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr int64_t kRedrawUs = 200'000;        // terminal
constexpr int64_t kEventUs = 1'000'000;       // JSON events
constexpr int64_t kPlainLineUs = 10'000'000;  // --progress on without a terminal
constexpr std::string_view kClearLine = "\r\x1b[K";

// 0 or errno.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return 0;
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::error:
      return "error";
    case LogLevel::warning:
      return "warning";
    case LogLevel::info:
      return "note";
    case LogLevel::debug:
      return "debug";
  }
  return "";
}

std::string one_line(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// Puts members in front of those of a JSON object's text, which keeps the order without parsing it again.
std::string with_members(std::string_view object, const nlohmann::ordered_json& members) {
  std::string text = to_json_text(members);
  std::string_view rest = trim(object);
  rest.remove_prefix(1);
  if (trim(rest) == "}") return text;
  while (!text.ends_with('}')) text.pop_back();
  text.pop_back();
  while (text.ends_with('\n') || text.ends_with(' ')) text.pop_back();
  return cat(text, ",", rest.starts_with('\n') ? "" : "\n", rest);
}

}  // namespace

int exit_code(ExitRule rule, bool lenient, ErrorKind kind) {
  int code = info(kind).exit_code;
  switch (rule) {
    case ExitRule::standard:
      return code;
    case ExitRule::wal_push:
      return std::clamp(code, 1, 125);
    case ExitRule::wal_get:
      // 1 is returned by the handler alone, as a value: many things may be not_found before it is asked (a
      // configuration file, an account), and none of them is absence of the WAL file.
      if (!lenient) return 255;
      return code == 1 ? 125 : std::clamp(code, 2, 125);
  }
  return code;
}

Output::Output(int out_fd, int err_fd, OutputMode mode)
    : out_fd_(out_fd), err_fd_(err_fd), mode_(mode), terminal_(isatty(err_fd) == 1) {}

void Output::text(std::string_view text) {
  if (json() || text.empty()) return;
  end_progress();
  int err = write_all(out_fd_, text);
  if (err == 0 && !text.ends_with('\n')) err = write_all(out_fd_, "\n");
  if (out_error_ == 0) out_error_ = err;
}

void Output::document(std::string json_text) {
  document_ = std::move(json_text);
}

void Output::note(LogLevel level, std::string_view message) {
  if (level > level_) return;
  std::lock_guard lock(mutex_);
  clear_line();
  // Standard error that cannot be written is nothing that could be reported anywhere.
  if (json()) {
    write_all(err_fd_, one_line({{"event", "note"}, {"level", level_name(level)}, {"message", message}}));
  } else {
    write_all(err_fd_, cat("lifeboat: ", level_name(level), ": ", message, "\n"));
  }
}

void Output::progress(const ProgressState& state) {
  if (show_progress_ == ShowProgress::off) return;
  if (show_progress_ == ShowProgress::automatic && !json() && !terminal_) return;
  std::lock_guard lock(mutex_);
  int64_t now_us = Clock::system().monotonic_us();
  bool new_phase = phase_ != state.phase;
  if (new_phase) {
    phase_ = state.phase;
    phase_start_us_ = now_us;
    phase_start_done_ = state.done;
  }
  int64_t interval_us = json() ? kEventUs : terminal_ ? kRedrawUs : kPlainLineUs;
  bool complete = state.total != 0 && state.done >= state.total;
  if (!new_phase && !complete && now_us - last_drawn_us_ < interval_us) return;
  last_drawn_us_ = now_us;

  double seconds = static_cast<double>(now_us - phase_start_us_) / 1e6;
  double rate = seconds > 0.05
                    ? static_cast<double>(state.done - std::min(phase_start_done_, state.done)) / seconds
                    : 0;
  bool know_rest = rate > 0 && state.total > state.done;
  double seconds_left = know_rest ? static_cast<double>(state.total - state.done) / rate : 0;
  bool bytes = state.unit == ProgressState::Unit::bytes;

  if (json()) {
    nlohmann::ordered_json event = {{"event", "progress"},
                                    {"phase", state.phase},
                                    {"done", state.done},
                                    {"total", state.total},
                                    {"unit", bytes ? "bytes" : "items"},
                                    {"per_second", static_cast<uint64_t>(rate)}};
    if (know_rest) event["seconds_left"] = static_cast<uint64_t>(seconds_left);
    write_all(err_fd_, one_line(event));
    return;
  }
  auto amount = [&](uint64_t count) { return bytes ? format_bytes(count) : cat(count); };
  std::string line = cat("lifeboat: ", state.phase, ": ", amount(state.done));
  if (state.total != 0) {
    double share = static_cast<double>(state.done) / static_cast<double>(state.total);
    line += cat(" of ", amount(state.total), ", ", static_cast<int>(std::min(share, 1.0) * 100), " %");
  }
  if (rate > 0) line += cat(", ", amount(static_cast<uint64_t>(rate)), "/s");
  if (know_rest) line += cat(", ", format_seconds(seconds_left), " left");
  if (terminal_) {
    write_all(err_fd_, cat(kClearLine, line));
    line_shown_ = true;
  } else {
    write_all(err_fd_, line + "\n");
  }
}

void Output::end_progress() {
  std::lock_guard lock(mutex_);
  clear_line();
}

void Output::clear_line() {
  if (!line_shown_) return;
  write_all(err_fd_, kClearLine);
  line_shown_ = false;
}

int Output::finish(const Command* command, bool lenient, const Result<int>& result) {
  end_progress();
  ExitRule rule = command != nullptr ? command->exit_rule : ExitRule::standard;
  std::optional<Error> error;
  if (!result) error = result.error();
  if (result && json() && document_.empty()) {
    error = make_error(ErrorKind::internal, cat("lifeboat ", command != nullptr ? command->path : ""),
                       "the command made no JSON document");
  }
  int code = error ? exit_code(rule, lenient, error->kind) : *result;

  if (json()) {
    nlohmann::ordered_json members;
    bool own_document = !document_.empty() && command != nullptr;
    members["schema"] = own_document ? schema_id(*command) : "lifeboat/error/1";
    if (error) members["error"] = json_error(*error, code);
    int err =
        write_all(out_fd_, with_members(own_document ? std::string_view(document_) : "{}", members) + "\n");
    if (out_error_ == 0) out_error_ = err;
  } else if (error) {
    std::lock_guard lock(mutex_);
    write_all(err_fd_, cat("lifeboat: error: ", error->to_string(), "\n"));
    if (!error->hint.empty()) write_all(err_fd_, cat("lifeboat: hint: ", error->hint, "\n"));
  }
  if (out_error_ != 0 && code == 0) {
    Error lost = errno_error(out_error_, "standard output", "write");
    write_all(err_fd_, cat("lifeboat: error: ", lost.to_string(), "\n"));
    code = exit_code(rule, lenient, lost.kind);
  }
  return code;
}

}  // namespace lifeboat::app
