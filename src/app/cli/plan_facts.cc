#include "app/cli/plan_facts.h"

#include "app/location.h"
#include "app/output.h"
#include "app/reporter.h"
#include "ops/restore/restore.h"
#include "ops/wal/commands.h"
#include "pg/format/version.h"
#include "ready/plan/inspect.h"
#include "ready/plan/rates.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using ready::PlanFacts;

// PostgreSQL's programs of the server's major, else of the newest that is here.
Result<pg::PgBin> some_pg_bin(const Invocation& invocation, const PlanFacts& facts) {
  const std::string directory = invocation.pg_bin().value_or("");
  if (facts.server && facts.server->version_num > 0)
    return pg::find_pg_bin(facts.server->version_num / 10000, directory);
  constexpr int kNewest = 18;
  constexpr int kOldest = 13;
  for (int major = kNewest; major > kOldest; --major)
    if (auto bin = pg::find_pg_bin(major, directory)) return bin;
  return pg::find_pg_bin(kOldest, directory);
}

// What fetching and decoding of the newest backup takes now and here, by the preflight of a restore; nullopt:
// there is none, or it cannot be told.
std::optional<double> fetch_rate(const Invocation& invocation, const std::string& directory) {
  auto where = repo_location(invocation);
  auto program = ops::own_program_path();
  if (!where || !program) return std::nullopt;
  ops::RestoreOptions options;
  options.location = std::move(*where);
  options.directory = join_path(directory, temporary_name());
  options.unmapped = ops::UnmappedTablespaces::beside;
  options.program = std::move(*program);
  options.pg_bin = invocation.pg_bin().value_or("");
  options.jobs = invocation.jobs();
  auto source = ops::open_restore(options);
  if (!source) return std::nullopt;
  OutputReporter reporter(invocation.output());
  auto plan = ops::plan_restore(*source, options, reporter, invocation.stop());
  if (!plan || !plan->estimate.copy_seconds || *plan->estimate.copy_seconds <= 0) return std::nullopt;
  return static_cast<double>(plan->bytes) / *plan->estimate.copy_seconds;
}

Status add_calibration(const Invocation& invocation, PlanFacts& facts) {
  const bool wanted = invocation.value("calibration") == "auto";
  const bool drilled = facts.rates.basis != ready::RateBasis::none;
  const bool dumps_only = facts.rates.samples + facts.rates.instant_samples == 0;
  const bool enough = drilled && (facts.rates.replay_bytes_per_second || dumps_only);
  if (enough || !wanted) return {};
  auto bin = some_pg_bin(invocation, facts);
  if (!bin) {
    invocation.output().note(LogLevel::warning, cat("no calibration: ", bin.error().to_string()));
    return {};
  }
  invocation.output().note(LogLevel::info,
                           drilled ? "drills have replayed too little WAL to tell a rate: a calibration of "
                                     "some seconds"
                                   : "no drill has measured this cluster yet: a calibration of some seconds");
  ready::CalibrationOptions options;
  options.directory = invocation.text("to").value_or("/var/tmp");
  options.bin = std::move(*bin);
  options.stop = &invocation.stop();
  options.jobs = invocation.jobs();
  TRY(create_dirs(options.directory));
  TRY_ASSIGN(ready::Calibration calibration, ready::calibrate(options, facts.time));
  if (!calibration.problem.empty())
    invocation.output().note(LogLevel::warning, cat("calibration: ", calibration.problem));
  if (!drilled) slow_down_by_fetching(calibration.rates, fetch_rate(invocation, options.directory));
  ready::fill_in(facts.rates, calibration.rates);
  return {};
}

}  // namespace

Result<PlanFacts> gather_plan_facts(const Invocation& invocation) {
  const Timestamp now{invocation.clock().unix_us()};
  if (auto path = invocation.text("facts")) {
    TRY_ASSIGN(std::string text, read_text(*path, kPlanFileLimit));
    TRY_ASSIGN(PlanFacts facts, ready::parse_facts(text, *path));
    facts.now = now;
    return facts;
  }
  ready::InspectRequest request;
  request.cluster = invocation.cluster();
  request.now = now;
  request.stop = &invocation.stop();
  auto where = repo_location(invocation);
  if (where) request.repository = std::move(*where);
  if (invocation.flag("inspect")) {
    request.conninfo = invocation.conninfo();
    request.tools = true;
  }
  TRY_ASSIGN(PlanFacts facts, ready::inspect(request));
  if (const ConfigBlock* section = invocation.cluster_section())
    for (const ConfigJob& job : section->schedule)
      facts.jobs.push_back(cat(job.name, ": ", job.when, ": ", join(job.words, " ")));
  TRY(add_calibration(invocation, facts));
  return facts;
}

}  // namespace lifeboat::app
