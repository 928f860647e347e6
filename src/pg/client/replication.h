// Streaming WAL from a server: the replication protocol as a standby speaks it, through libpq.
//
// What is said and when follows PostgreSQL's own receiver (src/bin/pg_basebackup/receivelog.c, streamutil.c)
// and its WAL sender (src/backend/replication/walsender.c), 13 to 18; the messages are in the manual,
// "Streaming Replication Protocol".
//
//   connect → identify → read_slot / create_slot → history → start → next … → finish → start …
//
// Errors: those of PgClient; `server` for answers that nobody expects. last_sqlstate() tells more.
// Thread rule: one thread at a time.
#pragma once

#include <optional>
#include <string>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "model/wal_name.h"
#include "pg/client/client.h"

namespace lifeboat::pg {

struct SenderIdentity {
  SystemId system_id;
  int major = 0;
  Timeline timeline;  // that the server is on
  Lsn flushed;        // up to here it can send; of a standby: what it has received or replayed
  SegmentSize segment_size;
  bool in_recovery = false;
};

struct ReplicationSlot {
  bool exists = false;
  Lsn restart_lsn;  // 0: unknown (before 15), or nothing is reserved
};

struct StreamEvent {
  enum class Kind : uint8_t {
    nothing,    // within the time that was given
    wal,        // `bytes` from `at` on
    keepalive,  // the server is there
    ended,      // the server has no more on this timeline, or stops: finish() tells
  };
  Kind kind = Kind::nothing;
  Lsn at;
  ByteView bytes;  // valid until the next call
  Lsn server_end;  // of wal and keepalive: how far the server can send
  bool wants_reply = false;
};

// Where a timeline ended: the next one branches off at `at`.
struct NextTimeline {
  Timeline timeline;
  Lsn at;
};

class ReplicationClient {
 public:
  // `options.session` is set here.
  static Result<ReplicationClient> connect(const std::string& conninfo, ConnectOptions options);

  Result<SenderIdentity> identify();
  // Of a slot that is not physical: precondition.
  Result<ReplicationSlot> read_slot(const std::string& name);
  // A permanent physical slot that reserves WAL at once. True: it was made now; false: it is there already.
  Result<bool> create_slot(const std::string& name);
  Status drop_slot(const std::string& name);
  // Drops an invalidated slot and makes it again. Nobody may be using it.
  Status remake_slot(const std::string& name);
  // Did the last start() fail because the server has given the slot up (max_slot_wal_keep_size,
  // idle_replication_slot_timeout)? It keeps nothing any more then and serves nobody.
  bool slot_is_lost() const;
  // The content of the timeline's history file; not_found when the server has none.
  Result<std::string> history(Timeline timeline);

  // Begins to stream, without a slot when `slot` is empty. That the server has removed the segment
  // (`not_found`), or has not reached the position
  // (`server`), is told by finish() after `ended`.
  Status start(const std::string& slot, Lsn from, Timeline timeline);
  Result<StreamEvent> next(int64_t timeout_ms, int wake_fd);
  // A standby status update. `durable` is what the server may forget and what a synchronous commit waits for.
  // Nothing is ever reported as written that is not durable, nor anything as applied.
  enum class Reply : uint8_t { not_needed, wanted };
  Status report(Lsn durable, Timestamp now, Reply reply);
  // After `ended`, or to stop: ends our side. nullopt: the stream is over, and with it (unless we asked for
  // it) the server's life or its patience with us.
  Result<std::optional<NextTimeline>> finish(int64_t timeout_ms);

  int major() const { return client_.major(); }
  std::string where() const { return client_.where(); }
  const std::string& last_sqlstate() const { return client_.last_sqlstate(); }

 private:
  explicit ReplicationClient(PgClient client) : client_(std::move(client)) {}
  Result<bool> in_recovery();
  PgClient client_;
  bool ended_ = false;  // by the server
};

// A name that PostgreSQL takes for a slot: 1 to 63 of [a-z0-9_] (ReplicationSlotValidateName in
// src/backend/replication/slot.c).
Status check_slot_name(const std::string& name);
// What SHOW wal_segment_size answers: "16MB".
std::optional<SegmentSize> parse_segment_size(std::string_view text);
// The two messages that matter, as bytes: for the tests. nullopt: neither, or too short.
std::optional<StreamEvent> parse_stream_message(ByteView message);
Bytes status_update(Lsn durable, Timestamp now, ReplicationClient::Reply reply);

}  // namespace lifeboat::pg
