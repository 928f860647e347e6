// A small HTTP/1.1 server for GET and HEAD: the daemon's metrics (docs/decisions/0021).
//
// One thread and one poll(2) loop. Everything is bounded: connections (32; more wait in the kernel's queue),
// the size of a request (8 KiB), and the time from accepting a connection to its end (10 s). One request a
// connection.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "util/files.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::app {

struct HttpReply {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

// The first line of a request.
struct HttpQuestion {
  std::string_view method;
  std::string_view path;  // begins with '/', without its query
};
// nullopt: no HTTP/1 request. The views point into `request`.
std::optional<HttpQuestion> parse_http_question(std::string_view request);

struct HttpStatistics {
  std::map<int, uint64_t> replies;  // by status
  double seconds = 0;               // from the whole request to the whole reply, of all together
  uint64_t open = 0;                // connections now
  uint64_t dropped = 0;             // too slow, or cut off
};

// Numeric addresses and "localhost", with a port: "127.0.0.1:9187", "[::1]:9187". `usage` for anything else.
Status check_listen_address(std::string_view address);

// Does anybody take a connection at such an address?
bool somebody_listens(const std::string& address, int64_t timeout_ms);

class HttpServer {
 public:
  // Called on the server's thread with the path of the request ("/metrics"), without its query.
  using Answer = std::function<HttpReply(std::string_view path)>;
  // Errors: usage (address), busy (somebody listens there), those of sockets.
  static Result<std::unique_ptr<HttpServer>> listen(const std::string& address, Answer answer);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  HttpStatistics statistics() const;  // any thread
  uint16_t port() const { return port_; }

 private:
  struct Connection;
  HttpServer(Fd listening, uint16_t port, Answer answer);
  void serve();
  void read_from(Connection& connection);
  void write_to(Connection& connection);
  HttpReply reply_to(std::string_view request, bool& head) const;

  Fd listening_;
  const uint16_t port_;
  const Answer answer_;
  mutable std::mutex mutex_;  // guards statistics_
  HttpStatistics statistics_;
  StopToken stop_;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace lifeboat::app
