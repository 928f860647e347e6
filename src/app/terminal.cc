#include "app/terminal.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "util/strings.h"

namespace lifeboat::app {
namespace {

// /dev/tty for the length of a question; echo comes back whatever happens.
class Terminal {
 public:
  Terminal() : fd_(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {}
  ~Terminal() {
    if (hidden_) tcsetattr(fd_, TCSAFLUSH, &before_);
    if (fd_ >= 0) close(fd_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  bool there() const { return fd_ >= 0; }

  Status hide() {
    if (tcgetattr(fd_, &before_) != 0) return errno_error(errno, "/dev/tty", "read the terminal's settings");
    struct termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    silent.c_lflag |= ECHONL;
    if (tcsetattr(fd_, TCSAFLUSH, &silent) != 0) return errno_error(errno, "/dev/tty", "turn off echo");
    hidden_ = true;
    return {};
  }

  Status tell(std::string_view text) {
    for (std::string_view rest = text; !rest.empty();) {
      ssize_t count = write(fd_, rest.data(), rest.size());
      if (count < 0 && errno != EINTR) return errno_error(errno, "/dev/tty", "write");
      if (count > 0) rest.remove_prefix(static_cast<size_t>(count));
    }
    return {};
  }

  Result<std::string> ask(std::string_view prompt) {
    TRY(tell(prompt));
    std::string line;
    char c = 0;
    while (true) {
      ssize_t count = read(fd_, &c, 1);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno_error(errno, "/dev/tty", "read");
      if (count == 0) return make_error(ErrorKind::cancelled, "", "no answer at the terminal");
      if (c == '\n') return line;
      line += c;
    }
  }

 private:
  int fd_;
  bool hidden_ = false;
  struct termios before_ = {};
};

Error no_terminal() {
  return make_error(ErrorKind::precondition, "", "there is no terminal to ask at");
}

}  // namespace

bool have_terminal() {
  return Terminal().there() && isatty(STDIN_FILENO) == 1;
}

Result<std::string> ask_line(std::string_view prompt) {
  Terminal terminal;
  if (!terminal.there()) return no_terminal();
  TRY_ASSIGN(std::string answer, terminal.ask(prompt));
  return std::string(trim(answer));
}

Result<std::string> ask_hidden(std::string_view prompt) {
  Terminal terminal;
  if (!terminal.there()) return no_terminal();
  TRY(terminal.hide());
  return terminal.ask(prompt);
}

Status tell_terminal(std::string_view text) {
  Terminal terminal;
  if (!terminal.there()) return no_terminal();
  return terminal.tell(text);
}

Result<bool> ask_yes(std::string_view question) {
  Terminal terminal;
  if (!terminal.there()) return no_terminal();
  TRY_ASSIGN(std::string answer, terminal.ask(cat(question, " Type yes to go on: ")));
  return trim(answer) == "yes";
}

}  // namespace lifeboat::app
