#include "ops/same_server.h"

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr uint64_t kStatLimit = 4096;
// postmaster.pid has whole seconds.
constexpr double kGranularity = 1.5;
// Between the two starts lie the postmaster's configuration, its shared memory and what it removes of
// temporary files; recovery does not count into it. Where nothing but the time tells, two servers that were
// started together must not be taken for one.
constexpr double kStartUp = 5;

}  // namespace

Result<ServerTrace> trace_server(pg::PgClient& client, const pg::ServerFacts& server) {
  TRY_ASSIGN(pg::Rows rows, client.query("SELECT pg_backend_pid(), current_setting('port')::int"));
  ServerTrace trace;
  trace.backend = rows.i64(0, 0).value_or(0);
  trace.backend_parent = parent_process(trace.backend);
  trace.port = rows.i64(0, 1);
  trace.data_directory = server.data_directory;
  trace.start = server.postmaster_start;
  return trace;
}

std::optional<int64_t> parent_process(int64_t pid) {
  auto text = read_text(cat("/proc/", pid, "/stat"), kStatLimit);
  if (!text) return std::nullopt;
  // "pid (name) state ppid …"; the name may have blanks and brackets of its own (proc(5)).
  const size_t end = text->rfind(')');
  if (end == std::string::npos) return std::nullopt;
  auto words = split(trim(std::string_view(*text).substr(end + 1)), ' ');
  return words.size() < 2 ? std::nullopt : parse_i64(words[1]);
}

SameServer judge_same_server(const ServerTrace& server, const pg::PidFile& here, bool postmaster_seen,
                             std::optional<bool> same_directory) {
  const auto answer = [](bool same) { return same ? SameServer::yes : SameServer::no; };
  if (server.port && here.port != 0 && *server.port != here.port) return SameServer::no;
  if (same_directory && !*same_directory) return SameServer::no;
  if (postmaster_seen) return answer(server.backend_parent == here.pid);
  const double later = static_cast<double>(server.start.unix_us) / 1e6 - static_cast<double>(here.start_time);
  return answer(later > -kGranularity && later < kStartUp);
}

SameServer is_same_server(const ServerTrace& server, const pg::PidFile& here, const std::string& directory) {
  std::optional<bool> same_directory;
  if (!server.data_directory.empty()) {
    auto named = stat_path(server.data_directory);
    auto given = stat_path(directory);
    // A path that is not there, or that cannot be looked at, is the path of another host or of a namespace of
    // its own.
    if (named && given) same_directory = named->device == given->device && named->inode == given->inode;
  }
  return judge_same_server(server, here, parent_process(here.pid).has_value(), same_directory);
}

}  // namespace lifeboat::ops
