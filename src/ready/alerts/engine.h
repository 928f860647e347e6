// Which alert is told to whom, and when. Pure: time is passed in, nothing is sent here.
//
//   book.observe(report)                what fires and what is over
//   book.due(receivers, now)            the messages that are to be sent now
//   book.told(message, …) / failed(…)   what became of each
//
// An alert is one signal of one cluster. It begins when the signal is a warning, unknown or critical, and is
// over when it is well again. Each receiver is told once when it begins, when its severity changes, again
// after `repeat` while it lasts, and once when it is over, if it had been told (de-duplication). Everything
// that is due for a receiver in one check is one message (grouping). What may not be told now, because of a
// quiet period, the rate limit or a receiver that does not answer, stays due and comes later, all together;
// an alert that began and ended meanwhile is never told. What cannot be read for the reason that another
// alert has is told with that one, and not by itself (one cause, one page). Told means delivered: a message
// may come twice when we are killed in between, never not at all.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ready/alerts/receiver.h"
#include "ready/signals/signal.h"

namespace lifeboat::ready {

struct AlertItem {
  enum class Status : uint8_t { firing, resolved };
  std::string cluster;
  std::string signal;
  Status status = Status::firing;
  Rank severity = Rank::attention;  // of a resolved one: what it was when it was told last
  Timestamp since;
  Timestamp resolved;
  std::string what;
  std::string value;  // for people
  std::string found;
  std::string action;
  std::string owner;
  std::string cause;  // the signal whose alert tells this one too; "": it stands for itself
  // Alike in all messages about this alert: "lifeboat/main/backup_age".
  std::string key() const;
};
std::string_view severity_name(Rank severity);  // "warning", "critical"

struct AlertMessage {
  enum class Kind : uint8_t { alerts, heartbeat };
  Kind kind = Kind::alerts;
  bool test = false;  // sent by `alert test`
  std::string receiver;
  std::string cluster;
  Timestamp time;
  std::vector<AlertItem> items;  // criticals first, resolved ones last; none in a heartbeat
};

// What is remembered of a receiver.
struct ReceiverState {
  double tokens = 0;  // messages that it may get now
  Timestamp tokens_at;
  uint64_t failures = 0;  // in a row
  Timestamp next_try;     // not before
  Timestamp heartbeat;    // the last
  Timestamp delivered;    // the last alert that it took, also of `alert test`
  uint64_t sent = 0;      // messages in all
  uint64_t failed = 0;    // attempts in all
  std::string last_error;
};

class AlertBook {
 public:
  // Signals of the cluster that the report does not have (switched off) are over.
  void observe(const SignalReport& report);
  std::vector<AlertMessage> due(const std::vector<Receiver>& receivers, const std::string& cluster,
                                Timestamp now);
  void told(const Receiver& receiver, const AlertMessage& message, Timestamp now);
  // A message of `alert test` reached it; no alert is told by that.
  void reached(const std::string& receiver, Timestamp now);
  // `retry_after_us`: what the receiver asked for, or 0; `random` in [0, 1) spreads the next try.
  void failed(const Receiver& receiver, std::string_view error, Timestamp now, int64_t retry_after_us,
              double random);

  size_t firing() const;
  // Alerts that somebody still has to be told of: the queue's length.
  size_t waiting(const std::vector<Receiver>& receivers, const std::string& cluster, Timestamp now) const;
  const std::map<std::string, ReceiverState>& receivers() const { return receivers_; }

  std::string encode() const;
  static Result<AlertBook> decode(std::string_view object, std::string_view text);

 private:
  struct Told {
    Rank severity = Rank::attention;
    Timestamp at;
  };
  struct Alert {
    AlertItem item;                    // as it is now; severity `fine` when it is over
    std::map<std::string, Told> told;  // by receiver
  };
  bool told_elsewhere(const Receiver& receiver, const AlertItem& item) const;
  std::vector<AlertItem> items_due(const Receiver& receiver, const std::string& cluster, Timestamp now) const;
  void forget_what_is_over();

  std::map<std::string, Alert> alerts_;  // by key()
  std::map<std::string, ReceiverState> receivers_;
};

// How long to wait after so many failures in a row: doubled each time, with a cap, spread by `random`.
int64_t back_off_us(uint64_t failures, double random);

}  // namespace lifeboat::ready
