#include "ops/dump/rehearse.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ops/drill/host_fault.h"
#include "ops/dump/program.h"
#include "ops/given_names.h"
#include "ops/scratch/isolate.h"
#include "pg/server/launcher.h"
#include "repo/evidence.h"
#include "repo/lease.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kPort = 5432;  // names the socket only: nothing listens on TCP
constexpr int64_t kStartTimeoutMs = 120'000;
constexpr std::string_view kServerLog = "server.log";
constexpr std::string_view kSuperuser = "postgres";
// The server has a database postgres of its own.
constexpr std::string_view kPostgresRestored = "postgres_restored";

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

class DumpDrill {
 public:
  DumpDrill(const DumpDrillOptions& options, FoundDump dump, repo::Manifest manifest, Reporter& reporter,
            StopToken& stop)
      : options_(options),
        dump_(std::move(dump)),
        manifest_(std::move(manifest)),
        reporter_(reporter),
        stop_(stop) {}
  ~DumpDrill() {
    server_.reset();
    if (made_ && !options_.keep)
      (void)remove_tree(options_.directory);  // a leftover is only a waste of space
  }

  Result<DumpDrillOutcome> run() {
    const int64_t began_us = Clock::system().monotonic_us();
    outcome_.card = manifest_.card;
    TRY(make_server());
    outcome_.server_seconds = since(began_us);
    TRY(restore());
    outcome_.rto_seconds = since(began_us);
    outcome_.restore_seconds = outcome_.rto_seconds - outcome_.server_seconds;
    if (restored_) TRY(check());
    judge_rto();
    TRY(server_->stop(pg::StopMode::fast, kStartTimeoutMs));
    outcome_.passed = std::ranges::none_of(
        outcome_.checks, [](const DrillCheck& check) { return check.result == CheckResult::failed; });
    if (options_.keep) outcome_.kept_directory = options_.directory;
    TRY_ASSIGN(outcome_.evidence, write_evidence());
    return std::move(outcome_);
  }

 private:
  Status make_server() {
    auto listing = list_dir(options_.directory);
    // What cannot be listed may hold anything.
    if (!listing && listing.error().kind != ErrorKind::not_found) return std::move(listing).error();
    if (listing && !listing->empty())
      return make_error(ErrorKind::precondition, options_.directory, "is not empty")
          .with_hint("--to takes a directory that is absent or empty");
    TRY_ASSIGN(pg::PgBin bin, pg::find_pg_bin(manifest_.card.server_version_num / 10000, options_.pg_bin));
    TRY(create_dirs(options_.directory, 0700));
    made_ = true;
    const std::string run = join_path(options_.directory, "run");
    TRY(create_dirs(run, 0700));
    reporter_.progress("making a server", 0, 0, ProgressUnit::items);
    const std::string data = join_path(options_.directory, "data");
    TRY(run_program({bin.program("initdb"), cat("--pgdata=", data), cat("--username=", kSuperuser),
                     "--auth=trust", "--encoding=UTF8", "--locale=C"},
                    stop_));
    pg::LaunchOptions launch;
    launch.bin = bin;
    launch.data_directory = data;
    launch.socket_directory = run;
    launch.port = kPort;
    launch.log_file = join_path(options_.directory, kServerLog);
    launch.role = kSuperuser;
    launch.cut_off = true;
    // A dump sets what its databases had, read-only ones too, before it loads them.
    launch.session_settings = session_settings(manifest_.card.server_version_num);
    launch.ends_with_us = true;
    launch.settings = {{"archive_mode", "off"},
                       {"max_logical_replication_workers", "0"},
                       {"cluster_name", "lifeboat drill"},
                       {"huge_pages", "off"},
                       {"max_wal_size", "4GB"}};
    launch.stop = &stop_;
    TRY_ASSIGN(pg::PgServer server, pg::PgServer::start(std::move(launch)));
    TRY_ASSIGN(pg::ServerState state, server.wait({}, kStartTimeoutMs));
    if (state.phase != pg::ServerPhase::ready)
      return make_error(ErrorKind::failed, data, "the throw-away server did not come up")
          .with_cause(state.last_error);
    server_.emplace(std::move(server));
    return {};
  }

  Status restore() {
    DumpRestoreOptions restore;
    restore.location = options_.location;
    restore.id = manifest_.card.id.text;
    restore.destination = server_->conninfo();
    restore.pg_bin = options_.pg_bin;
    restore.spool = options_.directory;
    restore.jobs = options_.jobs;
    restore.cut_off = true;
    for (const repo::DumpedDatabase& database : manifest_.dump->databases) {
      if (database.name == kSuperuser && database.tables.empty()) continue;
      restore.databases.push_back({database.name, name_here(database.name)});
    }
    if (restore.databases.empty()) restore.globals = DumpGlobals::only;
    const int64_t began_us = Clock::system().monotonic_us();
    auto restored = restore_dump(restore, reporter_, stop_);
    if (!restored && !says_something_of_the_backup(restored.error(), DrillStage::loading, server_log()))
      return std::move(restored).error();
    restored_ = restored.has_value();
    DrillCheck check{"restore", restored_ ? CheckResult::passed : CheckResult::failed, "", since(began_us)};
    if (restored_) {
      outcome_.restored = std::move(*restored);
      int64_t rows = 0;
      uint64_t tables = 0;
      for (const RestoredDatabase& database : outcome_.restored.databases) {
        rows += database.rows;
        tables += database.tables;
      }
      const std::string databases = counted(outcome_.restored.databases.size(), "database");
      check.detail = manifest_.card.dump->schema_only
                         ? cat(databases, ", definitions alone: no rows were dumped")
                         : cat(databases, ", ", counted(tables, "table"), ", ",
                               counted(static_cast<uint64_t>(rows), "row"), ", as many as the dump counted");
      outcome_.notes = outcome_.restored.notes;
    } else {
      check.detail = restored.error().to_string();
    }
    outcome_.checks.push_back(std::move(check));
    return {};
  }

  std::string server_log() const {
    return read_text(join_path(options_.directory, kServerLog), kMostLog).value_or("");
  }

  static std::string name_here(const std::string& database) {
    return database == kSuperuser ? std::string(kPostgresRestored) : database;
  }

  // Where the dump's database of that name is now; else the server's own.
  std::string asked_database() const {
    auto restored = [&](const RestoredDatabase& one) { return one.name == options_.assertion_database; };
    const bool there = std::ranges::any_of(outcome_.restored.databases, restored);
    return there ? name_here(options_.assertion_database) : options_.assertion_database;
  }

  Status check() {
    const std::string database = asked_database();
    const int64_t began_us = Clock::system().monotonic_us();
    TRY_ASSIGN(std::vector<DrillCheck> catalogues, check_catalogues(*server_, stop_));
    outcome_.checks.insert(outcome_.checks.end(), catalogues.begin(), catalogues.end());
    for (const std::string& sql : options_.assertions) {
      TRY_ASSIGN(DrillCheck asserted, check_assertion(*server_, database, sql, stop_));
      outcome_.checks.push_back(std::move(asserted));
    }
    for (const DrillProgram& program : options_.programs) {
      TRY_ASSIGN(DrillCheck checked,
                 check_by_program(*server_, program, database, options_.program_timeout_ms, stop_));
      outcome_.checks.push_back(std::move(checked));
    }
    outcome_.checks_seconds = since(began_us);
    return {};
  }

  void judge_rto() {
    if (!options_.rto_seconds) return;
    const bool met = outcome_.rto_seconds <= *options_.rto_seconds;
    outcome_.checks.push_back(
        {"rto_target", met ? CheckResult::passed : CheckResult::failed,
         cat(format_seconds(outcome_.rto_seconds), " of at most ", format_seconds(*options_.rto_seconds)),
         0});
  }

  Result<std::string> write_evidence() {
    ProofRecord record;
    record.kind = "drill";
    record.time = {Clock::system().unix_us()};
    ProofRecord::Item item{manifest_.card.id, ProofLevel::none, restored_, {}};
    for (const DrillCheck& check : outcome_.checks) {
      // A missed target does not disprove the dump.
      if (check.result != CheckResult::failed || check.id == "rto_target") continue;
      item.by_questions = check.beside_the_backup && (item.passed || item.by_questions);
      item.passed = false;
      item.problems.push_back(cat(check.id, ": ", check.detail));
    }
    if (item.passed) item.level = ProofLevel::asserted;
    record.backups.push_back(std::move(item));
    record.rto_seconds = outcome_.rto_seconds;
    nlohmann::ordered_json checks = nlohmann::ordered_json::array();
    for (const DrillCheck& check : outcome_.checks)
      checks.push_back({{"id", check.id}, {"result", to_string(check.result)}, {"detail", check.detail}});
    nlohmann::ordered_json more = {{"dump", manifest_.card.id.text},
                                   {"host", repo::ProcessIdentity::self().host},
                                   {"tool_version", options_.tool_version},
                                   {"jobs", options_.jobs},
                                   {"whole", repo::is_whole(*manifest_.card.dump)},
                                   {"server_seconds", outcome_.server_seconds},
                                   {"restore_seconds", outcome_.restore_seconds},
                                   {"checks", std::move(checks)},
                                   {"notes", outcome_.notes}};
    record.more = more.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    return repo::write_evidence(dump_.repo, record.time, encode_proof(record));
  }

  const DumpDrillOptions& options_;
  const FoundDump dump_;
  const repo::Manifest manifest_;
  Reporter& reporter_;
  StopToken& stop_;
  bool made_ = false;  // the directory
  bool restored_ = false;
  std::optional<pg::PgServer> server_;
  DumpDrillOutcome outcome_;
};

// A slip of whoever typed it must not make a good dump look bad: it is told before anything is made.
Status check_asked_database(const std::string& name, const repo::Manifest& manifest) {
  std::vector<std::string> known;
  for (const repo::DumpedDatabase& database : manifest.dump->databases) known.push_back(database.name);
  if (name == kSuperuser || std::ranges::find(known, name) != known.end()) return {};
  return no_such_database(name, cat("in dump ", manifest.card.id.text), std::move(known));
}

}  // namespace

Result<DumpDrillOutcome> drill_dump(const DumpDrillOptions& options, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(repo::Repository repository, open_repository(options.location));
  // The newest whole dump is what wants to be proven, of whichever databases.
  DumpWish wish;
  const bool asks = !options.assertions.empty() || !options.programs.empty();
  if (asks && options.assertion_database != kSuperuser) wish.databases = {options.assertion_database};
  TRY_ASSIGN(FoundDump found, find_dump(repository, options.location.cluster, options.id, wish));
  tell_choice(found, reporter);
  TRY_ASSIGN(repo::Manifest manifest, read_dump_manifest(found));
  if (asks) TRY(check_asked_database(options.assertion_database, manifest));
  return DumpDrill(options, std::move(found), std::move(manifest), reporter, stop).run();
}

}  // namespace lifeboat::ops
