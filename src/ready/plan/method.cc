// Which method answers which requirement, and what must not be done.
#include <algorithm>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kSmallBytes = 100e9;         // P5
constexpr double kDumpsOnlyRpo = 12 * kHour;  // more frequent dumps cost more than archiving does
constexpr double kArchiverPause = kMinute;    // after three failed attempts (src/backend/postmaster/pgarch.c)
constexpr double kShortestTimeout = kMinute;

bool has(const std::vector<std::string>& list, std::string_view value) {
  return std::ranges::find(list, value) != list.end();
}

std::optional<double> dump_restore_seconds(const Planning& planning) {
  if (!planning.volumes.size || !planning.rates.dump_restore_bytes_per_second) return std::nullopt;
  return *planning.volumes.size / *planning.rates.dump_restore_bytes_per_second +
         planning.rates.fixed_seconds;
}

// Dumps alone: a small or throw-away database whose owner can lose half a day or more, unless it is measured
// that they restore too slowly.
bool dumps_suffice(const Planning& planning) {
  const Plan& plan = planning.plan;
  if (plan.profile == Profile::production || planning.demands.rpo_seconds < kDumpsOnlyRpo) return false;
  if (planning.rates.restore_bytes_per_second) {
    auto seconds = dump_restore_seconds(planning);
    if (seconds && *seconds > planning.demands.rto_seconds) return false;
  }
  return true;
}

std::string physical_reason(const Planning& planning) {
  const double rpo = planning.demands.rpo_seconds;
  const double lag = planning.archive_lag_seconds();
  switch (planning.plan.method) {
    case Method::synchronous:
      return "nothing may be lost: a commit is answered only when its WAL is in the repository or on a "
             "standby, "
             "which nothing asynchronous can promise";
    case Method::streaming:
      return cat("archiving cannot promise an RPO of ", seconds_text(rpo), ": a segment is closed after ",
                 seconds_text(kShortestTimeout), " at the earliest, its storing takes ", seconds_text(lag),
                 ", and the archiver pauses for ", seconds_text(kArchiverPause),
                 " after three failed attempts. Streamed WAL is stored within a second of being written");
    default:
      return cat("archive_timeout bounds what is lost, and an RPO of ", seconds_text(rpo),
                 " leaves room for the archiver's pause of ", seconds_text(kArchiverPause));
  }
}

void choose_for_levels(Planning& planning) {
  Plan& plan = planning.plan;
  const Requirements& demands = planning.demands;
  const bool physical = planning.physical();
  for (const std::string& level : demands.recovery_levels) {
    if (level == "cluster") {
      plan.methods.push_back({"whole cluster",
                              physical ? "lifeboat restore" : "dump restore --globals, then every database",
                              physical ? "from a physical backup to any moment of the window"
                                       : "to the moment of a dump and no other"});
    } else if (level == "database") {
      plan.methods.push_back(
          {"one database", physical ? "lifeboat restore --database" : "lifeboat dump restore",
           physical ? "from the physical backup and WAL, to any moment of the window, beside the server"
                    : "one dump per database and one of the globals, so that each comes back alone"});
    } else if (level == "table") {
      plan.methods.push_back(
          {demands.tables.empty() ? std::string("one table") : cat("tables ", join(demands.tables, ", ")),
           physical ? "lifeboat restore --table" : "lifeboat dump restore --table",
           "into a scratch database, compared by key, then merged; never a data-only load "
           "into a live table"});
    } else {
      plan.methods.push_back({"schema only", "lifeboat dump create --schema-only",
                              "definitions without rows, for a server that is to be like this one"});
    }
  }
}

void choose_dumps(Planning& planning) {
  const bool one = planning.demands.databases.size() == 1 ||
                   (planning.demands.databases.empty() && planning.facts.server &&
                    planning.facts.server->databases.size() == 1);
  planning.plan.methods.push_back(
      {"logical copy",
       one ? "a dump in custom format, and the globals" : "the globals, and one dump per database",
       one ? "one small database: selective restore, any newer major, no dependence on this server's files"
           : "roles and tablespaces belong to no database; a dump per database restores alone and in "
             "parallel"});
}

void refuse(Planning& planning) {
  Plan& plan = planning.plan;
  const Requirements& demands = planning.demands;
  if (demands.rpo_seconds < kDay || planning.physical())
    plan.refused.emplace_back(
        "dumps as point-in-time recovery: a dump leads to the moment of its snapshot and no further, "
        "whatever "
        "WAL is kept");
  const double lag = planning.archive_lag_seconds();
  auto timeout = parse_u64(planning.setting("archive_timeout"));
  if (!planning.physical()) return;
  if (demands.rpo_seconds > 0 && demands.rpo_seconds <= kDay)
    plan.refused.push_back(cat(
        "archive_timeout = ", number_text(demands.rpo_seconds), " for an RPO of ",
        seconds_text(demands.rpo_seconds), ": ", number_text(demands.rpo_seconds), " s + ", number_text(lag),
        " s of storing = ", number_text(demands.rpo_seconds + lag), " s, which is over it"));
  if (timeout && *timeout != static_cast<uint64_t>(demands.rpo_seconds) &&
      (*timeout == 0 || static_cast<double>(*timeout) + lag > demands.rpo_seconds) &&
      plan.method == Method::archiving)
    plan.refused.push_back(
        *timeout == 0
            ? std::string("archive_timeout = 0, as it is now: a quiet server keeps its last segment for ever")
            : cat("archive_timeout = ", *timeout, ", as it is now: with ", number_text(lag),
                  " s of storing it loses up to ", number_text(static_cast<double>(*timeout) + lag), " s"));
}

}  // namespace

void settle_profile(Planning& planning) {
  Plan& plan = planning.plan;
  if (planning.demands.profile) {
    plan.profile = *planning.demands.profile;
    plan.profile_reason = "stated";
    return;
  }
  const auto& size = planning.volumes.size;
  plan.profile = size && *size < kSmallBytes ? Profile::small_production : Profile::production;
  plan.profile_reason = size ? cat("from the size, ", bytes_text(*size)) : "the size is not known";
}

void choose_method(Planning& planning) {
  Plan& plan = planning.plan;
  const Requirements& demands = planning.demands;
  const double shortest = kShortestTimeout + kArchiverPause + planning.archive_lag_seconds();
  std::string reason;
  if (demands.substrate == Substrate::managed) {
    plan.method = Method::provider;
    reason =
        "a managed service lets nobody read its files or its WAL: point-in-time recovery is the provider's, "
        "and "
        "dumps are the copy that does not depend on the provider";
  } else if (dumps_suffice(planning)) {
    plan.method = Method::dumps;
    reason = cat("profile ", to_string(plan.profile), ", and an RPO of ", seconds_text(demands.rpo_seconds),
                 " is met by dumps; nobody asked for point-in-time recovery");
  } else {
    plan.method = demands.rpo_seconds < 1          ? Method::synchronous
                  : demands.rpo_seconds < shortest ? Method::streaming
                                                   : Method::archiving;
    reason = physical_reason(planning);
  }
  plan.methods.push_back(
      {cat("RPO ", seconds_text(demands.rpo_seconds)), std::string(to_string(plan.method)), reason});
  choose_for_levels(planning);
  const bool wants_dump = !planning.physical() || plan.profile == Profile::small_production ||
                          has(demands.recovery_levels, "schema");
  if (wants_dump) choose_dumps(planning);
  refuse(planning);
}

}  // namespace lifeboat::ready
