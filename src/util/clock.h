// Time and randomness are passed in, so that tests and model checks decide them.
#pragma once

#include <cstdint>

namespace lifeboat {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t unix_us() = 0;       // wall clock, microseconds since 1970 UTC
  virtual int64_t monotonic_us() = 0;  // for durations
  virtual void sleep_us(int64_t us) = 0;
  static Clock& system();
};

}  // namespace lifeboat
