#include "ready/alerts/send.h"

#include <algorithm>

#include "ready/alerts/message.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"
#include "util/transfer.h"

namespace lifeboat::ready {
namespace {

constexpr uint64_t kSecretLimit = 64 << 10;
constexpr int64_t kFirstPauseUs = 500'000;
constexpr int64_t kLongestPauseUs = 5'000'000;
constexpr int64_t kPauseStepUs = 100'000;
constexpr std::string_view kPagerDuty = "https://events.pagerduty.com/v2/enqueue";

// The first line of a file.
Result<std::string> secret(const std::string& path) {
  TRY_ASSIGN(std::string text, read_text(path, kSecretLimit));
  const std::string line(trim(split(text, '\n').front()));
  if (line.empty()) return make_error(ErrorKind::config, path, "is empty");
  return line;
}

// One attempt. `again` says whether another may succeed.
struct Attempt {
  std::optional<Error> error;
  bool again = false;
  int64_t retry_after_us = 0;
};

Attempt ended_by(Error error) {
  const bool again = error.kind == ErrorKind::unavailable || error.kind == ErrorKind::timeout;
  return {std::move(error), again, 0};
}

bool may_pass(int status) {
  return status == 408 || status == 425 || status == 429 || status >= 500;
}

class Sender {
 public:
  Sender(const Receiver& receiver, const AlertMessage& message, const SendOptions& options)
      : receiver_(receiver), message_(message), options_(options) {
    transfer_.timeout_ms = receiver.timeout_us / 1000;
    transfer_.ca_file = receiver.ca_file;
    transfer_.stop = options.stop;
  }

  Attempt once() {
    switch (receiver_.type) {
      case ReceiverType::webhook:
        return webhook();
      case ReceiverType::slack:
        return post({}, slack_of(message_, options_.host), {});
      case ReceiverType::pagerduty:
        return pagerduty();
      case ReceiverType::email:
        return mail();
      case ReceiverType::command:
        return command();
    }
    return {};
  }

 private:
  Attempt webhook() {
    std::vector<std::string> headers;
    if (!receiver_.token_file.empty()) {
      auto token = secret(receiver_.token_file);
      if (!token) return ended_by(std::move(token).error());
      headers.push_back(cat("Authorization: Bearer ", *token));
    }
    return post({}, json_of(message_, options_.host), headers);
  }

  Attempt pagerduty() {
    // It has no heartbeats: silence is for something that watches.
    if (message_.kind == AlertMessage::Kind::heartbeat) return {};
    auto key = secret(receiver_.key_file);
    if (!key) return ended_by(std::move(key).error());
    const auto events = pagerduty_of(message_, options_.host, *key);
    for (; events_sent_ < events.size(); ++events_sent_) {
      Attempt attempt = post(std::string(kPagerDuty), events[events_sent_], {});
      if (attempt.error) return attempt;
    }
    return {};
  }

  Attempt post(std::string url, std::string body, std::vector<std::string> headers) {
    if (!receiver_.url.empty()) url = receiver_.url;
    if (!receiver_.url_file.empty()) {
      auto read = secret(receiver_.url_file);
      if (!read) return ended_by(std::move(read).error());
      url = *std::move(read);
    }
    headers.emplace_back("Content-Type: application/json");
    auto answer = http_post({std::move(url), std::move(headers), std::move(body)}, transfer_);
    if (!answer) return ended_by(std::move(answer).error());
    if (answer->status >= 200 && answer->status < 300) return {};
    const bool refused = answer->status == 401 || answer->status == 403;
    Error error = make_error(may_pass(answer->status) ? ErrorKind::unavailable
                             : refused                ? ErrorKind::permission
                                                      : ErrorKind::failed,
                             "", cat("answered with HTTP status ", answer->status));
    return {std::move(error), may_pass(answer->status), answer->retry_after_s.value_or(0) * 1'000'000};
  }

  Attempt mail() {
    MailDelivery mail;
    mail.server = receiver_.server;
    mail.tls = receiver_.tls;
    mail.user = receiver_.user;
    if (!receiver_.password_file.empty()) {
      auto password = secret(receiver_.password_file);
      if (!password) return ended_by(std::move(password).error());
      mail.password = *std::move(password);
    }
    mail.from = receiver_.from;
    mail.to = receiver_.to;
    const auto random = static_cast<uint64_t>(options_.random() * 1e15);
    mail.text = mail_of(message_, receiver_, options_.host, cat(message_.time.to_compact(), "-", random));
    Status sent = send_mail(mail, transfer_);
    return sent ? Attempt() : ended_by(std::move(sent).error());
  }

  Attempt command() {
    ProcessSpec spec;
    spec.argv = receiver_.command;
    spec.new_session = true;
    const std::string input = json_of(message_, options_.host) + "\n";
    RunOptions run;
    run.stdin_text = input;
    run.timeout_ms = receiver_.timeout_us / 1000;
    run.stop = options_.stop;
    auto done = run_checked(spec, run);
    if (done) return {};
    Attempt attempt = ended_by(std::move(done).error());
    attempt.again = true;
    return attempt;
  }

  const Receiver& receiver_;
  const AlertMessage& message_;
  const SendOptions& options_;
  TransferOptions transfer_;
  size_t events_sent_ = 0;  // of PagerDuty, over all attempts
};

// False: stopped.
bool pause(const SendOptions& options, int64_t us) {
  for (int64_t slept = 0; slept < us; slept += kPauseStepUs) {
    if (options.stop != nullptr && options.stop->stopped()) return false;
    options.clock->sleep_us(std::min(kPauseStepUs, us - slept));
  }
  return true;
}

}  // namespace

std::optional<SendFailure> send_message(const Receiver& receiver, const AlertMessage& message,
                                        const SendOptions& options) {
  Sender sender(receiver, message, options);
  int64_t pause_us = kFirstPauseUs;
  for (int attempt = 1;; ++attempt) {
    Attempt ended = sender.once();
    if (!ended.error) return std::nullopt;
    const int64_t wait_us =
        std::max(ended.retry_after_us,
                 pause_us / 2 + static_cast<int64_t>(options.random() * static_cast<double>(pause_us) / 2));
    const bool give_up =
        !ended.again || attempt >= options.attempts || ended.retry_after_us > kLongestPauseUs;
    if (give_up || !pause(options, wait_us)) {
      Error error = std::move(*ended.error);
      error.object = error.object.empty() ? cat("alert.", receiver.name)
                                          : cat("alert.", receiver.name, ": ", error.object);
      return SendFailure{std::move(error), ended.retry_after_us};
    }
    pause_us = std::min(pause_us * 2, kLongestPauseUs);
  }
}

}  // namespace lifeboat::ready
