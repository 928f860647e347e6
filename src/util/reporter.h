// How long work tells what it is doing: progress and notes for people. The operations know nothing of
// terminals. Thread rule: any thread may call either.
#pragma once

#include <cstdint>
#include <string_view>

namespace lifeboat {

enum class NoteLevel : uint8_t { warning, info, debug };
enum class ProgressUnit : uint8_t { bytes, items };

class Reporter {
 public:
  virtual ~Reporter() = default;
  // `total` 0: not known yet. Called as often as convenient.
  virtual void progress(std::string_view phase, uint64_t done, uint64_t total, ProgressUnit unit) = 0;
  virtual void note(NoteLevel level, std::string_view message) = 0;
};

// Says nothing.
class SilentReporter : public Reporter {
 public:
  void progress(std::string_view, uint64_t, uint64_t, ProgressUnit) override {}
  void note(NoteLevel, std::string_view) override {}
};

}  // namespace lifeboat
