// The operations' view of Output.
#pragma once

#include "app/output.h"
#include "util/reporter.h"

namespace lifeboat::app {

class OutputReporter : public Reporter {
 public:
  explicit OutputReporter(Output& output) : output_(output) {}
  void progress(std::string_view phase, uint64_t done, uint64_t total, ProgressUnit unit) override {
    output_.progress({phase, done, total,
                      unit == ProgressUnit::bytes ? ProgressState::Unit::bytes : ProgressState::Unit::items});
  }
  void note(NoteLevel level, std::string_view message) override {
    LogLevel as = level == NoteLevel::warning ? LogLevel::warning
                  : level == NoteLevel::info  ? LogLevel::info
                                              : LogLevel::debug;
    output_.note(as, message);
  }

 private:
  Output& output_;
};

}  // namespace lifeboat::app
