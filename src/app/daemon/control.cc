#include "app/daemon/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr size_t kMostText = 1 << 20;
constexpr int kThreads = 8;
constexpr int kPollMs = 200;
constexpr int64_t kPauseUs = 200'000;
constexpr int64_t kQuestionTimeoutMs = 5'000;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return make_error(ErrorKind::usage, path,
                      cat("is longer than the ", sizeof address.sun_path - 1, " bytes of a socket's path"));
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool is_trusted(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

bool wait_for(int fd, short events, int64_t timeout_ms) {
  pollfd waiting{fd, events, 0};
  return poll(&waiting, 1, static_cast<int>(timeout_ms)) > 0;
}

// Up to the line end. nullopt: it did not come in time, or it is longer than anybody needs.
std::optional<std::string> read_line(int fd, int64_t timeout_ms) {
  const int64_t deadline_us = Clock::system().monotonic_us() + timeout_ms * 1000;
  std::string text;
  char buffer[4096];
  while (text.size() < kMostText) {
    const int64_t left_ms = (deadline_us - Clock::system().monotonic_us()) / 1000;
    if (left_ms <= 0 || !wait_for(fd, POLLIN, left_ms)) return std::nullopt;
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return std::nullopt;
    text.append(buffer, static_cast<size_t>(got));
    if (const size_t end = text.find('\n'); end != std::string::npos) return text.substr(0, end);
  }
  return std::nullopt;
}

bool write_line(int fd, std::string_view text) {
  const std::string line = cat(text, '\n');
  for (size_t done = 0; done < line.size();) {
    const ssize_t sent = send(fd, line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN && wait_for(fd, POLLOUT, kQuestionTimeoutMs)) continue;
    if (sent <= 0) return false;
    done += static_cast<size_t>(sent);
  }
  return true;
}

// The lock file decides who owns the path, so that a dead daemon's socket can be replaced without a race.
Result<Fd> take_lock(const std::string& path) {
  TRY_ASSIGN(Fd lock, open_file(cat(path, ".lock"), O_RDWR | O_CREAT, 0600));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) return make_error(ErrorKind::busy, path, "another daemon serves here already");
  return errno_error(errno, cat(path, ".lock"), "lock");
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& path, Answer answer) {
  TRY_ASSIGN(sockaddr_un address, address_of(path));
  TRY_ASSIGN(Fd lock, take_lock(path));
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, path, "remove");
  Fd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listening.valid()) return errno_error(errno, path, "socket");
  const mode_t before = umask(0177);
  const bool bound = bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int problem = errno;
  umask(before);
  if (!bound) return errno_error(problem, path, "bind");
  if (::listen(listening.get(), 128) != 0) return errno_error(errno, path, "listen");
  return std::unique_ptr<ControlServer>(
      new ControlServer(std::move(listening), std::move(lock), path, std::move(answer)));
}

ControlServer::ControlServer(Fd listening, Fd lock, std::string path, Answer answer)
    : listening_(std::move(listening)),
      lock_(std::move(lock)),
      path_(std::move(path)),
      answer_(std::move(answer)) {
  for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { serve(); });
}

ControlServer::~ControlServer() {
  unlink(path_.c_str());
  stop_.request();
  for (std::thread& thread : threads_) thread.join();
}

void ControlServer::serve() {
  while (!stop_.stopped()) {
    if (!wait_for(listening_.get(), POLLIN, kPollMs)) continue;
    const Fd connection(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection.valid())
      talk(connection);
    else
      Clock::system().sleep_us(kPauseUs);  // no descriptor is left: what waits stays readable
  }
}

void ControlServer::talk(const Fd& connection) const {
  if (!is_trusted(connection.get())) return;
  auto question = read_line(connection.get(), kQuestionTimeoutMs);
  // Who has gone meanwhile asks again.
  if (question) write_line(connection.get(), answer_(*question));
}

std::optional<std::string> ask_daemon(const std::string& path, std::string_view question,
                                      int64_t timeout_ms) {
  auto address = address_of(path);
  if (!address) return std::nullopt;
  const Fd connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection.valid()) return std::nullopt;
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return std::nullopt;
  if (!is_trusted(connection.get()) || !write_line(connection.get(), question)) return std::nullopt;
  return read_line(connection.get(), timeout_ms);
}

DaemonLook look_at_daemon(const std::string& path, std::string_view question, int64_t timeout_ms) {
  DaemonLook look;
  auto address = address_of(path);
  if (!address) return look;
  const Fd connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection.valid()) return look;
  // EAGAIN: its queue of connections is full, which an answering daemon's never is for long (unix(7)).
  const bool full =
      connect(connection.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0;
  if (full && errno != EAGAIN) return look;
  look.state = DaemonLook::State::silent;
  if (full) return look;
  ucred peer{};
  socklen_t size = sizeof peer;
  // Of a connection that is not accepted yet: who called listen().
  if (getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) look.listener = peer.pid;
  const int64_t began_us = Clock::system().monotonic_us();
  auto answer =
      write_line(connection.get(), question) ? read_line(connection.get(), timeout_ms) : std::nullopt;
  if (answer) {
    look.state = DaemonLook::State::answers;
    look.answer = *std::move(answer);
  } else if (Clock::system().monotonic_us() - began_us < (timeout_ms - 2) * 1000) {
    // It has closed the connection: it ends, or does not talk to us, and does not hang.
    look.state = DaemonLook::State::absent;
  }
  return look;
}

}  // namespace lifeboat::app
