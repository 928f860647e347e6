#include "app/alerting.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <random>

#include "app/output.h"
#include "app/readings.h"
#include "app/render.h"
#include "app/who.h"
#include "ready/signals/report_json.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using ready::AlertBook;
using ready::AlertMessage;
using ready::Receiver;

constexpr uint64_t kBookLimit = 16 << 20;
constexpr int64_t kTestWaitsUs = 10'000'000;  // for the daemon's check

// What waits for the end of a quiet period waits too.
std::vector<Receiver> whenever(std::vector<Receiver> receivers) {
  for (Receiver& receiver : receivers) receiver.quiet.clear();
  return receivers;
}

std::string book_path(const std::string& directory, const std::string& cluster) {
  return join_path(directory, cat("alerts-", cluster, ".json"));
}

// Held as long as the descriptor lives.
Result<Fd> take_lock(const std::string& path, int64_t patience_us = 0) {
  TRY_ASSIGN(Fd lock, open_file(path, O_RDWR | O_CREAT, 0600));
  const int64_t began = Clock::system().monotonic_us();
  int taken = flock(lock.get(), LOCK_EX | LOCK_NB);
  while (taken != 0 && errno == EWOULDBLOCK && Clock::system().monotonic_us() - began < patience_us) {
    Clock::system().sleep_us(50'000);
    taken = flock(lock.get(), LOCK_EX | LOCK_NB);
  }
  if (taken == 0) return lock;
  if (errno == EWOULDBLOCK)
    return make_error(ErrorKind::busy, path, "another alert check of this cluster runs");
  return errno_error(errno, path, "lock");
}

Result<AlertBook> read_book(const std::string& path) {
  auto text = read_text(path, kBookLimit);
  if (!text && text.error().kind == ErrorKind::not_found) return AlertBook();
  TRY(text);
  auto book = AlertBook::decode(path, *text);
  if (!book)
    return std::move(book).error().with_hint("remove it: whoever was told of an alert is then told again");
  return book;
}

const Receiver* find_receiver(const std::vector<Receiver>& receivers, const std::string& name) {
  auto found = std::ranges::find(receivers, name, &Receiver::name);
  return found == receivers.end() ? nullptr : &*found;
}

constexpr int64_t kForgetfulUs = 900'000'000;

// The state could not be kept, so nobody knows who was told what: once a quarter of an hour it is told all
// the same. When that was last is in the times of the lock's file, which even a full disk keeps.
bool may_tell_without_memory(const Fd& lock, Timestamp now) {
  struct stat info = {};
  if (fstat(lock.get(), &info) != 0) return true;
  const bool told = info.st_atim.tv_sec == 0;
  const int64_t last_us = int64_t{info.st_mtim.tv_sec} * 1'000'000;
  if (told && last_us <= now.unix_us && now.unix_us - last_us < kForgetfulUs) return false;
  const timespec times[2] = {{0, 0}, {static_cast<time_t>(now.unix_us / 1'000'000), 0}};
  (void)futimens(lock.get(), times);  // who cannot do that either is told at each check
  return true;
}

// Kept after each message: who is killed in between repeats one at most. A state that cannot be kept keeps no
// message back, for a full disk is what somebody has to hear of.
Status send_all(const Invocation& invocation, const std::vector<AlertMessage>& messages, AlertBook& book,
                const std::string& path, const Fd& lock, AlertCheck& check) {
  ready::SendOptions options = send_options(invocation);
  const int attempts = options.attempts;
  std::vector<std::string> unreachable;
  Status kept = write_file_durable(path, as_bytes(book.encode()), 0600);
  if (!kept && !messages.empty() && !may_tell_without_memory(lock, Timestamp{invocation.clock().unix_us()}))
    return std::move(kept).error().with_hint(
        "messages were sent all the same within the last 15 minutes, and will be again until this is mended");
  for (const AlertMessage& message : messages) {
    if (invocation.stop().stopped()) break;
    if (std::ranges::find(unreachable, message.receiver) != unreachable.end()) continue;
    const Receiver* receiver = find_receiver(check.receivers, message.receiver);
    CHECK(receiver != nullptr);
    // Who did not answer last time gets one attempt, so that the others do not wait for it.
    options.attempts = book.receivers().at(receiver->name).failures > 0 ? 1 : attempts;
    auto failure = ready::send_message(*receiver, message, options);
    const Timestamp now{invocation.clock().unix_us()};
    if (failure) {
      const std::string why = failure->error.to_string();
      book.failed(*receiver, why, now, failure->retry_after_us, options.random());
      invocation.output().note(LogLevel::warning, why);
      unreachable.push_back(receiver->name);
      check.messages.push_back({message, receiver->name, why});
    } else {
      book.told(*receiver, message, now);
      check.messages.push_back({message, receiver->name, ""});
    }
    kept = write_file_durable(path, as_bytes(book.encode()), 0600);
  }
  if (kept) return {};
  const bool any = !check.messages.empty();
  return std::move(kept).error().with_hint(
      any ? "messages were sent all the same, and come again in 15 minutes, because nobody remembers them"
          : "no message was due; those that are will be sent all the same");
}

Json message_json(const SentMessage& sent) {
  Json alerts = Json::array();
  for (const ready::AlertItem& item : sent.message.items)
    alerts.push_back({{"signal", item.signal},
                      {"status", item.status == ready::AlertItem::Status::firing ? "firing" : "resolved"},
                      {"severity", ready::severity_name(item.severity)}});
  return {{"receiver", sent.receiver},
          {"kind", sent.message.kind == AlertMessage::Kind::heartbeat ? "heartbeat" : "alerts"},
          {"delivered", sent.error.empty()},
          {"error", sent.error},
          {"alerts", std::move(alerts)}};
}

// What report cites: somebody was reached.
Status remember_reached(const Invocation& invocation, const std::vector<SentMessage>& sent) {
  const std::string directory = invocation.value("state-dir");
  TRY(need_state_directory(invocation, "who was told what"));
  const std::string path = book_path(directory, invocation.cluster());
  TRY_ASSIGN(const Fd lock, take_lock(path + ".lock", kTestWaitsUs));
  TRY_ASSIGN(AlertBook book, read_book(path));
  for (const SentMessage& one : sent)
    if (one.error.empty()) book.reached(one.receiver, {invocation.clock().unix_us()});
  return write_file_durable(path, as_bytes(book.encode()), 0600);
}

}  // namespace

std::map<std::string, ready::ReceiverState> known_receivers(const Invocation& invocation) {
  auto book = read_book(book_path(invocation.value("state-dir"), invocation.cluster()));
  return book ? book->receivers() : std::map<std::string, ready::ReceiverState>();
}

ready::SendOptions send_options(const Invocation& invocation) {
  ready::SendOptions options;
  options.host = host_name();
  options.clock = &invocation.clock();
  options.stop = &invocation.stop();
  options.random = [] {
    static std::mt19937_64 engine{std::random_device()()};
    return std::uniform_real_distribution<double>(0, 1)(engine);
  };
  return options;
}

Json AlertCheck::to_json() const {
  Json json = ready::report_json(report);
  Json list = Json::array();
  for (const SentMessage& sent : messages) list.push_back(message_json(sent));
  Json known = Json::array();
  for (const Receiver& receiver : receivers) {
    auto state = states.find(receiver.name);
    if (state == states.end()) continue;
    known.push_back({{"receiver", receiver.name},
                     {"type", to_string(receiver.type)},
                     {"sent", state->second.sent},
                     {"failed_attempts", state->second.failed},
                     {"failures_in_a_row", state->second.failures},
                     {"next_try", json_time(state->second.next_try)},
                     {"last_heartbeat", json_time(state->second.heartbeat)},
                     {"last_delivered", json_time(state->second.delivered)},
                     {"last_error", state->second.last_error}});
  }
  json["alerts"] = {{"firing", firing},
                    {"waiting", waiting},
                    {"messages", std::move(list)},
                    {"receivers", std::move(known)}};
  return json;
}

Result<AlertCheck> check_alerts(const Invocation& invocation) {
  AlertCheck check;
  check.receivers = invocation.config().receivers;
  const std::string directory = invocation.value("state-dir");
  TRY(need_state_directory(invocation, "who was told what"));
  const std::string path = book_path(directory, invocation.cluster());
  TRY_ASSIGN(const Fd lock, take_lock(path + ".lock"));
  TRY_ASSIGN(AlertBook book, read_book(path));
  TRY_ASSIGN(check.report, read_signals(invocation, Owners::required, Readers::watching));
  book.observe(check.report);
  const Timestamp now{invocation.clock().unix_us()};
  const auto messages = book.due(check.receivers, check.report.cluster, now);
  TRY(send_all(invocation, messages, book, path, lock, check));
  check.firing = book.firing();
  check.waiting = book.waiting(whenever(check.receivers), check.report.cluster, now);
  check.states = book.receivers();
  for (const Receiver& receiver : check.receivers) {
    auto state = check.states.find(receiver.name);
    if (state == check.states.end() || state->second.failures == 0) continue;
    const bool waits = receiver.heartbeat_us > 0 || book.waiting({receiver}, check.report.cluster, now) > 0;
    if (waits) check.unreached.push_back(receiver.name);
  }
  return check;
}

std::vector<SentMessage> test_alerts(const Invocation& invocation, const ready::SignalReport& report,
                                     const std::vector<std::string>& ids) {
  // The same way as a real one: it fires, it is told, it is over, that is told. Only the state is thrown
  // away, and nobody's quiet periods, limits or patience stand in the way.
  std::vector<Receiver> receivers = invocation.config().receivers;
  for (Receiver& receiver : receivers) {
    receiver.after_us = 0;
    receiver.heartbeat_us = 0;
    receiver.quiet.clear();
    receiver.most_per_hour = 1'000'000;
  }
  std::vector<SentMessage> sent;
  for (const std::string& id : ids) {
    auto found = std::ranges::find_if(report.readings, [&](const auto& one) { return one.signal->id == id; });
    if (found == report.readings.end()) continue;
    AlertBook book;
    for (ready::Verdict verdict : {ready::Verdict::critical, ready::Verdict::ok}) {
      ready::SignalReport pretended = report;
      pretended.readings = {*found};
      pretended.readings.front().verdict = verdict;
      pretended.time = Timestamp{invocation.clock().unix_us()};
      book.observe(pretended);
      for (AlertMessage& message : book.due(receivers, report.cluster, pretended.time)) {
        message.test = true;
        const Receiver* receiver = find_receiver(receivers, message.receiver);
        CHECK(receiver != nullptr);
        auto failure = ready::send_message(*receiver, message, send_options(invocation));
        if (!failure) book.told(*receiver, message, pretended.time);
        sent.push_back({message, receiver->name, failure ? failure->error.to_string() : ""});
      }
    }
  }
  if (Status kept = remember_reached(invocation, sent); !kept)
    invocation.output().note(LogLevel::warning,
                             cat("that they were reached is not kept: ", kept.error().to_string()));
  return sent;
}

}  // namespace lifeboat::app
