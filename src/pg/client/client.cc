#include "pg/client/client.h"

#include <dlfcn.h>
#include <poll.h>
#include <postgresql/libpq-fe.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdlib>
#include <mutex>

#include "pg/client/conninfo.h"
#include "pg/client/ping.h"
#include "util/clock.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// The functions of libpq that are used, found by name at the first connection.
struct Libpq {
  // clang-format off
#define LIFEBOAT_LIBPQ_FUNCTIONS(X) \
  X(PQconninfoParse) X(PQconndefaults) X(PQconninfoFree) X(PQfreemem) X(PQconnectStartParams) X(PQconnectPoll) \
  X(PQpingParams) \
  X(PQfinish) X(PQstatus) X(PQsocket) X(PQerrorMessage) X(PQserverVersion) X(PQbackendPID) X(PQdb) \
  X(PQuser) X(PQhost) X(PQport) X(PQconnectionNeedsPassword) X(PQsetNoticeReceiver) X(PQsendQuery) \
  X(PQsendQueryParams) X(PQsetSingleRowMode) X(PQisBusy) X(PQconsumeInput) X(PQgetResult) X(PQresultStatus) \
  X(PQresultErrorMessage) X(PQresultErrorField) X(PQclear) X(PQntuples) X(PQnfields) X(PQgetvalue) \
  X(PQgetlength) X(PQgetisnull) X(PQcmdTuples) X(PQgetCancel) X(PQfreeCancel) X(PQcancel) \
  X(PQgetCopyData) X(PQputCopyData) X(PQputCopyEnd) X(PQflush) X(PQparameterStatus)
  // clang-format on
#define X(name) decltype(&::name) name = nullptr;
  LIFEBOAT_LIBPQ_FUNCTIONS(X)
#undef X
};

std::atomic<const Libpq*> loaded_libpq{nullptr};

Result<const Libpq*> load_libpq() {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  if (const Libpq* ready = loaded_libpq.load()) return ready;
  void* library = ::dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = ::dlerror();
    return make_error(ErrorKind::unsupported, "libpq.so.5", "PostgreSQL's client library cannot be loaded")
        .with_cause(why ? why : "")
        .with_hint("apt-get install libpq5, or on Red Hat systems: dnf install libpq");
  }
  static Libpq functions;
#define X(name)                                                                         \
  functions.name = reinterpret_cast<decltype(functions.name)>(::dlsym(library, #name)); \
  if (!functions.name)                                                                  \
    return make_error(ErrorKind::unsupported, "libpq.so.5",                             \
                      "the client library is too old: it lacks " #name)                 \
        .with_hint("install libpq of PostgreSQL 13 or later");
  LIFEBOAT_LIBPQ_FUNCTIONS(X)
#undef X
  loaded_libpq.store(&functions);
  return &functions;
}

const Libpq& libpq() {
  return *loaded_libpq.load();
}

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { libpq().PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

// libpq's messages end with a line feed and may have several lines; errors of ours have one.
std::string one_line(std::string_view text) {
  std::string line;
  for (std::string_view part : split(trim(text), '\n')) {
    part = trim(part);
    if (part.empty()) continue;
    if (!line.empty()) line += "; ";
    line += part;
  }
  return line;
}

Result<Options> parse_conninfo(const Libpq& pq, const std::string& conninfo) {
  char* message = nullptr;
  Options options(pq.PQconninfoParse(conninfo.c_str(), &message));
  if (!options) {
    std::string cause = message ? one_line(message) : "out of memory";
    if (message) pq.PQfreemem(message);
    // The message quotes pieces of the string, which may be pieces of a password.
    if (to_lower(conninfo).find("pass") != std::string::npos || conninfo.find('@') != std::string::npos)
      cause.clear();
    return make_error(ErrorKind::config, "connection string", "cannot be parsed")
        .with_cause(std::move(cause))
        .with_hint("write it like \"host=db1 port=5432 user=backup dbname=postgres\"");
  }
  for (const PQconninfoOption* option = options.get(); option->keyword; ++option) {
    const std::string_view keyword = option->keyword;
    if ((keyword == "password" || keyword == "sslpassword") && option->val && *option->val)
      return make_error(ErrorKind::config, "connection string",
                        cat("contains a ", keyword, ", which others could read"))
          .with_hint("put it into a pass file (~/.pgpass or passfile=) or a service file (service=)");
  }
  return options;
}

const char* option_value(const Options& options, std::string_view keyword) {
  for (const PQconninfoOption* option = options.get(); option->keyword; ++option)
    if (keyword == option->keyword) return option->val;
  return nullptr;
}

bool environment_has(const char* name) {
  const char* value = std::getenv(name);
  return value && *value;
}

ErrorKind kind_of_sqlstate(std::string_view state) {
  if (state.starts_with("08") || state == "57P01" || state == "57P02" || state == "57P03" ||
      state == "57P05" || state == "53300")
    return ErrorKind::unavailable;
  if (state.starts_with("28") || state == "42501") return ErrorKind::permission;
  if (state == "57014") return ErrorKind::timeout;
  if (state == "53100") return ErrorKind::space;
  return ErrorKind::server;
}

constexpr int kPollMs = 100;  // how often stop tokens are looked at
constexpr int64_t kCancelGraceMs = 5000;

int64_t now_ms() {
  return Clock::system().monotonic_us() / 1000;
}

// Waits until the socket is ready, at most until it is time to look at the stop token again.
bool wait_for(int socket, short events, int64_t limit_ms) {
  pollfd watched = {socket, events, 0};
  return ::poll(&watched, 1, static_cast<int>(std::clamp<int64_t>(limit_ms, 0, kPollMs))) > 0;
}

}  // namespace

bool libpq_loaded() {
  return loaded_libpq.load() != nullptr;
}

// --- rows

void Rows::Free::operator()(void* result) const {
  libpq().PQclear(static_cast<PGresult*>(result));
}

Rows::Rows(void* result) : result_(result) {
  const auto* rows = static_cast<const PGresult*>(result);
  rows_ = libpq().PQntuples(rows);
  columns_ = libpq().PQnfields(rows);
}

std::string_view Rows::text(int row, int column) const {
  return as_text(bytes(row, column));
}

ByteView Rows::bytes(int row, int column) const {
  CHECK(row >= 0 && row < rows_ && column >= 0 && column < columns_);
  const auto* result = static_cast<const PGresult*>(result_.get());
  return {reinterpret_cast<const uint8_t*>(libpq().PQgetvalue(result, row, column)),
          static_cast<size_t>(libpq().PQgetlength(result, row, column))};
}

bool Rows::null(int row, int column) const {
  CHECK(row >= 0 && row < rows_ && column >= 0 && column < columns_);
  return libpq().PQgetisnull(static_cast<const PGresult*>(result_.get()), row, column) != 0;
}

std::optional<int64_t> Rows::i64(int row, int column) const {
  return null(row, column) ? std::nullopt : parse_i64(text(row, column));
}

std::optional<uint64_t> Rows::u64(int row, int column) const {
  return null(row, column) ? std::nullopt : parse_u64(text(row, column));
}

bool Rows::truth(int row, int column) const {
  return text(row, column) == "t";
}

// --- client

struct PgClient::State {
  PGconn* connection = nullptr;
  char* copied = nullptr;  // libpq's buffer of the last copy message
  const StopToken* stop = nullptr;
  std::string sqlstate;
  std::vector<std::string> notices;

  ~State() {
    drop_copied();
    if (connection) libpq().PQfinish(connection);
  }
  void drop_copied() {
    if (copied) libpq().PQfreemem(copied);
    copied = nullptr;
  }
  Status check_open() const {
    if (connection) return {};
    return make_error(ErrorKind::unavailable, "", "the connection was closed before");
  }
  Error lost(std::string_view what) const;
  Error server_error(const PGresult* result);
  Status wait_while_busy();
  Status cancel_and_drain();
  Result<PGresult*> collect();
  Status send_simple(const std::string& sql);
  Status send(const std::string& sql, std::span<const Param> params, ResultFormat format);
};

namespace {

struct FreeResult {
  void operator()(PGresult* result) const { libpq().PQclear(result); }
};
using OwnedResult = std::unique_ptr<PGresult, FreeResult>;

void keep_notice(void* into, const PGresult* result) {
  auto& notices = *static_cast<std::vector<std::string>*>(into);
  constexpr size_t kMost = 1000;
  if (notices.size() < kMost) notices.push_back(one_line(libpq().PQresultErrorMessage(result)));
}

std::string describe(const PGconn* connection) {
  const Libpq& pq = libpq();
  auto text = [](const char* value) { return std::string(value ? value : ""); };
  return cat("host ", text(pq.PQhost(connection)), ", port ", text(pq.PQport(connection)), ", database ",
             text(pq.PQdb(connection)), ", user ", text(pq.PQuser(connection)));
}

// The server's error before authentication comes as text only, and in the server's language: recognised where
// it can be.
Error connect_error(const PGconn* connection) {
  const Libpq& pq = libpq();
  std::string cause = one_line(pq.PQerrorMessage(connection));
  Error error = make_error(ErrorKind::unavailable, describe(connection), "cannot connect to PostgreSQL");
  if (pq.PQconnectionNeedsPassword(connection)) {
    error.kind = ErrorKind::permission;
    error.hint = "the server asks for a password: put it into a pass file (~/.pgpass) or a service file";
  } else if (cause.find("pg_hba.conf") != std::string::npos ||
             cause.find("authentication failed") != std::string::npos ||
             cause.find("role \"") != std::string::npos) {
    error.kind = ErrorKind::permission;
    error.hint =
        "check pg_hba.conf and the user name (connect as the data directory's owner, or --pg user=NAME)";
  } else if (cause.find("database \"") != std::string::npos) {
    error.kind = ErrorKind::server;
  } else if (cause.find("No such file or directory") != std::string::npos) {
    error.hint = "is the server running, and is its socket directory the one in --pg host=DIR?";
  }
  error.cause = std::move(cause);
  return error;
}

}  // namespace

Error PgClient::State::lost(std::string_view what) const {
  return make_error(ErrorKind::unavailable, describe(connection),
                    cat("lost the connection to PostgreSQL ", what))
      .with_cause(one_line(libpq().PQerrorMessage(connection)));
}

Error PgClient::State::server_error(const PGresult* result) {
  const Libpq& pq = libpq();
  auto field = [&](int code) {
    const char* value = pq.PQresultErrorField(result, code);
    return std::string(value ? value : "");
  };
  sqlstate = field(PG_DIAG_SQLSTATE);
  std::string message = field(PG_DIAG_MESSAGE_PRIMARY);
  if (message.empty()) message = one_line(pq.PQresultErrorMessage(result));
  if (sqlstate.empty()) return lost("during a statement");  // made by libpq itself, not by the server
  if (std::string detail = field(PG_DIAG_MESSAGE_DETAIL); !detail.empty())
    message += cat("; ", one_line(detail));
  Error error = make_error(kind_of_sqlstate(sqlstate), "", "PostgreSQL answered with an error");
  error.cause = cat(one_line(message), " (", sqlstate, ")");
  error.hint = one_line(field(PG_DIAG_MESSAGE_HINT));
  if (error.kind == ErrorKind::timeout) error.message = "PostgreSQL cancelled the statement";
  return error;
}

Status PgClient::State::wait_while_busy() {
  const Libpq& pq = libpq();
  while (pq.PQisBusy(connection)) {
    if (stop && stop->stopped()) return cancel_and_drain();
    // TLS may hold bytes that it has decrypted already, of which poll() knows nothing.
    if (!pq.PQconsumeInput(connection)) return lost("while waiting for an answer");
    if (!pq.PQisBusy(connection)) break;
    wait_for(pq.PQsocket(connection), POLLIN, kPollMs);
    if (!pq.PQconsumeInput(connection)) return lost("while waiting for an answer");
  }
  return {};
}

// Asks the server to cancel, reads what it still sends, and reports `cancelled`. A server that does not
// answer in time loses the connection: its state would be unknown.
Status PgClient::State::cancel_and_drain() {
  const Libpq& pq = libpq();
  if (PGcancel* cancel = pq.PQgetCancel(connection)) {
    char message[256];
    pq.PQcancel(cancel, message, sizeof message);  // failure: the connection is dropped below
    pq.PQfreeCancel(cancel);
  }
  const int64_t deadline = now_ms() + kCancelGraceMs;
  bool answered = false;
  while (!answered && now_ms() < deadline && pq.PQconsumeInput(connection)) {
    while (!pq.PQisBusy(connection)) {
      OwnedResult result(pq.PQgetResult(connection));
      if (!result) {
        answered = true;
        break;
      }
      ExecStatusType status = pq.PQresultStatus(result.get());
      if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) break;
    }
    if (!answered) wait_for(pq.PQsocket(connection), POLLIN, deadline - now_ms());
  }
  if (!answered) {
    pq.PQfinish(connection);
    connection = nullptr;
  }
  return make_error(ErrorKind::cancelled, "", "stopped by request while PostgreSQL was working");
}

// The last result of what was sent, or the first error.
Result<PGresult*> PgClient::State::collect() {
  const Libpq& pq = libpq();
  OwnedResult last;
  std::optional<Error> failure;
  while (true) {
    TRY(wait_while_busy());
    OwnedResult result(pq.PQgetResult(connection));
    if (!result) break;
    switch (pq.PQresultStatus(result.get())) {
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        if (!failure) last = std::move(result);
        break;
      case PGRES_COPY_IN:
      case PGRES_COPY_OUT:
      case PGRES_COPY_BOTH:
        // There is nobody to speak the copy protocol with; the connection is of no more use.
        pq.PQfinish(connection);
        connection = nullptr;
        return make_error(ErrorKind::unsupported, "", "a COPY statement cannot be run here");
      default:
        if (!failure) failure = server_error(result.get());
    }
  }
  if (failure) return *std::move(failure);
  if (!last) return lost("before it answered");
  return last.release();
}

PgClient::PgClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
PgClient::PgClient(PgClient&&) noexcept = default;
PgClient& PgClient::operator=(PgClient&&) noexcept = default;
PgClient::~PgClient() = default;

Status PgClient::check_conninfo(const std::string& conninfo) {
  TRY_ASSIGN(const Libpq* pq, load_libpq());
  TRY_ASSIGN(Options options, parse_conninfo(*pq, conninfo));
  return {};
}

namespace {

std::string quote_value(std::string_view value) {
  std::string text = "'";
  for (char c : value) {
    if (c == '\'' || c == '\\') text += '\\';
    text += c;
  }
  return text + "'";
}

bool is_secret(std::string_view keyword) {
  return keyword == "password" || keyword == "sslpassword";
}

// What the environment or its service says of this keyword, and libpq's own default does not.
bool comes_from_environment(const PQconninfoOption& option) {
  if (option.val == nullptr || *option.val == '\0') return false;
  const std::string_view value = option.val;
  if (option.compiled != nullptr && value == option.compiled) return false;
  const std::string_view keyword = option.keyword;
  if (keyword == "service" || keyword == "servicefile") return false;  // they have been looked up
  if (keyword != "user") return true;
  auto self = OsUser::by_uid(::geteuid());  // libpq's default; jobs run as the same user
  return !self || value != self->name;
}

}  // namespace

std::string conninfo_value(std::string_view value) {
  const bool plain = !value.empty() && std::ranges::all_of(value, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_-./:@,+").find(c) != std::string_view::npos;
  });
  return plain ? std::string(value) : quote_value(value);
}

Result<ExplicitConninfo> explicit_conninfo(const std::string& conninfo) {
  TRY_ASSIGN(const Libpq* pq, load_libpq());
  TRY_ASSIGN(const Options given, parse_conninfo(*pq, conninfo));
  ExplicitConninfo made{conninfo, environment_has("PGPASSWORD")};
  const char* service = option_value(given, "service");
  if (service != nullptr && *service != '\0') return made;
  const Options defaults(pq->PQconndefaults());
  if (!defaults)
    return make_error(ErrorKind::config, "libpq's environment", "cannot be read")
        .with_hint("is the service that PGSERVICE names in the service file?");
  std::vector<std::string> words;
  bool added = false;
  for (const PQconninfoOption* option = defaults.get(); option->keyword != nullptr; ++option) {
    const char* own = option_value(given, option->keyword);
    if (own != nullptr && *own != '\0') {
      words.push_back(cat(option->keyword, "=", conninfo_value(own)));
    } else if (is_secret(option->keyword)) {
      made.password_in_environment |= option->val != nullptr && *option->val != '\0';
    } else if (comes_from_environment(*option)) {
      words.push_back(cat(option->keyword, "=", conninfo_value(option->val)));
      added = true;
    }
  }
  if (added) made.text = join(words, " ");
  return made;
}

std::string socket_directory(const std::string& conninfo) {
  auto pq = load_libpq();
  if (!pq) return "";
  auto options = parse_conninfo(**pq, conninfo);
  if (!options) return "";
  const char* host = option_value(*options, "host");
  return host != nullptr && *host == '/' ? host : "";
}

// Later keywords win in libpq's keyword/value form; of a URI the path is replaced.
std::string with_database(const std::string& conninfo, const std::string& database) {
  bool uri = conninfo.starts_with("postgres://") || conninfo.starts_with("postgresql://");
  if (!uri) return cat(conninfo, conninfo.empty() ? "" : " ", "dbname=", quote_value(database));
  size_t authority = conninfo.find("://") + 3;
  size_t path = conninfo.find_first_of("/?", authority);
  size_t query = conninfo.find('?', authority);
  std::string escaped;
  for (char c : database) {
    bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
    escaped += plain ? std::string(1, c) : cat("%", hex_number(static_cast<unsigned char>(c), 2));
  }
  return cat(std::string_view(conninfo).substr(0, path), "/", escaped,
             query == std::string::npos ? std::string_view() : std::string_view(conninfo).substr(query));
}

Result<bool> answers(const std::string& conninfo, int64_t timeout_ms) {
  TRY_ASSIGN(const Libpq* pq, load_libpq());
  TRY_ASSIGN(Options parsed, parse_conninfo(*pq, conninfo));
  // libpq takes whole seconds, two at least.
  const std::string seconds = cat(std::max<int64_t>(2, timeout_ms / 1000));
  std::vector<const char*> names, values;
  for (const PQconninfoOption* option = parsed.get(); option->keyword; ++option) {
    if (!option->val || std::string_view(option->keyword) == "connect_timeout") continue;
    names.push_back(option->keyword);
    values.push_back(option->val);
  }
  names.insert(names.end(), {"connect_timeout", nullptr});
  values.insert(values.end(), {seconds.c_str(), nullptr});
  return pq->PQpingParams(names.data(), values.data(), 0) == PQPING_OK;
}

Result<PgClient> PgClient::connect(const std::string& conninfo, const ConnectOptions& options) {
  TRY_ASSIGN(const Libpq* pq, load_libpq());
  TRY_ASSIGN(Options parsed, parse_conninfo(*pq, conninfo));

  std::vector<const char*> names, values;
  auto pass = [&](const char* name, const char* value) {
    names.push_back(name);
    values.push_back(value);
  };
  for (const PQconninfoOption* option = parsed.get(); option->keyword; ++option)
    if (option->val) pass(option->keyword, option->val);
  const bool service = option_value(parsed, "service") || environment_has("PGSERVICE");
  const bool replication = options.session == SessionKind::replication;
  if (!option_value(parsed, "dbname") && !environment_has("PGDATABASE") && !service)
    pass("dbname", replication ? "replication" : "postgres");
  // Given last it wins over what the connection string says.
  if (replication) pass("replication", "true");
  if (options.host == HostChoice::writable && !option_value(parsed, "target_session_attrs") &&
      !environment_has("PGTARGETSESSIONATTRS")) {
    pass("target_session_attrs", "read-write");
  }
  if (!option_value(parsed, "client_encoding")) pass("client_encoding", "UTF8");
  pass("fallback_application_name", options.application_name.c_str());
  names.push_back(nullptr);
  values.push_back(nullptr);

  int64_t limit_ms = options.connect_timeout_ms;
  if (const char* seconds = option_value(parsed, "connect_timeout"))
    if (auto number = parse_u64(trim(seconds)); number && *number > 0 && *number < 100'000)
      limit_ms = static_cast<int64_t>(*number) * 1000;

  auto state = std::make_unique<State>();
  state->stop = options.stop;
  state->connection = pq->PQconnectStartParams(names.data(), values.data(), 0);
  if (!state->connection) return make_error(ErrorKind::failed, "libpq", "out of memory");
  pq->PQsetNoticeReceiver(state->connection, keep_notice, &state->notices);
  const int64_t deadline = now_ms() + limit_ms;
  auto wanted = PGRES_POLLING_WRITING;
  while (true) {
    if (pq->PQstatus(state->connection) == CONNECTION_BAD || wanted == PGRES_POLLING_FAILED)
      return connect_error(state->connection);
    if (wanted == PGRES_POLLING_OK) break;
    if (options.stop) TRY(options.stop->check());
    if (now_ms() >= deadline)
      return make_error(ErrorKind::unavailable, describe(state->connection),
                        cat("PostgreSQL did not complete the connection within ", limit_ms, " ms"));
    const short events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (wait_for(pq->PQsocket(state->connection), events, deadline - now_ms()))
      wanted = pq->PQconnectPoll(state->connection);
  }
  if (int version = pq->PQserverVersion(state->connection); version < 100000)
    return make_error(ErrorKind::unsupported, describe(state->connection),
                      cat("the server is too old: version number ", version, ", expected 130000 or later"));

  PgClient client(std::move(state));
  if (replication) return client;
  // A session that may sit idle for hours between the start and the stop of a backup, and that resolves names
  // in pg_catalog only unless asked otherwise.
  std::string setup =
      "SELECT set_config('lock_timeout', '0', false), "
      "set_config('idle_in_transaction_session_timeout', '0', false), "
      "set_config('datestyle', 'ISO', false), set_config('timezone', 'UTC', false), "
      "set_config('extra_float_digits', '1', false)";
  if (client.major() >= 14) setup += ", set_config('idle_session_timeout', '0', false)";
  if (client.major() >= 17) setup += ", set_config('transaction_timeout', '0', false)";
  if (options.names == NameLookup::catalog_only) setup += ", set_config('search_path', '', false)";
  setup += cat(", set_config('statement_timeout', '", options.statement_timeout_ms, "', false)");
  TRY(client.exec(setup));
  return client;
}

Status PgClient::State::send_simple(const std::string& sql) {
  TRY(check_open());
  if (stop) TRY(stop->check());
  sqlstate.clear();
  if (!libpq().PQsendQuery(connection, sql.c_str())) return lost("when sending a statement");
  return {};
}

Status PgClient::State::send(const std::string& sql, std::span<const Param> params, ResultFormat format) {
  TRY(check_open());
  if (stop) TRY(stop->check());
  sqlstate.clear();
  std::vector<const char*> values;
  for (const Param& param : params) values.push_back(param ? param->c_str() : nullptr);
  if (!libpq().PQsendQueryParams(connection, sql.c_str(), static_cast<int>(values.size()), nullptr,
                                 values.data(), nullptr, nullptr, format == ResultFormat::binary ? 1 : 0))
    return lost("when sending a statement");
  return {};
}

Result<Rows> PgClient::query(const std::string& sql, std::span<const Param> params, ResultFormat format) {
  TRY(state_->send(sql, params, format));
  TRY_ASSIGN(PGresult * result, state_->collect());
  Rows rows(result);
  rows.affected_ = parse_u64(libpq().PQcmdTuples(result)).value_or(0);
  return rows;
}

Status PgClient::send(const std::string& sql, std::span<const Param> params, ResultFormat format) {
  TRY(state_->send(sql, params, format));
  if (!libpq().PQsetSingleRowMode(state_->connection)) return state_->lost("when sending a statement");
  return {};
}

Result<std::optional<Rows>> PgClient::next_row() {
  TRY(state_->check_open());
  const Libpq& pq = libpq();
  std::optional<Error> failure;
  while (true) {
    TRY(state_->wait_while_busy());
    OwnedResult result(pq.PQgetResult(state_->connection));
    if (!result) break;
    switch (pq.PQresultStatus(result.get())) {
      case PGRES_SINGLE_TUPLE:
        return std::optional<Rows>(Rows(result.release()));
      case PGRES_TUPLES_OK:  // without rows: what follows the last one
        break;
      default:
        if (!failure) failure = state_->server_error(result.get());
    }
  }
  if (failure) return *std::move(failure);
  return std::optional<Rows>();
}

Result<std::optional<std::string>> PgClient::value(const std::string& sql,
                                                   std::initializer_list<Param> params) {
  TRY_ASSIGN(Rows rows, query(sql, params));
  if (rows.size() != 1 || rows.columns() < 1)
    return make_error(ErrorKind::server, "",
                      cat("PostgreSQL answered with ", rows.size(), " rows, expected one"));
  if (rows.null(0, 0)) return std::optional<std::string>();
  return std::optional(std::string(rows.text(0, 0)));
}

Status PgClient::exec(const std::string& sql) {
  TRY(state_->send_simple(sql));
  TRY_ASSIGN(PGresult * result, state_->collect());
  libpq().PQclear(result);
  return {};
}

Result<Rows> PgClient::simple_query(const std::string& sql) {
  TRY(state_->send_simple(sql));
  TRY_ASSIGN(PGresult * result, state_->collect());
  return Rows(result);
}

// --- copy in both directions

Status PgClient::copy_start(const std::string& sql) {
  TRY(state_->send_simple(sql));
  TRY(state_->wait_while_busy());
  OwnedResult result(libpq().PQgetResult(state_->connection));
  if (!result) return state_->lost("before it answered");
  if (libpq().PQresultStatus(result.get()) == PGRES_COPY_BOTH) return {};
  Error error = state_->server_error(result.get());
  // The connection is good for more when the rest of the answer is read too.
  while (result) {
    TRY(state_->wait_while_busy());
    result.reset(libpq().PQgetResult(state_->connection));
  }
  return error;
}

Result<PgClient::Copy> PgClient::copy_receive(ByteView& message, int64_t timeout_ms, int wake_fd) {
  TRY(state_->check_open());
  const Libpq& pq = libpq();
  PGconn* connection = state_->connection;
  for (bool waited = false;; waited = true) {
    state_->drop_copied();
    int size = pq.PQgetCopyData(connection, &state_->copied, 1);
    if (size > 0) {
      message = {reinterpret_cast<const uint8_t*>(state_->copied), static_cast<size_t>(size)};
      return Copy::message;
    }
    if (size == -1) return Copy::ended;
    if (size < 0) return state_->lost("while it sent WAL");
    if (waited) return Copy::nothing;
    pollfd watched[] = {{pq.PQsocket(connection), POLLIN, 0}, {wake_fd, POLLIN, 0}};
    ::poll(watched, 2, static_cast<int>(std::clamp<int64_t>(timeout_ms, 0, kPollMs)));
    if (!pq.PQconsumeInput(connection)) return state_->lost("while it sent WAL");
  }
}

Status PgClient::copy_send(ByteView message) {
  TRY(state_->check_open());
  const Libpq& pq = libpq();
  if (pq.PQputCopyData(state_->connection, reinterpret_cast<const char*>(message.data()),
                       static_cast<int>(message.size())) <= 0 ||
      pq.PQflush(state_->connection) < 0) {
    return state_->lost("when answering");
  }
  return {};
}

Status PgClient::copy_end() {
  TRY(state_->check_open());
  if (libpq().PQputCopyEnd(state_->connection, nullptr) <= 0 || libpq().PQflush(state_->connection) < 0)
    return state_->lost("when ending the stream");
  return {};
}

Result<std::optional<Rows>> PgClient::copy_result(int64_t timeout_ms) {
  TRY(state_->check_open());
  const Libpq& pq = libpq();
  const int64_t deadline = now_ms() + timeout_ms;
  while (true) {
    while (pq.PQisBusy(state_->connection)) {
      const int64_t left = deadline - now_ms();
      if (left <= 0) return make_error(ErrorKind::timeout, "", "PostgreSQL does not end the stream");
      wait_for(pq.PQsocket(state_->connection), POLLIN, left);
      if (!pq.PQconsumeInput(state_->connection)) return state_->lost("at the end of the stream");
    }
    OwnedResult result(pq.PQgetResult(state_->connection));
    if (!result) return std::optional<Rows>();
    switch (pq.PQresultStatus(result.get())) {
      case PGRES_COPY_IN:  // the server has ended its side and waits for ours
        TRY(copy_end());
        break;
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
        return std::optional<Rows>(Rows(result.release()));
      default:
        return state_->server_error(result.get());
    }
  }
}

std::string PgClient::parameter(const char* name) const {
  const char* value = state_->connection ? libpq().PQparameterStatus(state_->connection, name) : nullptr;
  return value ? value : "";
}

Status PgClient::set_statement_timeout(int64_t ms) {
  return exec(cat("SET statement_timeout = ", ms));
}

const std::string& PgClient::last_sqlstate() const {
  return state_->sqlstate;
}

std::vector<std::string> PgClient::take_notices() {
  return std::exchange(state_->notices, {});
}

void PgClient::close() {
  if (state_->connection) libpq().PQfinish(state_->connection);
  state_->connection = nullptr;
}

int PgClient::version_num() const {
  return state_->connection ? libpq().PQserverVersion(state_->connection) : 0;
}

bool PgClient::alive() const {
  return state_->connection && libpq().PQstatus(state_->connection) == CONNECTION_OK;
}

int PgClient::backend_pid() const {
  return state_->connection ? libpq().PQbackendPID(state_->connection) : 0;
}

std::string PgClient::where() const {
  return state_->connection ? describe(state_->connection) : std::string("closed connection");
}

}  // namespace lifeboat::pg
