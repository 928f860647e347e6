#include "app/daemon/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr size_t kMostConnections = 32;
constexpr size_t kMostRequest = 8 << 10;
constexpr int64_t kLongestUs = 10'000'000;
constexpr int kPollMs = 200;
constexpr int64_t kPauseUs = 200'000;
constexpr int kQueue = 64;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Result<Address> parse_address(std::string_view text) {
  const Error bad =
      make_error(ErrorKind::usage, std::string(text), "expected an address and a port, 127.0.0.1:9187");
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad;
  auto port = parse_u64(text.substr(colon + 1));
  if (!port || *port > 65'535) return bad;
  std::string host(text.substr(0, colon));
  if (host == "localhost") host = "127.0.0.1";
  Address address;
  if (host.starts_with('[') && host.ends_with(']')) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(*port));
    address.size = sizeof *v6;
    if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) != 1) return bad;
    return address;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(static_cast<uint16_t>(*port));
  address.size = sizeof *v4;
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) != 1) return bad;
  return address;
}

uint16_t port_of(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Unknown";
  }
}

std::string as_text(const HttpReply& reply, bool head) {
  return cat("HTTP/1.1 ", reply.status, " ", reason_of(reply.status), "\r\nContent-Type: ", reply.type,
             "\r\nContent-Length: ", reply.body.size(), reply.status == 405 ? "\r\nAllow: GET, HEAD" : "",
             "\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n", head ? "" : reply.body);
}

int64_t now_us() {
  return Clock::system().monotonic_us();
}

}  // namespace

struct HttpServer::Connection {
  Fd fd;
  int64_t accepted_us = 0;
  int64_t asked_us = 0;  // when the request was whole
  int status = 0;
  std::string in;
  std::string out;
  size_t sent = 0;
  bool answered = false;
  bool over = false;
};

Status check_listen_address(std::string_view address) {
  TRY(parse_address(address));
  return {};
}

bool somebody_listens(const std::string& address, int64_t timeout_ms) {
  auto parsed = parse_address(address);
  if (!parsed) return false;
  const Fd fd(::socket(parsed->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return false;
  const int began = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&parsed->storage), parsed->size);
  if (began == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd wait = {fd.get(), POLLOUT, 0};
  if (::poll(&wait, 1, static_cast<int>(timeout_ms)) != 1) return false;
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const std::string& address, Answer answer) {
  TRY_ASSIGN(Address parsed, parse_address(address));
  Fd listening(socket(parsed.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listening.valid()) return errno_error(errno, address, "socket");
  const int on = 1;
  setsockopt(listening.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listening.get(), reinterpret_cast<const sockaddr*>(&parsed.storage), parsed.size) != 0) {
    if (errno == EADDRINUSE) return make_error(ErrorKind::busy, address, "somebody listens there already");
    return errno_error(errno, address, "bind");
  }
  if (::listen(listening.get(), kQueue) != 0) return errno_error(errno, address, "listen");
  if (getsockname(listening.get(), reinterpret_cast<sockaddr*>(&parsed.storage), &parsed.size) != 0)
    return errno_error(errno, address, "getsockname");
  const uint16_t port = port_of(parsed.storage);
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(listening), port, std::move(answer)));
}

HttpServer::HttpServer(Fd listening, uint16_t port, Answer answer)
    : listening_(std::move(listening)),
      port_(port),
      answer_(std::move(answer)),
      thread_([this] { serve(); }) {}

HttpServer::~HttpServer() {
  stop_.request();
  thread_.join();
}

HttpStatistics HttpServer::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

void HttpServer::serve() {
  std::vector<Connection> connections;
  while (!stop_.stopped()) {
    std::vector<pollfd> watched;
    for (const Connection& one : connections)
      watched.push_back({one.fd.get(), static_cast<short>(one.answered ? POLLOUT : POLLIN), 0});
    const bool room = connections.size() < kMostConnections;
    if (room) watched.push_back({listening_.get(), POLLIN, 0});
    if (poll(watched.data(), watched.size(), kPollMs) < 0) continue;
    const int64_t now = now_us();
    for (size_t i = 0; i < connections.size(); ++i) {
      Connection& one = connections[i];
      if (watched[i].revents != 0) one.answered ? write_to(one) : read_from(one);
      if (!one.over && now - one.accepted_us > kLongestUs) one.over = true;
      if (one.over && one.sent < one.out.size() + (one.answered ? 0 : 1)) {
        std::lock_guard lock(mutex_);
        ++statistics_.dropped;
      }
    }
    std::erase_if(connections, [](const Connection& one) { return one.over; });
    if (room && watched.back().revents != 0) {
      Fd accepted(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (accepted.valid()) {
        connections.emplace_back();
        connections.back().fd = std::move(accepted);
        connections.back().accepted_us = now;
      } else {
        Clock::system().sleep_us(kPauseUs);  // no descriptor is left: what waits stays readable
      }
    }
    std::lock_guard lock(mutex_);
    statistics_.open = connections.size();
  }
}

void HttpServer::read_from(Connection& connection) {
  char buffer[4096];
  const ssize_t got = recv(connection.fd.get(), buffer, sizeof buffer, 0);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) {
    connection.over = true;
    return;
  }
  connection.in.append(buffer, static_cast<size_t>(got));
  const bool whole = connection.in.find("\r\n\r\n") != std::string::npos;
  if (!whole && connection.in.size() < kMostRequest) return;
  connection.asked_us = now_us();
  bool head = false;
  const HttpReply reply =
      whole ? reply_to(connection.in, head) : HttpReply{431, "text/plain", "the request is too large\n"};
  connection.status = reply.status;
  connection.out = as_text(reply, head);
  connection.answered = true;
  write_to(connection);
}

void HttpServer::write_to(Connection& connection) {
  const std::string_view rest = std::string_view(connection.out).substr(connection.sent);
  const ssize_t sent = send(connection.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (sent <= 0) {
    connection.over = true;
    return;
  }
  connection.sent += static_cast<size_t>(sent);
  if (connection.sent < connection.out.size()) return;
  shutdown(connection.fd.get(), SHUT_WR);
  connection.over = true;
  std::lock_guard lock(mutex_);
  ++statistics_.replies[connection.status];
  statistics_.seconds += static_cast<double>(now_us() - connection.asked_us) / 1e6;
}

HttpReply HttpServer::reply_to(std::string_view request, bool& head) const {
  const auto question = parse_http_question(request);
  if (!question) return {400, "text/plain", "this is no HTTP request\n"};
  head = question->method == "HEAD";
  if (question->method != "GET" && !head) return {405, "text/plain", "only GET and HEAD\n"};
  return answer_(question->path);
}

std::optional<HttpQuestion> parse_http_question(std::string_view request) {
  const std::string_view line = request.substr(0, request.find("\r\n"));
  const auto words = split(line, ' ');
  if (words.size() != 3 || words[0].empty() || !words[2].starts_with("HTTP/1.") || !words[1].starts_with('/'))
    return std::nullopt;
  return HttpQuestion{words[0], words[1].substr(0, words[1].find('?'))};
}

}  // namespace lifeboat::app
