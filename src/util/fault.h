// Crash points: places where a durable step is about to happen or has just happened, counted in order, so
// that a test can kill the real program at each of them in turn and look at what is left.
//
//   LIFEBOAT_FAULT=17          SIGKILL this process when it reaches point 17 (counted from 1), before the
//   step LIFEBOAT_FAULT=17:after    … when the step of point 17 is done LIFEBOAT_FAULT_COUNT=FILE  append a
//   line with the number of points passed to FILE when the process exits
//
// Without these variables a point costs one predictable branch. Thread rule: any thread; with several threads
// the numbers follow the order of arrival.
#pragma once

#include <atomic>
#include <cstdint>

namespace lifeboat::fault {

namespace internal {
enum class State : uint8_t { unread, off, on };
extern std::atomic<State> state;
uint64_t count_point();
void count_passed(uint64_t number);
}  // namespace internal

// Announces a durable step that is about to happen. `name` ("store.commit") is for the reader of the code.
// Returns the number of this point for passed(), 0 when off.
inline uint64_t point(const char* name) {
  (void)name;
  if (internal::state.load(std::memory_order_relaxed) == internal::State::off) [[likely]]
    return 0;
  return internal::count_point();
}

// The step of that point is done. A point without this call is never killed `after`.
inline void passed(uint64_t number) {
  if (number != 0) [[unlikely]]
    internal::count_passed(number);
}

}  // namespace lifeboat::fault
