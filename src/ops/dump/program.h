// PostgreSQL's client programs with a pipe to or from them, and their exit code and last words as an error.
//
// No shell, so no exit code of another program hides theirs. What they say on standard error is kept in
// memory. Passwords come from where libpq finds them; none ever asks.
#pragma once

#include <string>
#include <vector>

#include "util/bytes.h"
#include "util/files.h"
#include "util/process.h"
#include "util/stop.h"

namespace lifeboat::ops {

// Thread rule: one thread. Destroyed before finish(), the program is ended.
class Program {
 public:
  enum class Pipe : uint8_t {
    none,
    from,  // its standard output
    to,    // its standard input
  };
  static Result<Program> start(std::vector<std::string> argv, Pipe pipe);

  // Fills `out` as far as there is something; less than its size: the program closed its end. `cancelled`.
  Result<size_t> read(MutableBytes out, const StopToken& stop);
  // `failed`, with what it said, when the program ended without taking it.
  Status write(ByteView bytes, const StopToken& stop);
  bool running() { return child_.running(); }
  // Closes our end and waits. `failed` unless its exit code is 0, or `space` when it said that there is none.
  Status finish(const StopToken& stop);
  // What it said on standard error, at most the last 4,000 bytes, without statements that may hold a
  // password; after finish().
  std::string said() const;

 private:
  Program() = default;
  Status wait_for(short event, const StopToken& stop) const;
  Error failure(const ProcessOutcome& outcome) const;
  std::string name_;
  Fd ours_;
  Fd err_;
  ChildProcess child_;
};

// pg_restore shows the statement that failed ("Command was: …"). Those of user mappings, servers and
// subscriptions hold passwords, which no error may show.
std::string without_secrets(std::string words);

// To its end, without a pipe.
Status run_program(std::vector<std::string> argv, const StopToken& stop);
// The same, returning its standard output, at most `limit` bytes, else `damaged`.
Result<std::string> program_output(std::vector<std::string> argv, uint64_t limit, const StopToken& stop);

}  // namespace lifeboat::ops
