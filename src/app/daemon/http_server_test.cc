#include "app/daemon/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>
#include <vector>

#include "util/strings.h"

namespace lifeboat::app {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Http : public testing::Test {
 protected:
  Http() {
    auto made = HttpServer::listen("127.0.0.1:0", [](std::string_view path) {
      if (path == "/metrics") return HttpReply{200, "text/plain", "lifeboat 1\n"};
      if (path == "/large") return HttpReply{200, "text/plain", std::string(20 << 20, 'x')};
      return HttpReply{404, "text/plain", "no\n"};
    });
    EXPECT_TRUE(made.has_value());
    server_ = *std::move(made);
  }

  Fd connect() const {
    Fd socket(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }

  static std::string read_all(const Fd& socket) {
    std::string all;
    char buffer[65536];
    while (true) {
      const ssize_t got = recv(socket.get(), buffer, sizeof buffer, 0);
      if (got <= 0) return all;
      all.append(buffer, static_cast<size_t>(got));
    }
  }

  std::string ask(std::string_view request) const {
    const Fd socket = connect();
    send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL);
    return read_all(socket);
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(Http, answers_get_and_head) {
  EXPECT_THAT(ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), HasSubstr("Content-Length: 11\r\n"));
  EXPECT_TRUE(ask("GET /metrics?a=b HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nlifeboat 1\n"));
  EXPECT_TRUE(ask("HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("Connection: close\r\n\r\n"));
  EXPECT_THAT(ask("GET /other HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
}

TEST_F(Http, refuses_what_it_does_not_understand) {
  EXPECT_THAT(ask("POST /metrics HTTP/1.1\r\n\r\n"), HasSubstr("405 Method Not Allowed"));
  for (const char* bad : {"\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n", "GET metrics HTTP/1.1\r\n\r\n",
                          "GET /  HTTP/1.1\r\n\r\n"})
    EXPECT_THAT(ask(bad), StartsWith("HTTP/1.1 400 ")) << bad;
}

TEST_F(Http, a_request_that_has_no_end_is_cut_off) {
  EXPECT_THAT(ask(cat("GET /metrics HTTP/1.1\r\nX: ", std::string(10'000, 'x'))),
              StartsWith("HTTP/1.1 431 "));
}

TEST_F(Http, requests_may_come_in_pieces_and_replies_be_large) {
  const Fd socket = connect();
  for (char c : std::string("GET /large HTTP/1.1\r\n\r\n")) send(socket.get(), &c, 1, MSG_NOSIGNAL);
  EXPECT_GT(read_all(socket).size(), size_t{20} << 20);
}

TEST_F(Http, many_at_once_are_all_answered_and_counted) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 100; ++i)
    threads.emplace_back([this] { EXPECT_THAT(ask("GET /metrics HTTP/1.1\r\n\r\n"), HasSubstr("200 OK")); });
  for (std::thread& thread : threads) thread.join();
  // Each is counted behind its last byte, which the client may have read by then.
  for (int i = 0; i < 500 && server_->statistics().replies[200] < 100; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(server_->statistics().replies.at(200), 100u);
}

TEST_F(Http, who_hangs_up_disturbs_nobody) {
  for (int i = 0; i < 50; ++i) {
    const Fd socket = connect();
    send(socket.get(), "GET /large HTTP/1.1\r\n\r\n", 23, MSG_NOSIGNAL);
  }
  EXPECT_THAT(ask("GET /metrics HTTP/1.1\r\n\r\n"), HasSubstr("200 OK"));
}

TEST_F(Http, addresses) {
  for (const char* good : {"127.0.0.1:9187", "[::1]:9187", "localhost:0", "0.0.0.0:65535"})
    EXPECT_TRUE(check_listen_address(good)) << good;
  for (const char* bad : {"", "9187", ":9187", "127.0.0.1", "db1:9187", "127.0.0.1:70000", "127.0.0.1:-1",
                          "[::1:9187", "1.2.3:80"})
    EXPECT_EQ(check_listen_address(bad).error().kind, ErrorKind::usage) << bad;
  auto again = HttpServer::listen(cat("127.0.0.1:", server_->port()), nullptr);
  EXPECT_EQ(again.error().kind, ErrorKind::busy);
}

}  // namespace
}  // namespace lifeboat::app
