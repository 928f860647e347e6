#include "util/clock.h"

#include <cerrno>
#include <ctime>

namespace lifeboat {

namespace {
int64_t read_clock(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

class SystemClock : public Clock {
 public:
  int64_t unix_us() override { return read_clock(CLOCK_REALTIME); }
  int64_t monotonic_us() override { return read_clock(CLOCK_MONOTONIC); }
  void sleep_us(int64_t us) override {
    timespec rest{us / 1'000'000, (us % 1'000'000) * 1000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
  }
};
}  // namespace

Clock& Clock::system() {
  static SystemClock clock;
  return clock;
}

}  // namespace lifeboat
