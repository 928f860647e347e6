// Connections to PostgreSQL through libpq, which is loaded at the first connect() and not before (so that
// `wal push` never pays for it, and a host without it can still restore).
//
// Credentials come from where libpq finds them (pass file, service file, certificates, peer); a password
// inside the connection string is refused, because it would stand in process lists and configuration. Nothing
// ever asks for one.
//
// Errors: config (bad connection string), unsupported (libpq absent), unavailable (no server, lost
// connection, server starting or stopping, too many connections), permission (SQLSTATE class 28 and 42501),
// timeout (statement or connect time-out), cancelled (stop token; the statement is cancelled on the server
// first), server (anything else that PostgreSQL answers). The cause ends with the SQLSTATE: "relation \"x\"
// does not exist (42P01)".
//
// Thread rule: one thread at a time per client; different clients are independent.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "util/bytes.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::pg {

// Where unqualified names are looked up. In pg_catalog only for our own statements, so that nobody's
// public.now() runs with our privileges; as the role and database have it for statements that an operator
// wrote.
enum class NameLookup : uint8_t { catalog_only, as_configured };

// A replication connection (replication=true) speaks to a WAL sender: simple_query() and the copy calls below
// are all that works there (pg/client/replication.h is what to use).
enum class SessionKind : uint8_t { ordinary, replication };
// Of several hosts in the connection string: any that answers, or one that accepts writes (libpq's
// target_session_attrs, unless the string has its own).
enum class HostChoice : uint8_t { any, writable };

struct ConnectOptions {
  std::string application_name = "lifeboat";
  int64_t connect_timeout_ms = 15'000;  // for all hosts of the connection string together
  int64_t statement_timeout_ms = 0;     // asked of the server for every statement; 0: none
  NameLookup names = NameLookup::catalog_only;
  SessionKind session = SessionKind::ordinary;
  HostChoice host = HostChoice::any;
  const StopToken* stop = nullptr;  // watched by connect and by every statement; must outlive the client
};

// A query's result: rows of text or raw bytes. Views point into it and live as long as it.
class Rows {
 public:
  Rows() = default;
  Rows(Rows&&) noexcept = default;
  Rows& operator=(Rows&&) noexcept = default;

  int size() const { return rows_; }
  bool empty() const { return rows_ == 0; }
  int columns() const { return columns_; }
  std::string_view text(int row, int column) const;  // empty when null
  ByteView bytes(int row, int column) const;         // of a binary query
  bool null(int row, int column) const;
  // Typed reading of text columns; nullopt when null or not of that form.
  std::optional<int64_t> i64(int row, int column) const;
  std::optional<uint64_t> u64(int row, int column) const;
  bool truth(int row, int column) const;  // "t"
  uint64_t affected() const { return affected_; }

 private:
  friend class PgClient;
  explicit Rows(void* result);  // takes it over
  struct Free {
    void operator()(void* result) const;
  };
  std::unique_ptr<void, Free> result_;
  int rows_ = 0;
  int columns_ = 0;
  uint64_t affected_ = 0;
};

enum class ResultFormat : uint8_t { text, binary };

// A parameter of a query: text, or null.
using Param = std::optional<std::string>;

// The connection string for another database of the same server; keyword form or URI.
std::string with_database(const std::string& conninfo, const std::string& database);

class PgClient {
 public:
  // conninfo: libpq's keyword/value or URI form; empty: libpq's environment. When nothing names a database,
  // "postgres" is used.
  static Result<PgClient> connect(const std::string& conninfo, const ConnectOptions& options = {});
  // The syntax and the password rule, without connecting (libpq is loaded). Errors: config, unsupported.
  static Status check_conninfo(const std::string& conninfo);

  PgClient(PgClient&&) noexcept;
  PgClient& operator=(PgClient&&) noexcept;
  ~PgClient();  // closes the connection; an open backup is thereby aborted by the server

  // One statement with parameters $1, $2, …
  Result<Rows> query(const std::string& sql, std::span<const Param> params = {},
                     ResultFormat format = ResultFormat::text);
  Result<Rows> query(const std::string& sql, std::initializer_list<Param> params,
                     ResultFormat format = ResultFormat::text) {
    return query(sql, std::span<const Param>(params.begin(), params.size()), format);
  }
  // One row and one column, as text; server error when there is not exactly one row; nullopt when null.
  Result<std::optional<std::string>> value(const std::string& sql, std::initializer_list<Param> params = {});
  // One or several statements without parameters; results are dropped.
  Status exec(const std::string& sql);

  // One statement through the simple protocol, the only one that a WAL sender understands.
  Result<Rows> simple_query(const std::string& sql);

  // --- COPY in both directions (START_REPLICATION). The stop token is not watched: who streams ends it in
  // order.
  enum class Copy : uint8_t {
    nothing,  // no message arrived in time, or `wake_fd` became readable
    message,
    ended,  // by the server: copy_result() has what it says
  };
  Status copy_start(const std::string& sql);
  // Waits for a message, at most `timeout_ms` or until `wake_fd` (-1: none) is readable. `message` is valid
  // until the next call.
  Result<Copy> copy_receive(ByteView& message, int64_t timeout_ms, int wake_fd);
  Status copy_send(ByteView message);
  // Our end of the copy; messages may still come.
  Status copy_end();
  // After Copy::ended, which our own end answers where it has not come yet: what follows, one call each.
  // Rows, no rows for a command that is done, nullopt at last. Waits at most `timeout_ms` for each.
  Result<std::optional<Rows>> copy_result(int64_t timeout_ms);

  // What the server reports of itself at connecting ("in_hot_standby", 14 and later); empty: nothing.
  std::string parameter(const char* name) const;

  // One statement whose rows are taken one at a time with next_row(), while the server goes on making the
  // next ones, as far as the connection holds them. No other statement until next_row() said that there are
  // no more.
  Status send(const std::string& sql, std::span<const Param> params, ResultFormat format);
  // One row; nullopt: that was all.
  Result<std::optional<Rows>> next_row();

  // Time-out of the statements that follow; 0: none.
  Status set_statement_timeout(int64_t ms);
  // SQLSTATE of the last error that the server sent, else "".
  const std::string& last_sqlstate() const;
  // Notices and warnings since the last call, one line each.
  std::vector<std::string> take_notices();
  // Closes now; what follows is `unavailable`.
  void close();
  // PQserverVersion: 150013; 0 when closed.
  int version_num() const;
  int major() const { return version_num() / 10000; }
  bool alive() const;  // as far as known without asking
  int backend_pid() const;
  std::string where()
      const;  // "host /run/postgresql, port 5432, database postgres, user backup": for messages

 private:
  struct State;
  explicit PgClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Whether libpq has been loaded by this process (a test asks).
bool libpq_loaded();

}  // namespace lifeboat::pg
