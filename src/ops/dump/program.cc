#include "ops/dump/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kPollMs = 200;
constexpr int kPipeBytes = 1 << 20;
constexpr uint64_t kLastWords = 4000;
constexpr size_t kReadBytes = 64 << 10;

// What a program writes comes through a pipe. What it reads goes through a socket: one that ended answers
// EPIPE there, and no SIGPIPE ends us. Both are large for fewer switches; smaller ones work as well.
Status connect(Program::Pipe pipe, const std::string& name, Fd& ours, Fd& theirs) {
  int ends[2];
  if (pipe == Program::Pipe::from) {
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, name, "create a pipe");
    (void)::fcntl(ends[0], F_SETPIPE_SZ, kPipeBytes);
  } else {
    // It is written without waiting: a program which takes nothing does not keep us from hearing a request to
    // stop.
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return errno_error(errno, name, "create a pair of sockets");
    (void)::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &kPipeBytes, sizeof kPipeBytes);
  }
  ours = Fd(ends[0]);
  theirs = Fd(ends[1]);
  return {};
}

}  // namespace

Result<Program> Program::start(std::vector<std::string> argv, Pipe pipe) {
  Program program;
  program.name_ = std::string(base_name(argv.front()));
  program.err_ = Fd(::memfd_create("stderr", MFD_CLOEXEC));
  if (!program.err_.valid()) return errno_error(errno, program.name_, "keep its messages");
  ChildProcess::Stdio stdio;
  stdio.err = program.err_.get();
  Fd theirs;
  if (pipe != Pipe::none) {
    TRY(connect(pipe, program.name_, program.ours_, theirs));
    (pipe == Pipe::from ? stdio.out : stdio.in) = theirs.get();
  }
  ProcessSpec spec;
  spec.argv = std::move(argv);
  spec.ends_with_us = true;
  TRY_ASSIGN(program.child_, ChildProcess::start(spec, stdio));
  return program;
}

Status Program::wait_for(short event, const StopToken& stop) const {
  while (true) {
    TRY(stop.check());
    pollfd poll{ours_.get(), event, 0};
    int ready = ::poll(&poll, 1, kPollMs);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return errno_error(errno, name_, "wait for its pipe");
  }
}

Result<size_t> Program::read(MutableBytes out, const StopToken& stop) {
  size_t filled = 0;
  while (filled < out.size()) {
    TRY(wait_for(POLLIN, stop));
    ssize_t got = ::read(ours_.get(), out.data() + filled, out.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, name_, "read its output");
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return filled;
}

Status Program::write(ByteView bytes, const StopToken& stop) {
  while (!bytes.empty()) {
    TRY(wait_for(POLLOUT, stop));
    ssize_t put = ::send(ours_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (put < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      TRY(finish(stop));
      return make_error(ErrorKind::failed, name_, "ended before it had taken everything");
    }
    if (put < 0) return errno_error(errno, name_, "write to it");
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

std::string Program::said() const {
  auto info = stat_fd(err_.get(), name_);
  if (!info) return "";
  uint64_t from = info->size - std::min(info->size, kLastWords);
  Bytes words(static_cast<size_t>(info->size - from));
  auto got = pread_some(err_.get(), from, words, name_);
  if (!got) return "";
  words.resize(*got);
  return without_secrets(std::string(trim(as_text(words))));
}

std::string without_secrets(std::string words) {
  constexpr std::string_view kStatement = "Command was: ";
  for (size_t at = words.find(kStatement); at != std::string::npos; at = words.find(kStatement, at + 1)) {
    const size_t begin = at + kStatement.size();
    const size_t end = std::min(words.find("\npg_restore: ", begin), words.size());
    const std::string statement = to_lower(std::string_view(words).substr(begin, end - begin));
    for (std::string_view kind :
         {"user mapping", "subscription", "create server", "alter server", "password"}) {
      if (statement.find(kind) == std::string::npos) continue;
      words.replace(begin, end - begin, cat("(not shown, it may hold a password: ", kind, ")"));
      break;
    }
  }
  return words;
}

Error Program::failure(const ProcessOutcome& outcome) const {
  std::string words = said();
  bool space = words.find("No space left on device") != std::string::npos;
  return make_error(space ? ErrorKind::space : ErrorKind::failed, name_, outcome.describe())
      .with_cause(std::move(words));
}

Status Program::finish(const StopToken& stop) {
  ours_ = Fd();
  TRY_ASSIGN(ProcessOutcome outcome, child_.wait(-1, &stop));
  if (outcome.ok()) return {};
  return failure(outcome);
}

Status run_program(std::vector<std::string> argv, const StopToken& stop) {
  TRY_ASSIGN(Program program, Program::start(std::move(argv), Program::Pipe::none));
  return program.finish(stop);
}

Result<std::string> program_output(std::vector<std::string> argv, uint64_t limit, const StopToken& stop) {
  const std::string name(base_name(argv.front()));
  TRY_ASSIGN(Program program, Program::start(std::move(argv), Program::Pipe::from));
  std::string output;
  Bytes buffer(kReadBytes);
  while (true) {
    TRY_ASSIGN(size_t got, program.read(buffer, stop));
    output.append(as_text(ByteView(buffer.data(), got)));
    if (output.size() > limit)
      return make_error(ErrorKind::damaged, name, cat("printed more than ", limit, " bytes"));
    if (got < buffer.size()) break;
  }
  TRY(program.finish(stop));
  return output;
}

}  // namespace lifeboat::ops
