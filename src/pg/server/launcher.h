// Starts a server on a restored data directory as the directory's owner and watches its recovery.
//
// The server is our direct child in a session of its own, so its end is seen at once with its exit status,
// and ending it can never hit another process. After release() it runs on without us.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"
#include "pg/client/client.h"
#include "pg/server/pg_bin.h"
#include "pg/server/postmaster.h"
#include "util/process.h"

namespace lifeboat::pg {

// Where the server's log goes. captured: into log_file, untranslated, whatever the configuration says, so
// that the reason of a failed start can be told; the overrides last until the next start. as_configured: the
// configuration's logging stays; only what comes before its collector starts is in log_file.
enum class LogMode : uint8_t { captured, as_configured };

struct LaunchOptions {
  PgBin bin;
  std::string data_directory;    // absolute
  std::string socket_directory;  // existing, writable by the owner, path at most 90 bytes (AF_UNIX limit)
  int port = 5432;               // names the socket; no TCP unless `listen_addresses`
  std::string listen_addresses;  // default: none
  std::string log_file;          // created, appended to; owned by the directory's owner
  LogMode log_mode = LogMode::captured;
  std::string database = "postgres";  // for the watching connection
  std::string role;      // for the watching connection; empty: the cluster's bootstrap superuser is guessed
                         // to be the operating system user that owns the directory
  bool cut_off = false;  // nothing that runs in it reaches anybody (util/cut_off.h), restore_command neither
  std::vector<std::pair<std::string, std::string>> settings;  // each becomes -c name=value, above every file
  // Of every session that is begun with conninfo() or session_options(): above ALTER DATABASE and ALTER ROLE
  // ... SET too, which rank above `settings`.
  std::vector<std::pair<std::string, std::string>> session_settings;
  // It is told to stop when the thread that starts it ends, however that happens. Not with release().
  bool ends_with_us = false;
  const StopToken* stop = nullptr;
};

enum class ServerPhase : uint8_t {
  starting,    // not yet replaying, or nothing known
  recovering,  // replaying; no connections yet
  read_only,   // replaying or waiting for WAL; queries are answered
  paused,      // recovery is paused (target reached, or a setting is too low); queries are answered
  ready,       // recovery has ended (or none was needed): read and write
  ended,       // the process is gone
};
std::string_view to_string(ServerPhase phase);

struct ServerState {
  ServerPhase phase = ServerPhase::starting;
  Lsn replayed;                           // read_only and paused: pg_last_wal_replay_lsn()
  Timestamp last_commit;                  // pg_last_xact_replay_timestamp()
  Timeline timeline;                      // ready: of the insertion point
  std::string replaying_wal;              // recovering: the file that the startup process names in its title
  std::optional<ProcessOutcome> outcome;  // ended
  std::string last_error;                 // last FATAL or PANIC line of the log, since this start
  bool stopped_at_target = false;         // ended, because recovery_target_action = shutdown was carried out
};

// Thread rule: one thread at a time.
class PgServer {
 public:
  // Starts the process; it does not wait for anything. As root the process becomes the owner of the data
  // directory. Errors: precondition (a server runs there, the owner is root, the socket path is too long),
  // those of ChildProcess.
  static Result<PgServer> start(LaunchOptions options);

  PgServer(PgServer&&) noexcept;
  PgServer& operator=(PgServer&&) noexcept;
  ~PgServer();  // immediate stop, unless released or ended

  // What it does now. Never blocks longer than one short query. An ended server is a value.
  Result<ServerState> state();
  // Polls until `phase` is one of read_only, paused, ready, ended (as asked) or the time is over.
  // `progress` is called with each state. Errors: timeout, cancelled.
  struct WaitFor {
    bool read_only = false;
    bool paused = false;
    bool ready = true;
  };
  Result<ServerState> wait(const WaitFor& phases, int64_t timeout_ms,
                           const std::function<void(const ServerState&)>& progress = {});

  // Waits for the end. Errors: timeout, cancelled. An unclean exit is an error of kind failed with the log's
  // last line.
  Status stop(StopMode mode, int64_t timeout_ms = 60'000);
  // pg_promote(), then waits until the server is ready: its recovery asks the archive for later timelines,
  // which may be slow to answer. Errors: timeout, those of PgClient.
  Status promote(int64_t timeout_ms = 3'600'000);
  Result<PgClient> connect(const std::string& database = "") const;
  std::string conninfo(const std::string& database = "") const;
  // The session settings as PGOPTIONS has them; empty: none.
  std::string session_options() const;
  pid_t pid() const;
  const LaunchOptions& options() const { return options_; }
  // Leaves the server running and forgets it.
  void release();

 private:
  PgServer(LaunchOptions options, ChildProcess child, uint64_t log_start);
  bool reached(const WaitFor& phases, const ServerState& state) const;
  bool takes_connections() const;
  Status connect_watcher();
  Result<ServerState> ask_server();
  ServerState look_from_outside() const;

  LaunchOptions options_;
  ChildProcess child_;
  std::optional<PgClient> client_;  // the watching connection, kept between polls
  uint64_t log_start_ = 0;          // size of the log before this start
};

}  // namespace lifeboat::pg
