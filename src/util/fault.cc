#include "util/fault.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>

#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::fault::internal {

std::atomic<State> state{State::unread};

namespace {

std::atomic<uint64_t> points{0};
uint64_t fatal_point = 0;
bool fatal_after = false;
std::once_flag read_once;

void die() {
  kill(getpid(), SIGKILL);
  while (true) pause();
}

void append_count() {
  const char* path = std::getenv("LIFEBOAT_FAULT_COUNT");
  if (path == nullptr) return;
  std::string line = cat(points.load(), "\n");
  int fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  CHECK(fd >= 0);
  CHECK(::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  ::close(fd);
}

// A mistyped variable must not look like a run without faults.
void read_environment() {
  const char* fault = std::getenv("LIFEBOAT_FAULT");
  const char* count = std::getenv("LIFEBOAT_FAULT_COUNT");
  if (fault != nullptr) {
    std::string_view text = fault;
    size_t colon = text.find(':');
    auto number = parse_u64(text.substr(0, colon));
    std::string_view when = colon == std::string_view::npos ? "before" : text.substr(colon + 1);
    CHECK(number.has_value() && *number > 0 && (when == "before" || when == "after"));
    fatal_point = *number;
    fatal_after = when == "after";
  }
  if (count != nullptr) CHECK(std::atexit(append_count) == 0);
  state.store(fault != nullptr || count != nullptr ? State::on : State::off, std::memory_order_relaxed);
}

}  // namespace

uint64_t count_point() {
  std::call_once(read_once, read_environment);
  if (state.load(std::memory_order_relaxed) == State::off) return 0;
  uint64_t number = points.fetch_add(1) + 1;
  if (number == fatal_point && !fatal_after) die();
  return number;
}

void count_passed(uint64_t number) {
  if (number == fatal_point && fatal_after) die();
}

}  // namespace lifeboat::fault::internal
