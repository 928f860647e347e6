#include "pg/server/launcher.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "model/wal_name.h"
#include "pg/server/postmaster.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

constexpr uint64_t kLogTail = 256 << 10;
constexpr size_t kLongestSocketPath = 107;  // sun_path of struct sockaddr_un, without its terminator

std::string conninfo_value(std::string_view value) {
  std::string quoted = "'";
  for (char c : value) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

// The log since this start, or its end where that is long.
std::string log_tail(const LaunchOptions& options, uint64_t start) {
  auto fd = open_file(options.log_file, O_RDONLY);
  if (!fd) return "";
  auto info = stat_fd(fd->get(), options.log_file);
  if (!info || info->size <= start) return "";
  start = std::max(start, info->size - std::min(info->size, kLogTail));
  Bytes bytes(info->size - start);
  auto count = pread_some(fd->get(), start, bytes, options.log_file);
  return count ? std::string(as_text(ByteView(bytes).first(*count))) : "";
}

// The last FATAL or PANIC message. Those that merely turn a client away, ours among them, are not the reason
// of an end.
std::string last_fatal(std::string_view log) {
  std::string found;
  for (std::string_view line : split(log, '\n')) {
    size_t at = line.find("FATAL:");
    if (line.starts_with("postgres: ")) at = 0;
    if (at == std::string_view::npos) at = line.find("PANIC:");
    if (at == std::string_view::npos) continue;
    std::string_view message = trim(line.substr(at));
    if (message.find("the database system is") != std::string_view::npos ||
        message.find("terminating connection") != std::string_view::npos)
      continue;
    found = message;
  }
  return found;
}

// What the startup process writes into its title: "postgres: startup recovering 000000010000000000000003".
std::string wal_file_being_replayed(pid_t postmaster) {
  auto children = read_text(cat("/proc/", postmaster, "/task/", postmaster, "/children"), 1 << 20);
  if (!children) return "";
  for (std::string_view child : split(trim(*children), ' ')) {
    auto title = read_text(cat("/proc/", child, "/cmdline"), 1 << 16);
    if (!title || title->find("startup") == std::string::npos) continue;
    for (std::string_view word : split(std::string_view(*title).substr(0, title->find('\0')), ' '))
      if (SegmentName::parse(word)) return std::string(word);
  }
  return "";
}

}  // namespace

std::string_view to_string(ServerPhase phase) {
  switch (phase) {
    case ServerPhase::starting:
      return "starting";
    case ServerPhase::recovering:
      return "recovering";
    case ServerPhase::read_only:
      return "read_only";
    case ServerPhase::paused:
      return "paused";
    case ServerPhase::ready:
      return "ready";
    case ServerPhase::ended:
      return "ended";
  }
  return "starting";
}

PgServer::PgServer(LaunchOptions options, ChildProcess child, uint64_t log_start)
    : options_(std::move(options)), child_(std::move(child)), log_start_(log_start) {}

PgServer::PgServer(PgServer&&) noexcept = default;

PgServer& PgServer::operator=(PgServer&& other) noexcept {
  if (this != &other) {
    PgServer old(std::move(*this));  // stops what we had
    options_ = std::move(other.options_);
    child_ = std::move(other.child_);
    client_ = std::move(other.client_);
    log_start_ = other.log_start_;
  }
  return *this;
}

PgServer::~PgServer() {
  client_.reset();
  if (!child_.running()) return;
  // SIGQUIT makes the postmaster end its children first; SIGKILL on it alone would leave them for a while.
  if (child_.signal(SIGQUIT))
    (void)child_.wait(10'000).has_value();  // whatever came of it, the child's own end follows
}

Result<PgServer> PgServer::start(LaunchOptions options) {
  TRY_ASSIGN(auto running, running_server(options.data_directory));
  if (running)
    return make_error(ErrorKind::precondition, options.data_directory,
                      cat("a server runs there already, process ", running->pid_file.pid));
  TRY_ASSIGN(FileInfo directory, stat_path(options.data_directory));
  ProcessSpec spec;
  if (directory.uid == 0)
    return make_error(ErrorKind::precondition, options.data_directory,
                      "owned by root, as which PostgreSQL refuses to run")
        .with_hint("change the owner to the account that PostgreSQL runs as");
  if (::geteuid() == 0) {
    TRY_ASSIGN(spec.user, OsUser::by_uid(directory.uid));
  } else if (::geteuid() != directory.uid) {
    return make_error(ErrorKind::permission, options.data_directory,
                      cat("owned by uid ", directory.uid, ", and this is uid ", ::geteuid()))
        .with_hint("run as the owner of the data directory");
  }
  const std::string socket = cat(options.socket_directory, "/.s.PGSQL.", options.port);
  if (socket.size() > kLongestSocketPath)
    return make_error(
               ErrorKind::precondition, options.socket_directory,
               cat("the socket's path has ", socket.size(), " bytes, the system allows ", kLongestSocketPath))
        .with_hint("choose a shorter --socket-dir");

  TRY_ASSIGN(Fd log, open_file(options.log_file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  TRY_ASSIGN(FileInfo log_info, stat_fd(log.get(), options.log_file));
  if (log_info.uid != directory.uid && ::geteuid() == 0 &&
      ::fchown(log.get(), directory.uid, directory.gid) != 0)
    return errno_error(errno, options.log_file, "change the owner of");

  spec.argv = {options.bin.program("postgres"),
               "-D",
               options.data_directory,
               "-p",
               cat(options.port),
               "-k",
               options.socket_directory,
               "-c",
               cat("listen_addresses=", options.listen_addresses)};
  auto set = [&](std::string_view name, std::string_view value) {
    spec.argv.push_back("-c");
    spec.argv.push_back(cat(name, '=', value));
  };
  if (options.log_mode == LogMode::captured) {
    set("logging_collector", "off");
    set("log_destination", "stderr");
    set("lc_messages", "C");
  }
  for (const auto& [name, value] : options.settings) set(name, value);
  // Variables that would redirect the server or that belong to another one.
  for (const char* name : {"PGDATA", "PGPORT", "PGHOST", "PGOPTIONS"})
    spec.env.emplace_back(name, std::nullopt);
  spec.cwd = options.data_directory;
  spec.new_session = true;
  spec.ends_with_us = options.ends_with_us;
  spec.cut_off = options.cut_off;
  TRY_ASSIGN(ChildProcess child, ChildProcess::start(spec, {-1, log.get(), log.get()}));
  return PgServer(std::move(options), std::move(child), log_info.size);
}

std::string PgServer::conninfo(const std::string& database) const {
  std::string text = cat("host=", conninfo_value(options_.socket_directory), " port=", options_.port,
                         " dbname=", conninfo_value(database.empty() ? options_.database : database));
  std::string role = options_.role;
  if (role.empty()) {
    auto info = stat_path(options_.data_directory);
    if (info)
      if (auto owner = OsUser::by_uid(info->uid)) role = owner->name;
  }
  if (!role.empty()) text += cat(" user=", conninfo_value(role));
  if (!options_.session_settings.empty()) text += cat(" options=", conninfo_value(session_options()));
  return text;
}

// What is given when a connection begins ranks above all that is stored for a database or role (PGC_S_CLIENT,
// src/include/utils/guc.h). Words end at a blank unless a backslash is before it (pg_split_opts in
// src/backend/utils/init/postinit.c).
std::string PgServer::session_options() const {
  std::string text;
  for (const auto& [name, value] : options_.session_settings) {
    text += cat(text.empty() ? "" : " ", "-c ", name, "=");
    for (char c : value) {
      if (c == '\\' || c == ' ') text += '\\';
      text += c;
    }
  }
  return text;
}

Result<PgClient> PgServer::connect(const std::string& database) const {
  ConnectOptions options;
  options.stop = options_.stop;
  return PgClient::connect(conninfo(database), options);
}

pid_t PgServer::pid() const {
  return child_.pid();
}

void PgServer::release() {
  client_.reset();
  child_.release();
}

Status PgServer::connect_watcher() {
  if (client_ && client_->alive()) return {};
  client_.reset();
  ConnectOptions options;
  options.application_name = "lifeboat watch";
  options.connect_timeout_ms = 2'000;
  options.statement_timeout_ms = 5'000;
  options.stop = options_.stop;
  TRY_ASSIGN(PgClient client, PgClient::connect(conninfo(), options));
  client_ = std::move(client);
  return {};
}

// It notes it itself (AddToDataDirLockFile in src/backend/postmaster/postmaster.c, 10 on; pg_ctl waits for
// the same). To try costs it a process each time.
bool PgServer::takes_connections() const {
  const std::string path = join_path(options_.data_directory, "postmaster.pid");
  auto text = read_text(path, 64 << 10);
  if (!text) return text.error().kind != ErrorKind::not_found;
  auto file = PidFile::parse(*text);
  return file && file->pid == child_.pid() && file->status == "ready";
}

ServerState PgServer::look_from_outside() const {
  ServerState state;
  state.replaying_wal = wal_file_being_replayed(child_.pid());
  state.phase = state.replaying_wal.empty() ? ServerPhase::starting : ServerPhase::recovering;
  return state;
}

Result<ServerState> PgServer::ask_server() {
  // CASE keeps the functions that fail outside recovery from being called there.
  const std::string paused =
      client_->major() >= 14 ? "pg_get_wal_replay_pause_state() = 'paused'" : "pg_is_wal_replay_paused()";
  TRY_ASSIGN(
      Rows rows,
      client_->query(cat(
          "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(),"
          " (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint,"
          " CASE WHEN pg_is_in_recovery() THEN ",
          paused, " END, CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END")));
  ServerState state;
  state.replayed = Lsn::parse(rows.text(0, 1)).value_or(Lsn());
  state.last_commit = {rows.i64(0, 2).value_or(0)};
  if (!rows.truth(0, 0)) {
    state.phase = ServerPhase::ready;
    if (auto name = SegmentName::parse(rows.text(0, 4))) state.timeline = name->timeline;
  } else {
    state.phase = rows.truth(0, 3) ? ServerPhase::paused : ServerPhase::read_only;
  }
  return state;
}

Result<ServerState> PgServer::state() {
  if (!child_.running()) {
    client_.reset();
    ServerState state;
    state.phase = ServerPhase::ended;
    state.outcome = child_.outcome();
    const std::string log = log_tail(options_, log_start_);
    state.last_error = last_fatal(log);
    state.stopped_at_target = log.find("shutdown at recovery target") != std::string::npos;
    return state;
  }
  if (!takes_connections()) return look_from_outside();
  Status connected = connect_watcher();
  if (connected) {
    auto answer = ask_server();
    if (answer) return answer;
    // Recovery may end, or the server stop, in the middle of the question: the next one will tell.
    const ErrorKind kind = answer.error().kind;
    if (kind != ErrorKind::unavailable && kind != ErrorKind::timeout && kind != ErrorKind::server)
      return std::move(answer).error();
  } else if (connected.error().kind != ErrorKind::unavailable) {
    return std::move(connected).error();
  }
  return look_from_outside();
}

bool PgServer::reached(const WaitFor& phases, const ServerState& state) const {
  switch (state.phase) {
    case ServerPhase::read_only:
      return phases.read_only;
    case ServerPhase::paused:
      return phases.paused;
    case ServerPhase::ready:
      return phases.ready;
    case ServerPhase::ended:
      return true;
    case ServerPhase::starting:
    case ServerPhase::recovering:
      return false;
  }
  return false;
}

Result<ServerState> PgServer::wait(const WaitFor& phases, int64_t timeout_ms,
                                   const std::function<void(const ServerState&)>& progress) {
  Clock& clock = Clock::system();
  const int64_t started = clock.monotonic_us();
  while (true) {
    TRY_ASSIGN(ServerState now, state());
    if (progress) progress(now);
    if (reached(phases, now)) return now;
    if (options_.stop) TRY(options_.stop->check());
    const int64_t elapsed_us = clock.monotonic_us() - started;
    if (elapsed_us >= timeout_ms * 1000)
      return make_error(ErrorKind::timeout, options_.data_directory,
                        cat("the server is still ", to_string(now.phase), " after ", timeout_ms, " ms"))
          .with_hint(cat("its log is ", options_.log_file));
    clock.sleep_us(elapsed_us < 2'000'000 ? 20'000 : 200'000);
  }
}

Status PgServer::stop(StopMode mode, int64_t timeout_ms) {
  client_.reset();
  if (child_.running()) {
    const int number = mode == StopMode::smart ? SIGTERM : mode == StopMode::fast ? SIGINT : SIGQUIT;
    TRY(child_.signal(number));
    auto ended = child_.wait(timeout_ms, options_.stop);
    if (!ended) return std::move(ended).error().within("stopping the server");
  }
  if (mode == StopMode::immediate || !child_.outcome() || child_.outcome()->ok()) return {};
  return make_error(ErrorKind::failed, options_.data_directory,
                    cat("the server did not end cleanly: ", child_.outcome()->describe()))
      .with_cause(last_fatal(log_tail(options_, log_start_)))
      .with_hint(cat("its log is ", options_.log_file));
}

Status PgServer::promote(int64_t timeout_ms) {
  TRY(connect_watcher());
  TRY_ASSIGN(auto promoted, client_->value("SELECT pg_promote(false)"));
  if (promoted.value_or("") != "t")
    return make_error(ErrorKind::server, options_.data_directory, "the server did not accept its promotion");
  TRY_ASSIGN(ServerState state, wait({.read_only = false, .paused = false, .ready = true}, timeout_ms));
  if (state.phase == ServerPhase::ready) return {};
  return make_error(ErrorKind::failed, options_.data_directory,
                    "the server ended while it was being promoted")
      .with_cause(state.last_error)
      .with_hint(cat("its log is ", options_.log_file));
}

}  // namespace lifeboat::pg
