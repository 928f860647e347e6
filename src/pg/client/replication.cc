#include "pg/client/replication.h"

#include <algorithm>

#include "pg/format/version.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

constexpr std::string_view kDuplicateObject = "42710";
// Of START_REPLICATION with an invalidated slot (ReplicationSlotAcquire and StartReplication, 14 to 18; 13
// streams from such a slot, which reserves WAL again with the first position that is acknowledged).
constexpr std::string_view kNotInPrerequisiteState = "55000";
constexpr std::string_view kUndefinedFile = "58P01";
constexpr int64_t kLookMs = 100;

// Messages of the copy stream are big-endian (pq_sendint64).
uint64_t load_be64(ByteView bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | bytes[i];
  return value;
}

void append_be64(Bytes& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

Error unexpected(std::string_view what) {
  return make_error(ErrorKind::server, "", cat("PostgreSQL answered ", what, " in a form that is not known"));
}

// walsender.c opens segments as they are asked for, and errors out when one was removed.
Error explain_missing(Error error, const std::string& sqlstate) {
  if (sqlstate == kUndefinedFile) error.kind = ErrorKind::not_found;
  return error;
}

std::string quoted(const std::string& name) {
  return cat("\"", name, "\"");  // check_slot_name() lets nothing pass that would need more
}

}  // namespace

// --- text and bytes

Status check_slot_name(const std::string& name) {
  bool fits = !name.empty() && name.size() <= 63 &&
              name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
  if (fits) return {};
  return make_error(ErrorKind::usage, cat("slot ", name), "PostgreSQL does not take that name for a slot")
      .with_hint("1 to 63 lower-case letters, digits and underscores; give another with --slot");
}

std::optional<SegmentSize> parse_segment_size(std::string_view text) {
  if (text.size() < 3) return std::nullopt;
  auto number = parse_u64(text.substr(0, text.size() - 2));
  std::string_view unit = text.substr(text.size() - 2);
  if (!number || *number > 1024) return std::nullopt;
  uint64_t bytes = 0;
  if (unit == "MB") bytes = *number << 20;
  if (unit == "GB") bytes = *number << 30;
  if (!SegmentSize::valid(bytes)) return std::nullopt;
  return SegmentSize{static_cast<uint32_t>(bytes)};
}

std::optional<StreamEvent> parse_stream_message(ByteView message) {
  constexpr size_t kWalHead = 1 + 8 + 8 + 8;    // start, end of WAL on the server, time
  constexpr size_t kKeepalive = 1 + 8 + 8 + 1;  // end of WAL on the server, time, reply wanted
  StreamEvent event;
  if (message.size() >= kWalHead && message[0] == 'w') {
    event.kind = StreamEvent::Kind::wal;
    event.at = {load_be64(message.subspan(1))};
    event.server_end = {load_be64(message.subspan(9))};
    event.bytes = message.subspan(kWalHead);
    return event;
  }
  if (message.size() >= kKeepalive && message[0] == 'k') {
    event.kind = StreamEvent::Kind::keepalive;
    event.server_end = {load_be64(message.subspan(1))};
    event.wants_reply = message[17] != 0;
    return event;
  }
  return std::nullopt;
}

Bytes status_update(Lsn durable, Timestamp now, ReplicationClient::Reply reply) {
  Bytes message;
  message.push_back('r');
  append_be64(message, durable.value);  // written
  append_be64(message, durable.value);  // flushed
  append_be64(message, 0);              // applied
  append_be64(message, static_cast<uint64_t>(now.to_postgres()));
  message.push_back(reply == ReplicationClient::Reply::wanted ? 1 : 0);
  return message;
}

// --- before the stream

Result<ReplicationClient> ReplicationClient::connect(const std::string& conninfo, ConnectOptions options) {
  options.session = SessionKind::replication;
  TRY_ASSIGN(PgClient client, PgClient::connect(conninfo, options));
  TRY(require_version(client.major()));
  return ReplicationClient(std::move(client));
}

// SQL functions cannot be called here. From 14 on the server reports its state by itself. 13 does not, but a
// transaction is read-only there in recovery (StartTransaction in src/backend/access/transam/xact.c), which
// is what libpq looks at too; where the role is read-only by default, that says nothing.
Result<bool> ReplicationClient::in_recovery() {
  if (std::string state = client_.parameter("in_hot_standby"); !state.empty()) return state == "on";
  TRY_ASSIGN(Rows always, client_.simple_query("SHOW default_transaction_read_only"));
  TRY_ASSIGN(Rows now, client_.simple_query("SHOW transaction_read_only"));
  if (always.size() != 1 || now.size() != 1) return unexpected("SHOW");
  return now.text(0, 0) == "on" && always.text(0, 0) == "off";
}

Result<SenderIdentity> ReplicationClient::identify() {
  SenderIdentity identity;
  identity.major = client_.major();
  TRY_ASSIGN(Rows system, client_.simple_query("IDENTIFY_SYSTEM"));
  if (system.size() != 1 || system.columns() < 3) return unexpected("IDENTIFY_SYSTEM");
  auto flushed = Lsn::parse(system.text(0, 2));
  auto id = parse_u64(system.text(0, 0));
  auto timeline = system.u64(0, 1);
  if (!id || !timeline || !flushed) return unexpected("IDENTIFY_SYSTEM");
  identity.system_id = {*id};
  identity.timeline = {static_cast<uint32_t>(*timeline)};
  identity.flushed = *flushed;
  TRY_ASSIGN(Rows size, client_.simple_query("SHOW wal_segment_size"));
  auto segment_size = size.size() == 1 ? parse_segment_size(size.text(0, 0)) : std::nullopt;
  if (!segment_size) return unexpected("SHOW wal_segment_size");
  identity.segment_size = *segment_size;
  TRY_ASSIGN(identity.in_recovery, in_recovery());
  return identity;
}

Result<ReplicationSlot> ReplicationClient::read_slot(const std::string& name) {
  ReplicationSlot slot;
  if (client_.major() < 15) return slot;  // READ_REPLICATION_SLOT is new in 15
  TRY_ASSIGN(Rows rows, client_.simple_query(cat("READ_REPLICATION_SLOT ", quoted(name))));
  if (rows.size() != 1 || rows.columns() < 3) return unexpected("READ_REPLICATION_SLOT");
  if (rows.null(0, 0)) return slot;
  slot.exists = true;
  if (!rows.null(0, 1)) slot.restart_lsn = Lsn::parse(rows.text(0, 1)).value_or(Lsn{});
  return slot;
}

Result<bool> ReplicationClient::create_slot(const std::string& name) {
  // Since 15 options stand in parentheses.
  const char* reserve = client_.major() >= 15 ? " PHYSICAL (RESERVE_WAL)" : " PHYSICAL RESERVE_WAL";
  auto created = client_.simple_query(cat("CREATE_REPLICATION_SLOT ", quoted(name), reserve));
  if (created) return true;
  if (client_.last_sqlstate() == kDuplicateObject) return false;
  return std::move(created).error().within(cat("creating the slot ", name));
}

Status ReplicationClient::drop_slot(const std::string& name) {
  auto dropped = client_.simple_query(cat("DROP_REPLICATION_SLOT ", quoted(name)));
  if (dropped) return {};
  return std::move(dropped).error().within(cat("dropping the slot ", name));
}

Status ReplicationClient::remake_slot(const std::string& name) {
  TRY(drop_slot(name));
  TRY(create_slot(name));
  return {};
}

bool ReplicationClient::slot_is_lost() const {
  return client_.last_sqlstate() == kNotInPrerequisiteState;
}

Result<std::string> ReplicationClient::history(Timeline timeline) {
  auto rows = client_.simple_query(cat("TIMELINE_HISTORY ", timeline.value));
  if (!rows) return explain_missing(std::move(rows).error(), client_.last_sqlstate());
  if (rows->size() != 1 || rows->columns() != 2) return unexpected("TIMELINE_HISTORY");
  return std::string(rows->text(0, 1));
}

// --- the stream

Status ReplicationClient::start(const std::string& slot, Lsn from, Timeline timeline) {
  Status started =
      client_.copy_start(cat("START_REPLICATION ", slot.empty() ? "" : cat("SLOT ", quoted(slot)),
                             " PHYSICAL ", from.to_string(), " TIMELINE ", timeline.value));
  ended_ = false;
  if (started) return started;
  return explain_missing(std::move(started).error(), client_.last_sqlstate());
}

Result<StreamEvent> ReplicationClient::next(int64_t timeout_ms, int wake_fd) {
  ByteView message;
  TRY_ASSIGN(PgClient::Copy copy, client_.copy_receive(message, timeout_ms, wake_fd));
  switch (copy) {
    case PgClient::Copy::nothing:
      return StreamEvent{};
    case PgClient::Copy::ended:
      ended_ = true;
      return StreamEvent{.kind = StreamEvent::Kind::ended, .at = {}, .bytes = {}, .server_end = {}};
    case PgClient::Copy::message:
      break;
  }
  auto event = parse_stream_message(message);
  if (!event) return unexpected("a message of the WAL stream");
  return *event;
}

Status ReplicationClient::report(Lsn durable, Timestamp now, Reply reply) {
  return client_.copy_send(status_update(durable, now, reply));
}

// When a timeline ends the server ends its side of the copy, waits for ours, and answers with the next
// timeline (StartReplication in walsender.c, HandleEndOfCopyStream and ReadEndOfStreamingResult in
// receivelog.c). When it stops, or when we ended the copy first, no such answer comes.
Result<std::optional<NextTimeline>> ReplicationClient::finish(int64_t timeout_ms) {
  std::optional<NextTimeline> next;
  if (!ended_) TRY(client_.copy_end());
  // What the server had still sent when we ended the stream is dropped.
  for (int64_t left_ms = timeout_ms; !ended_; left_ms -= kLookMs) {
    if (left_ms <= 0) return make_error(ErrorKind::timeout, "", "PostgreSQL does not end the stream");
    ByteView message;
    TRY_ASSIGN(PgClient::Copy copy, client_.copy_receive(message, kLookMs, -1));
    while (copy == PgClient::Copy::message) {
      TRY_ASSIGN(copy, client_.copy_receive(message, 0, -1));
    }
    ended_ = copy == PgClient::Copy::ended;
  }
  std::optional<Error> failure;
  while (true) {
    auto answer = client_.copy_result(timeout_ms);
    if (!answer) {
      // The connection is good for more when the rest of the answer is read too.
      if (failure) return *std::move(failure);
      failure = explain_missing(std::move(answer).error(), client_.last_sqlstate());
      continue;
    }
    if (!*answer) break;
    const Rows& rows = **answer;
    if (rows.empty()) continue;
    auto timeline = rows.u64(0, 0);
    auto at = rows.columns() > 1 ? Lsn::parse(rows.text(0, 1)) : std::nullopt;
    if (!timeline || !at) return unexpected("the end of the timeline");
    next = NextTimeline{{static_cast<uint32_t>(*timeline)}, *at};
  }
  if (failure) return *std::move(failure);
  return next;
}

}  // namespace lifeboat::pg
