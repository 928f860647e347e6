#include "ready/alerts/message.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::ordered_json;
using Status = AlertItem::Status;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string_view status_of(const AlertItem& item) {
  return item.status == Status::firing ? "firing" : "resolved";
}

Json or_null(Timestamp time) {
  return time.valid() ? Json(time.to_iso()) : Json(nullptr);
}

bool anything_fires(const AlertMessage& message) {
  for (const AlertItem& item : message.items)
    if (item.status == Status::firing) return true;
  return false;
}

std::string line_of(const AlertItem& item) {
  if (item.status == Status::resolved) return cat("[resolved] ", item.signal, ": ", item.found);
  return cat("[", severity_name(item.severity), "] ", item.signal, ": ", item.found);
}

// What Slack asks for in text (&, <, >).
std::string slack_escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

// A header's value: one line of ASCII, else an encoded word (RFC 2047).
std::string header_text(std::string_view text) {
  std::string line;
  bool ascii = true;
  for (char c : text) {
    line += c == '\r' || c == '\n' ? ' ' : c;
    ascii = ascii && c >= ' ' && c <= '~';
  }
  if (ascii) return line;
  std::string encoded = "=?utf-8?Q?";
  for (char c : line) {
    const auto byte = static_cast<uint8_t>(c);
    const bool plain =
        (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
    encoded += plain ? std::string(1, c) : cat("=", hex_number(byte, 2));
  }
  return encoded + "?=";
}

// "Sun, 29 Nov 2026 08:00:00 +0000"
std::string mail_date(Timestamp time) {
  constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = time.unix_us / 1'000'000;
  std::tm parts = {};
  gmtime_r(&seconds, &parts);
  auto two = [](int number) { return cat(number < 10 ? "0" : "", number); };
  return cat(kDays[parts.tm_wday], ", ", two(parts.tm_mday), " ", kMonths[parts.tm_mon], " ",
             parts.tm_year + 1900, " ", two(parts.tm_hour), ":", two(parts.tm_min), ":", two(parts.tm_sec),
             " +0000");
}

// Lines end with CRLF; none is longer than SMTP allows (998), and none is empty by mistake.
std::string mail_lines(std::string_view text) {
  constexpr size_t kLongest = 900;
  std::string out;
  for (std::string_view line : split(text, '\n')) {
    while (line.size() > kLongest) {
      size_t cut = kLongest;
      while (cut > 0 && (static_cast<uint8_t>(line[cut]) & 0xC0) == 0x80)
        --cut;  // not within a UTF-8 character
      out += cat(line.substr(0, cut), "\r\n");
      line.remove_prefix(cut);
    }
    out += cat(line, "\r\n");
  }
  return out;
}

}  // namespace

std::string subject_of(const AlertMessage& message) {
  const std::string test = message.test ? "TEST: " : "";
  if (message.kind == AlertMessage::Kind::heartbeat)
    return cat(test, "lifeboat ", message.cluster, ": alive");
  if (message.items.empty()) return cat(test, "lifeboat ", message.cluster);
  const AlertItem& first = message.items.front();
  const std::string_view state =
      first.status == Status::resolved ? "resolved" : severity_name(first.severity);
  std::string subject = cat(test, "[", state, "] ", message.cluster, ": ", first.signal);
  if (!first.value.empty()) subject += cat(" ", first.value);
  if (message.items.size() > 1) subject += cat(", and ", message.items.size() - 1, " more");
  return subject;
}

std::string text_of(const AlertMessage& message, const std::string& host) {
  if (message.kind == AlertMessage::Kind::heartbeat)
    return cat(subject_of(message), "\nsent by ", host, " at ", message.time.to_string(), "\n");
  std::string text = message.test ? "This is a test: nothing has happened.\n\n" : "";
  for (const AlertItem& item : message.items) {
    text += cat(line_of(item), "\n");
    if (item.status == Status::firing) {
      text += cat("  since ", item.since.to_string(), "; owner: ", item.owner, "\n  do: ", item.action, "\n");
    } else {
      text += cat("  from ", item.since.to_string(), " to ", item.resolved.to_string(), "\n");
    }
  }
  return cat(text, "\ncluster ", message.cluster, ", sent by lifeboat on ", host, " at ",
             message.time.to_string(), "\n");
}

std::string json_of(const AlertMessage& message, const std::string& host) {
  Json alerts = Json::array();
  for (const AlertItem& item : message.items) {
    alerts.push_back({{"key", item.key()},
                      {"signal", item.signal},
                      {"status", status_of(item)},
                      {"severity", severity_name(item.severity)},
                      {"since", or_null(item.since)},
                      {"resolved", or_null(item.resolved)},
                      {"what", item.what},
                      {"value", item.value},
                      {"found", item.found},
                      {"action", item.action},
                      {"owner", item.owner}});
  }
  const bool heartbeat = message.kind == AlertMessage::Kind::heartbeat;
  return dump({{"schema", "lifeboat/alert/1"},
               {"kind", heartbeat ? "heartbeat" : "alerts"},
               {"test", message.test},
               {"status", heartbeat                 ? "alive"
                          : anything_fires(message) ? "firing"
                                                    : "resolved"},
               {"cluster", message.cluster},
               {"host", host},
               {"time", message.time.to_iso()},
               {"summary", subject_of(message)},
               {"alerts", std::move(alerts)}});
}

std::string slack_of(const AlertMessage& message, const std::string& host) {
  return dump({{"text", slack_escaped(cat("*", subject_of(message), "*\n", text_of(message, host)))}});
}

std::vector<std::string> pagerduty_of(const AlertMessage& message, const std::string& host,
                                      const std::string& routing_key) {
  constexpr size_t kSummaryLimit = 1024;  // of the Events API
  std::vector<std::string> events;
  auto add = [&](std::string_view action, const std::string& key, Json payload) {
    Json event = {{"routing_key", routing_key}, {"event_action", action}, {"dedup_key", key}};
    if (action == "trigger") event["payload"] = std::move(payload);
    events.push_back(dump(event));
  };
  for (const AlertItem& item : message.items) {
    std::string key = cat(item.key(), message.test ? "/test" : "");
    if (item.status == Status::resolved) {
      add("resolve", key, nullptr);
      continue;
    }
    const std::string summary =
        cat(message.test ? "TEST: " : "", message.cluster, ": ", item.signal, ": ", item.found);
    add("trigger", key,
        {{"summary", summary.substr(0, kSummaryLimit)},
         {"source", host},
         {"severity", severity_name(item.severity)},
         {"timestamp", item.since.to_iso()},
         {"component", message.cluster},
         {"class", item.signal},
         {"custom_details",
          {{"value", item.value}, {"owner", item.owner}, {"action", item.action}, {"what", item.what}}}});
  }
  return events;
}

std::string mail_of(const AlertMessage& message, const Receiver& receiver, const std::string& host,
                    const std::string& id) {
  const std::string domain = receiver.from.substr(receiver.from.find('@') + 1);
  return cat("Date: ", mail_date(message.time), "\r\nFrom: <", receiver.from, ">\r\nTo: <",
             join(receiver.to, ">, <"), ">\r\nSubject: ", header_text(subject_of(message)),
             "\r\nMessage-ID: <", id, "@", domain,
             ">\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; "
             "charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
             "Auto-Submitted: auto-generated\r\nX-Lifeboat-Cluster: ",
             message.cluster, "\r\n\r\n", mail_lines(text_of(message, host)));
}

}  // namespace lifeboat::ready
