#include "ops/heal/rotate.h"

#include <nlohmann/json.hpp>

#include "ops/init/server_setup.h"
#include "ops/wal/commands.h"
#include "pg/client/client.h"
#include "repo/evidence.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr int64_t kTimeoutMs = 15'000;
constexpr int64_t kPollUs = 200'000;

Result<std::string> setting(pg::PgClient& client, const std::string& name) {
  TRY_ASSIGN(auto value,
             client.value(cat("SELECT coalesce(current_setting(", sql_literal(name), ", true), '')")));
  return value.value_or("");
}

Status check_server(pg::PgClient& client) {
  TRY_ASSIGN(std::string library, setting(client, "archive_library"));
  if (!library.empty())
    return make_error(
               ErrorKind::unsupported, client.where(),
               cat("archives by archive_library ", library, ", which has its own setting of the repository"))
        .with_hint("set lifeboat_archive.repo by hand");
  TRY_ASSIGN(auto patroni, client.value("SELECT count(*) FROM pg_stat_activity"
                                        " WHERE application_name LIKE 'Patroni%'"));
  if (patroni.value_or("0") != "0")
    return make_error(ErrorKind::unsupported, client.where(),
                      "is managed by Patroni, which owns its settings");
  return {};
}

// The first file that was archived after `since`, a time of the server's.
Result<std::string> wait_for_archiver(pg::PgClient& client, const std::string& since, int64_t timeout_ms,
                                      Reporter& reporter, const StopToken& stop) {
  Clock& clock = Clock::system();
  const int64_t deadline_us = clock.monotonic_us() + timeout_ms * 1000;
  for (;;) {
    TRY(stop.check());
    TRY_ASSIGN(auto file,
               client.value(cat("SELECT CASE WHEN last_archived_time > ", sql_literal(since),
                                "::timestamptz THEN last_archived_wal END FROM pg_stat_archiver")));
    if (file) return *std::move(file);
    if (clock.monotonic_us() > deadline_us)
      return make_error(
          ErrorKind::timeout, client.where(),
          cat("archived nothing within ", format_seconds(static_cast<double>(timeout_ms) / 1000)));
    reporter.progress("waiting for the archiver", 0, 0, ProgressUnit::items);
    clock.sleep_us(kPollUs);
  }
}

}  // namespace

Status check_can_take_over(const RepoLocation& to, const Lineage& lineage) {
  TRY_ASSIGN(repo::Repository repository, open_repository(to));
  auto chosen = lineage_of(repository, to.cluster, lineage);
  if (!chosen)
    return std::move(chosen).error().with_hint(
        cat("register the cluster there first: lifeboat init --repo ", to.url));
  // Written, because only that shows that it can be.
  const Timestamp now{Clock::system().unix_us()};
  const nlohmann::ordered_json record = {
      {"format", 1}, {"kind", "heal_takes_over"}, {"time_us", now.unix_us}};
  TRY(repo::write_evidence(chosen->repo, now, record.dump()));
  return {};
}

Result<RotateOutcome> rotate_archiving(const RotateRequest& request, std::vector<std::string>& did,
                                       Reporter& reporter, const StopToken& stop) {
  pg::ConnectOptions options;
  options.application_name = "lifeboat heal";
  options.connect_timeout_ms = kTimeoutMs;
  options.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(request.conninfo, options));
  TRY(check_server(client));
  TRY_ASSIGN(pg::ServerFacts server, pg::read_facts(client, {}));
  TRY(check_can_take_over(request.to, Lineage{server.system_id, server.major}));

  RotateOutcome outcome;
  TRY_ASSIGN(outcome.before, setting(client, "archive_command"));
  outcome.now = archive_command({request.program, request.to});
  TRY_ASSIGN(auto since, client.value("SELECT clock_timestamp()::text"));
  SettingChange change;
  change.name = "archive_command";
  change.now = outcome.before;
  change.wanted = outcome.now;
  TRY(apply_settings(client, {change}));
  did.push_back(cat("set archive_command to: ", outcome.now, " (it was: ", outcome.before, ")"));
  // An archiver that has failed sleeps for up to a minute, unless there is something new.
  TRY(client.exec("SELECT pg_create_restore_point('lifeboat heal')"));
  TRY(client.exec("SELECT pg_switch_wal()"));
  TRY_ASSIGN(outcome.archived,
             wait_for_archiver(client, since.value_or(""), request.archive_timeout_ms, reporter, stop));
  return outcome;
}

}  // namespace lifeboat::ops
