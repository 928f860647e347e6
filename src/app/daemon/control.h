// The daemon's local socket: one line of JSON asks, one line answers, then the connection ends.
//
// Both ends look who the other one is (SO_PEERCRED, unix(7)): the daemon answers to its own user and to root
// only, and who asks believes a daemon of its own user or of root only, because the answer to a push means
// that WAL is durable.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "util/files.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::app {

inline constexpr std::string_view kControlSocket = "/run/lifeboat/serve.sock";

// Answers on threads of its own until it is destroyed.
class ControlServer {
 public:
  // Called by several threads at once. The answer has no line end.
  using Answer = std::function<std::string(std::string_view question)>;
  // `busy` when a daemon answers there already; what a dead one left is replaced.
  static Result<std::unique_ptr<ControlServer>> listen(const std::string& path, Answer answer);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  ControlServer(Fd listening, Fd lock, std::string path, Answer answer);
  void serve();
  void talk(const Fd& connection) const;

  Fd listening_;
  Fd lock_;  // held as long as we live: the socket's path is ours
  std::string path_;
  Answer answer_;
  StopToken stop_;
  std::vector<std::thread> threads_;
};

// Asks the daemon. nullopt: there is none that may be believed, or it did not answer to the end; whoever
// needs the work done does it himself then.
std::optional<std::string> ask_daemon(const std::string& path, std::string_view question, int64_t timeout_ms);

// Whether a daemon answers there, for who wants to know what is wrong when none does.
struct DaemonLook {
  enum class State : uint8_t { absent, answers, silent } state = State::absent;
  std::string answer;  // of one that answers
  pid_t listener = 0;  // of a silent one: the process that listens; 0: not known
};
DaemonLook look_at_daemon(const std::string& path, std::string_view question, int64_t timeout_ms);

}  // namespace lifeboat::app
