// The delivered RTO, and the cadence of backups that it asks for.
//
// A recovery has to fetch the backup and replay all WAL written since it, in the worst case just before the
// next backup is complete. Restoring is paid for by size, replaying by cadence: a shorter cadence helps only
// as far as the replay is what takes the time. An incremental backup of Lifeboat restores like a full one, so
// cadence costs storage and reading, never restore time.
#include <algorithm>
#include <cmath>

#include "ready/plan/rates.h"
#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kCadences[] = {7 * kDay,  kDay,      12 * kHour, 8 * kHour, 6 * kHour,
                                4 * kHour, 3 * kHour, 2 * kHour,  kHour};

enum class Path : uint8_t { full, instant };

std::string basis_text(const Rates& rates, Path path) {
  const std::string margin = cat("±", number_text(rates.relative_error * 100), " %");
  switch (rates.basis) {
    case RateBasis::none:
      return "nothing was measured";
    case RateBasis::calibration:
      return cat("a short calibration on this host, not a drill: ", margin, ", and not less than ",
                 seconds_text(kCalibrationFloor),
                 ": the preflight and what else the host does are not in it");
    case RateBasis::drills:
      return cat(counted(path == Path::instant ? rates.instant_samples : rates.samples, "drill"),
                 path == Path::instant ? " on mounts" : "", ", the newest of ", rates.newest.to_string(),
                 ": ", margin,
                 rates.replay_calibrated ? cat("; of the replay a calibration on this host: ±",
                                               number_text(kCalibrationError * 100), " %")
                                         : "");
  }
  return "";
}

void add(Delivered& rto, std::string name, double seconds, std::string how) {
  rto.terms.push_back({std::move(name), seconds, std::move(how)});
  rto.seconds = rto.seconds.value_or(0) + seconds;
}

std::optional<double> replay_rate(const Rates& rates, Path path) {
  if (path == Path::instant && rates.instant_replay_bytes_per_second)
    return rates.instant_replay_bytes_per_second;
  return rates.replay_bytes_per_second;
}

// WAL of which weak evidence is all there is: there may be none, and twice as much.
constexpr double kWeakWalError = 1;

// Each term has the error of what it was measured by.
double error_of(const Planning& planning, const Delivered& rto) {
  const Rates& rates = planning.rates;
  double replay = rates.replay_calibrated ? kCalibrationError : rates.relative_error;
  if (planning.volumes.wal_weak) replay = kWeakWalError;
  double seconds = 0;
  for (const Term& term : rto.terms)
    seconds += term.seconds * (term.name == "replay" ? replay : rates.relative_error);
  seconds += rates.fixed_error_seconds;
  return rates.basis == RateBasis::calibration ? std::max(seconds, kCalibrationFloor) : seconds;
}

// What is missing for the arithmetic; "" when nothing is.
std::string missing(const Planning& planning, Path path) {
  std::vector<std::string> parts;
  if (path == Path::full && !planning.volumes.size) parts.emplace_back("the size of the cluster");
  if (!planning.volumes.wal_per_day) {
    const std::string& why = planning.volumes.wal_unknown;
    parts.push_back(cat("the WAL that is written a day", why.empty() ? "" : cat(" (", why, ")")));
  }
  if (path == Path::full && !planning.rates.restore_bytes_per_second)
    parts.emplace_back("the rate of restoring");
  if (path == Path::instant && !planning.rates.instant_seconds) parts.emplace_back("a drill on a mount");
  if (!replay_rate(planning.rates, path))
    parts.emplace_back(planning.rates.basis == RateBasis::drills
                           ? cat("the rate of replaying WAL (the drills replayed less than ",
                                 bytes_text(kLeastReplayed), ")")
                           : std::string("the rate of replaying WAL"));
  return join(parts, ", ");
}

Delivered deliver(const Planning& planning, double every, Path path) {
  const Rates& rates = planning.rates;
  Delivered rto;
  rto.target_seconds = planning.demands.rto_seconds;
  rto.path = path == Path::full ? "restore" : "instant restore";
  if (std::string lacks = missing(planning, path); !lacks.empty()) {
    rto.why = cat("neither stated nor measured: ", lacks);
    return rto;
  }
  rto.basis = basis_text(rates, path);
  if (planning.volumes.wal_weak) rto.basis += "; of the replay ±100 %, because the WAL a day is extrapolated";
  if (path == Path::full) {
    const double size = *planning.volumes.size;
    const double rate = *rates.restore_bytes_per_second;
    add(rto, "restore", size / rate, cat(bytes_text(size), " / ", rate_text(rate)));
  } else {
    add(rto, "mount", *rates.instant_seconds, "measured by drills: until the server starts to recover");
  }
  const double window = every + planning.backup_seconds();
  const double wal = *planning.volumes.wal_per_day * window / kDay;
  const double rate = *replay_rate(rates, path);
  add(rto, "replay", wal / rate,
      cat(bytes_text(wal), " of WAL, written in ", seconds_text(window), " at ",
          bytes_text(*planning.volumes.wal_per_day), " a day (", planning.volumes.wal_how, "), / ",
          rate_text(rate)));
  add(rto, "start", rates.fixed_seconds, "preflight, configuration, start and promotion");
  if (rates.checks_seconds > 0) add(rto, "checks", rates.checks_seconds, "before users are let in again");
  const double retrieval = planning.demands.storage.retrieval_seconds.value_or(0);
  if (retrieval > 0)
    add(rto, "retrieval", retrieval, cat("of objects in class ", planning.demands.storage.storage_class));
  rto.error_seconds = error_of(planning, rto);
  rto.verdict = compare(rto);
  return rto;
}

struct Chosen {
  double every = kDay;
  Delivered rto;
  std::vector<CadenceOption> considered;
};

// The longest cadence of at most a day that meets the target with its error; else the one that comes nearest
// to it.
Chosen choose(const Planning& planning, Path path) {
  Chosen chosen;
  bool found = false;
  for (double every : kCadences) {
    Delivered rto = deliver(planning, every, path);
    const bool meets = rto.verdict == TargetVerdict::met;
    const bool overlaps = every < planning.backup_seconds();
    std::string why =
        overlaps
            ? cat("a backup takes ", seconds_text(planning.backup_seconds()), ", longer than the interval")
        : !rto.seconds ? rto.why
        : meets        ? every > kDay ? "would do; a day is the longest that this plan takes, because an "
                                        "incremental backup costs only what changed"
                                      : "meets the target"
                       : cat(seconds_text(*rto.seconds), " ± ", seconds_text(rto.error_seconds),
                      rto.verdict == TargetVerdict::missed ? " is over " : " reaches across ",
                             seconds_text(rto.target_seconds));
    chosen.considered.push_back({every, rto.seconds, meets && !overlaps, std::move(why)});
    if (every > kDay || found || (overlaps && every < kDay)) continue;
    // A burst of some seconds is no reason to back up every hour.
    if (planning.volumes.wal_weak && every < kDay) continue;
    chosen.every = every;
    chosen.rto = std::move(rto);
    found = meets || !chosen.rto.seconds;
    if (found && !chosen.rto.seconds) chosen.every = kDay;
  }
  return chosen;
}

// Days until growth of the size has used up what is left of the target.
std::optional<double> holds_for(const Planning& planning, const Delivered& rto) {
  const auto& growth = planning.volumes.growth_per_day;
  if (rto.verdict != TargetVerdict::met || rto.path != "restore" || !growth || *growth <= 0)
    return std::nullopt;
  const double left = rto.target_seconds - *rto.seconds - rto.error_seconds;
  return std::floor(left / (1 + planning.rates.relative_error) * *planning.rates.restore_bytes_per_second /
                    *growth);
}

std::string rto_context(const Planning& planning, const Delivered& full, const Delivered& instant) {
  std::string text =
      cat("A full restore takes ", full.seconds ? seconds_text(*full.seconds) : "an unknown time",
          full.seconds ? cat(" ± ", seconds_text(full.error_seconds)) : "", ".");
  if (instant.seconds)
    text += cat(" An instant restore answers the first query after ", seconds_text(*instant.seconds), ".");
  else
    text += " An instant restore answers queries while the rest is fetched; it was not measured here.";
  if (planning.demands.rto_means == RtoMeans::full_speed) text += " The RTO means full speed.";
  return text;
}

DecisionRecord rto_decision(const Planning& planning, const Delivered& full, const Delivered& instant) {
  DecisionRecord record{cat("The RTO of ", seconds_text(planning.demands.rto_seconds), " cannot be met"),
                        rto_context(planning, full, instant),
                        {}};
  if (planning.demands.rto_means == RtoMeans::full_speed)
    record.options.emplace_back(
        "the RTO means the first query (rto_means = first_query): pages that are not there yet "
        "are fetched when they are read");
  record.options.emplace_back(
      "faster restores: a nearer store, faster disks, more workers; a drill shows the new rate");
  record.options.emplace_back(
      "a standby that takes over, decided by who owns the topology; it answers the loss of a "
      "host and not a human error");
  record.options.emplace_back("less to restore: old data to another cluster");
  record.options.emplace_back("the owner states an RTO that can be met");
  return record;
}

std::string cadence_reason(const Planning& planning, const Chosen& chosen) {
  if (planning.volumes.wal_weak && chosen.rto.verdict != TargetVerdict::met)
    return "a day, until the WAL a day is measured and not extrapolated";
  if (!chosen.rto.seconds) return cat("a day, until the arithmetic can be done: ", chosen.rto.why);
  const CadenceOption& weekly = chosen.considered.front();
  std::string text = cat("the longest cadence of at most a day at which the RTO is met by ", chosen.rto.path);
  if (chosen.rto.verdict != TargetVerdict::met)
    text = cat("the cadence at which ", chosen.rto.path, " comes nearest to the RTO");
  if (!weekly.meets)
    text += cat("; a weekly backup is refused: seven days of WAL take ",
                seconds_text(weekly.seconds.value_or(0)), " in all");
  if (planning.backup_seconds() == 0)
    text += "; how long a backup takes was not measured and counts as nothing";
  return text;
}

std::string cron_for(double every) {
  if (every >= 7 * kDay) return "15 1 * * 0";
  if (every >= kDay) return "15 1 * * *";
  if (every >= kHour)
    return every == kHour ? "15 * * * *" : cat("15 1-23/", static_cast<int>(every / kHour), " * * *");
  return cat("*/", static_cast<int>(every / kMinute), " * * * *");
}

void explain_instant(Planning& planning, const Delivered& full) {
  Plan& plan = planning.plan;
  plan.full_speed_seconds = full.seconds;
  const std::string until = full.seconds ? seconds_text(*full.seconds) : "an unknown time";
  plan.methods.push_back(
      {cat("RTO ", seconds_text(planning.demands.rto_seconds)), "restore --instant",
       cat("a full restore takes ", until,
           "; mounted, the server answers while pages are fetched as they are read, and is at full "
           "speed when all of it is there")});
  planning.gap(
      GapWeight::advice, "instant_restore",
      cat("the RTO counts to the first query, by instant restore; until everything is there (about ", until,
          ") reads of pages that are not there yet wait for the repository"),
      "agree to it, or state rto_means = full_speed",
      DecisionRecord{
          "What the RTO means: the first query, or full speed",
          cat("Full speed takes ", until, ", the RTO is ", seconds_text(planning.demands.rto_seconds), "."),
          {"the first query counts (this plan)", "full speed counts: the target is then blocked",
           "a standby that takes over, decided by who owns the topology"}});
}

// The commands that give what the arithmetic lacks, or narrow its error.
std::string what_measures(const Planning& planning, const Delivered& rto) {
  const bool instant = rto.path == "instant restore";
  const std::string drill = instant ? "lifeboat drill" : "lifeboat drill --full";
  std::vector<std::string> stated;
  if (!instant && !planning.volumes.size) stated.emplace_back("database_size_bytes");
  if (!planning.volumes.wal_per_day || planning.volumes.wal_weak) stated.emplace_back("wal_bytes_per_day");
  if (stated.empty()) return drill;
  const bool looked = planning.volumes.wal_weak || !planning.volumes.wal_unknown.empty();
  return cat("lifeboat plan --inspect", looked ? " after a day of usual load" : "", ", or ",
             join(stated, " and "), " in the requirements; ", drill);
}

void rto_gap(Planning& planning, const Delivered& full, const Delivered& instant) {
  const Delivered& rto = planning.plan.rto;
  if (rto.verdict == TargetVerdict::missed) {
    planning.gap(GapWeight::blocking, "rto",
                 cat("RTO: ", rto.path, " delivers ", seconds_text(*rto.seconds), " ± ",
                     seconds_text(rto.error_seconds), ", the target is ", seconds_text(rto.target_seconds)),
                 "decide by the record", rto_decision(planning, full, instant));
  } else if (rto.verdict == TargetVerdict::unknown) {
    planning.gap(GapWeight::critical, "rto_unproven",
                 rto.seconds ? cat("RTO: ", rto.path, " delivers ", seconds_text(*rto.seconds), " ± ",
                                   seconds_text(rto.error_seconds), ", which reaches across the target of ",
                                   seconds_text(rto.target_seconds))
                             : cat("RTO: ", rto.path, ": ", rto.why),
                 what_measures(planning, rto));
  }
}

void wal_gap(Planning& planning) {
  if (!planning.volumes.wal_weak) return;
  planning.gap(GapWeight::critical, "wal_rate",
               cat("WAL a day: ", bytes_text(*planning.volumes.wal_per_day), " by ", planning.volumes.wal_how,
                   ": extrapolated, not measured"),
               "lifeboat plan --inspect after a day of usual load, or wal_bytes_per_day in the requirements");
}

void physical_rto(Planning& planning) {
  Plan& plan = planning.plan;
  wal_gap(planning);
  Chosen full = choose(planning, Path::full);
  Chosen instant = choose(planning, Path::instant);
  const bool allowed = planning.demands.rto_means == RtoMeans::first_query;
  bool take_instant = false;
  if (allowed && full.rto.verdict != TargetVerdict::met && full.rto.seconds) {
    take_instant =
        instant.rto.verdict == TargetVerdict::met ||
        (full.rto.verdict == TargetVerdict::missed && instant.rto.verdict == TargetVerdict::unknown);
    // Whatever a mount takes, the replay has to be paid for: where that alone is too much, nothing is open.
    if (take_instant && !instant.rto.seconds && replay_rate(planning.rates, Path::instant)) {
      const double window = kHour + planning.backup_seconds();
      const double wal = planning.volumes.wal_weak ? 0 : *planning.volumes.wal_per_day * window / kDay;
      const double least = wal / *replay_rate(planning.rates, Path::instant) + planning.rates.fixed_seconds;
      take_instant = least / (1 + planning.rates.relative_error) <= planning.demands.rto_seconds;
    }
  }
  // Where both miss, the one that misses by less is told.
  if (allowed && full.rto.verdict == TargetVerdict::missed && instant.rto.verdict == TargetVerdict::missed)
    take_instant = *instant.rto.seconds < *full.rto.seconds;
  const Delivered full_rto = full.rto;
  const Delivered instant_rto = instant.rto;
  if (take_instant && !instant.rto.seconds) instant.every = full.every;
  Chosen& chosen = take_instant ? instant : full;
  plan.rto = chosen.rto;
  plan.cadence = {chosen.every, cron_for(chosen.every), cadence_reason(planning, chosen),
                  std::move(chosen.considered)};
  if (take_instant && plan.rto.verdict != TargetVerdict::missed) explain_instant(planning, full_rto);
  plan.rto.holds_days = holds_for(planning, plan.rto);
  rto_gap(planning, full_rto, instant_rto);
}

void dump_rto(Planning& planning) {
  Plan& plan = planning.plan;
  Delivered& rto = plan.rto;
  rto.target_seconds = planning.demands.rto_seconds;
  rto.path = "a dump restore";
  rto.basis = basis_text(planning.rates, Path::full);
  plan.cadence.cron = cron_for(plan.cadence.every_seconds);
  plan.cadence.reason = "the longest interval of dumps that the RPO allows";
  const ProviderTerms& provider = planning.demands.provider;
  if (plan.method == Method::provider && provider.rto_seconds && plan.rpo.path != "the schedule of dumps") {
    rto.path = "the provider's restore";
    rto.basis = "stated by the provider, measured by nobody";
    add(rto, "provider", *provider.rto_seconds,
        provider.source.empty() ? "stated, without a source" : provider.source);
  } else if (planning.volumes.size && planning.rates.dump_restore_bytes_per_second) {
    const double rate = *planning.rates.dump_restore_bytes_per_second;
    add(rto, "dump restore", *planning.volumes.size / rate,
        cat(bytes_text(*planning.volumes.size), " / ", rate_text(rate), ", indexes and ANALYZE included"));
    add(rto, "start", planning.rates.fixed_seconds, "a server to restore into");
    rto.error_seconds = *rto.seconds * planning.rates.relative_error + planning.rates.fixed_error_seconds;
  } else {
    rto.why = "the rate of restoring dumps was not measured (lifeboat drill --dump latest)";
  }
  rto.verdict = compare(rto);
  if (rto.verdict == TargetVerdict::missed)
    return planning.gap(
        GapWeight::blocking, "rto",
        cat("RTO: ", rto.path, " delivers ", seconds_text(*rto.seconds), " ± ",
            seconds_text(rto.error_seconds), ", the target is ", seconds_text(rto.target_seconds)),
        "decide by the record",
        DecisionRecord{
            cat("The RTO of ", seconds_text(rto.target_seconds), " cannot be met"),
            cat("Restoring a dump builds every index again; it takes ", seconds_text(*rto.seconds), "."),
            {"physical backups, which restore several times as fast (self-managed)",
             "a standby that takes over, decided by who owns the topology",
             "the owner states an RTO that can be met"}});
  if (rto.verdict == TargetVerdict::unknown)
    planning.gap(GapWeight::critical, "rto_unproven",
                 rto.seconds ? cat("RTO: ", seconds_text(*rto.seconds), " ± ",
                                   seconds_text(rto.error_seconds), " reaches across the target")
                             : cat("RTO: ", rto.why),
                 "lifeboat drill --dump latest");
}

}  // namespace

void choose_cadence(Planning& planning) {
  if (planning.physical())
    physical_rto(planning);
  else
    dump_rto(planning);
  Plan& plan = planning.plan;
  if (!planning.physical()) {
    plan.dump_cron = plan.cadence.cron;
  } else if (plan.profile == Profile::small_production) {
    plan.dump_cron = "30 3 * * *";
  }
}

}  // namespace lifeboat::ready
