// The low-level backup interface of PostgreSQL, non-exclusive form (T01): one session is held from start to
// stop, and if it goes away in between the server forgets the backup.
//
//   13, 14: pg_start_backup(label, fast, exclusive => false), pg_stop_backup(exclusive => false,
//   wait_for_archive => false) 15 on:  pg_backup_start(label, fast), pg_backup_stop(wait_for_archive =>
//   false)
//
// Whether WAL has reached the repository is the caller's to wait for; the server is told not to.
#pragma once

#include <string>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "pg/client/client.h"

namespace lifeboat::pg {

enum class CheckpointMode : uint8_t { fast, spread };

struct BackupStart {
  Lsn start_lsn;
  Timeline timeline;    // of the checkpoint that the backup starts from
  Lsn checkpoint_redo;  // pg_control's redo position right after the start
  bool in_recovery = false;
  Timestamp time;  // the server's clock before the start was asked for
};

struct BackupStop {
  Lsn stop_lsn;
  std::string backup_label;    // byte for byte (T02)
  std::string tablespace_map;  // byte for byte (T02); empty when there is no tablespace
  Timestamp time;              // the server's clock after the stop
};

// Thread rule: one thread at a time.
class BackupSession {
 public:
  // Takes the connection. The checkpoint may take minutes in spread mode; the client's stop token is watched.
  // Errors: those of PgClient, with a hint naming the grants when the role may not start a backup.
  static Result<BackupSession> start(PgClient client, const std::string& label, CheckpointMode mode);

  BackupSession(BackupSession&&) noexcept = default;
  BackupSession& operator=(BackupSession&&) noexcept = default;
  // Without stop(): closes the connection, whereby the server aborts the backup. Nothing of it stays.
  ~BackupSession() = default;

  const BackupStart& started() const { return started_; }
  // Is the session still there, and is the server still a primary or still a standby, as at the start? (T05)
  // Errors: unavailable (session lost: the backup is void), precondition (promoted since the start).
  Status check();
  // Ends the backup on the server. Errors: as check(), and those of PgClient; precondition when a standby
  // went to another timeline meanwhile. Call once; the connection is closed.
  Result<BackupStop> stop();
  // For statements during the backup (pg_switch_wal, positions). Must not be used to start another backup.
  PgClient& client() { return client_; }

 private:
  Status check_timeline();
  BackupSession(PgClient client, BackupStart started) : client_(std::move(client)), started_(started) {}
  PgClient client_;
  BackupStart started_;
};

}  // namespace lifeboat::pg
