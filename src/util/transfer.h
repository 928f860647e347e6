// HTTP requests and mails by libcurl, which is loaded when the first is sent and not before: nothing that
// PostgreSQL calls pays for it.
//
// Certificates are always verified. Redirects are not followed: a secret goes where the configuration says
// and nowhere else. Errors name the host only, never path, query or headers: those may be secrets. Kinds:
// unsupported (no libcurl), unavailable (not reached, cut off), timeout, permission (certificate, login
// refused), cancelled, failed.
//
// Thread rule: any thread; each call has a connection of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "util/result.h"
#include "util/stop.h"

namespace lifeboat {

struct TransferOptions {
  int64_t timeout_ms = 15'000;  // for all of it
  std::string ca_file;          // instead of the system's certificates
  const StopToken* stop = nullptr;
};

struct HttpRequest {
  std::string url;                   // http:// or https://
  std::vector<std::string> headers;  // "Name: value"
  std::string body;                  // sent by POST
};
struct HttpAnswer {
  int status = 0;
  std::optional<int64_t> retry_after_s;  // of its header, in seconds
};
// Any status is an answer. What the server sends back is read and dropped.
Result<HttpAnswer> http_post(const HttpRequest& request, const TransferOptions& options);

struct MailDelivery {
  std::string server;  // smtps://host[:465], or smtp://host[:587] with STARTTLS
  bool tls = true;     // of smtp://: without STARTTLS nothing is sent
  std::string user;    // empty: no login
  std::string password;
  std::string from;
  std::vector<std::string> to;
  std::string text;  // headers and body with CRLF line ends
};
Status send_mail(const MailDelivery& mail, const TransferOptions& options);

}  // namespace lifeboat
