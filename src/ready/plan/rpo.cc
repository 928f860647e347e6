// The delivered RPO: how often WAL, or a dump, leaves the server, and how long it takes to be stored.
#include <algorithm>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kTimeouts[] = {kHour,       30 * kMinute, 15 * kMinute, 10 * kMinute,
                                5 * kMinute, 3 * kMinute,  2 * kMinute,  kMinute};
constexpr double kDumpIntervals[] = {kDay,      12 * kHour, 8 * kHour, 6 * kHour,
                                     4 * kHour, 3 * kHour,  2 * kHour, kHour};
constexpr double kArchiverPause = kMinute;
constexpr double kReceiveInterval = 1;  // of wal receive, by default
constexpr double kAssumedNetworkLag = 1;

void add(Delivered& rpo, std::string name, double seconds, std::string how) {
  rpo.terms.push_back({std::move(name), seconds, std::move(how)});
  rpo.seconds = rpo.seconds.value_or(0) + seconds;
}

std::string lag_how(const Planning& planning) {
  return planning.facts.server && planning.facts.server->archive_seconds
             ? "measured: from a finished segment to its being stored"
             : "assumed until lifeboat plan --inspect finds archived segments in pg_wal to measure it by";
}

void by_archiving(Planning& planning) {
  Delivered& rpo = planning.plan.rpo;
  const double lag = planning.archive_lag_seconds();
  double timeout = kMinute;
  for (double candidate : kTimeouts) {
    if (candidate + kArchiverPause + lag > rpo.target_seconds) continue;
    timeout = candidate;
    break;
  }
  // A server that closes its segments sooner goes on doing so.
  const double now = static_cast<double>(parse_u64(planning.setting("archive_timeout")).value_or(0));
  if (now > 0) timeout = std::min(timeout, now);
  rpo.path = "archiving";
  add(rpo, "archive_timeout", timeout, "a segment waits so long at most before it is closed");
  add(rpo, "storing a segment", lag, lag_how(planning));
  rpo.error_seconds = kArchiverPause;
  rpo.basis = "settings of this plan; the error is the archiver's pause after three failed attempts";
}

void by_streaming(Planning& planning) {
  Delivered& rpo = planning.plan.rpo;
  rpo.path = "streaming";
  add(rpo, "wal receive --interval", kReceiveInterval,
      "received WAL waits so long at most before it is stored");
  add(rpo, "network and storing", kAssumedNetworkLag, "assumed until lifeboat wal status has measured it");
  rpo.error_seconds = kAssumedNetworkLag;
  rpo.basis = "settings of this plan; an interrupted connection adds its length until it is back";
}

void by_synchronous(Planning& planning) {
  Delivered& rpo = planning.plan.rpo;
  rpo.path = "synchronous streaming";
  add(rpo, "acknowledged commits", 0,
      "a commit is answered when its WAL is stored; what was not answered may be lost");
  rpo.basis = "synchronous_standby_names of this plan";
  const bool off = planning.setting("synchronous_commit") == "off";
  if (off)
    planning.gap(GapWeight::critical, "synchronous_commit",
                 "synchronous_commit = off: commits are answered before their WAL is on any disk",
                 "set it to on; sessions and roles that turn it off give up the RPO for themselves");
  uint64_t standbys = 0;
  if (planning.facts.server)
    for (const KnownStandby& one : planning.facts.server->standbys) standbys += one.receiver ? 0 : 1;
  if (standbys == 0)
    planning.gap(
        GapWeight::critical, "synchronous_pair",
        "with wal receive as the only synchronous receiver, commits wait whenever it or the repository "
        "is away",
        "name at least one standby beside it: ANY 1 (lifeboat, standby1)",
        DecisionRecord{"What waits when the synchronous receiver is away",
                       "An RPO of 0 means that commits wait while nobody can store their WAL.",
                       {"a second receiver or a standby, in another failure domain",
                        "accept that writing stops with the receiver",
                        "state an RPO of some seconds and stream asynchronously"}});
}

void by_dumps(Planning& planning) {
  Delivered& rpo = planning.plan.rpo;
  std::optional<double> dump;
  if (planning.volumes.size && planning.rates.dump_bytes_per_second)
    dump = *planning.volumes.size / *planning.rates.dump_bytes_per_second;
  double every = kHour;
  for (double candidate : kDumpIntervals) {
    if (candidate + dump.value_or(0) * (1 + planning.rates.relative_error) > rpo.target_seconds) continue;
    every = candidate;
    break;
  }
  // Whatever time a dump takes, it makes 24 hours of interval more than 24 hours of loss.
  if (!dump && every == rpo.target_seconds) every /= 2;
  planning.plan.cadence.every_seconds = every;
  rpo.path = "the schedule of dumps";
  add(rpo, "interval of dumps", every, "a dump leads to the moment at which it began");
  if (dump) {
    add(rpo, "duration of a dump", *dump,
        cat(bytes_text(*planning.volumes.size), " / ", rate_text(*planning.rates.dump_bytes_per_second)));
    rpo.error_seconds = *dump * planning.rates.relative_error;
    rpo.basis = "the schedule of this plan and the measured rate of pg_dump";
  } else {
    rpo.basis = "the schedule of this plan";
    rpo.why = "how long a dump takes was not measured, and is to be added";
  }
}

DecisionRecord rpo_decision(const Planning& planning) {
  DecisionRecord record;
  record.title = cat("The RPO of ", seconds_text(planning.demands.rpo_seconds), " cannot be met");
  record.context =
      cat(planning.plan.rpo.path, " delivers ", seconds_text(planning.plan.rpo.seconds.value_or(0)), " on a ",
          to_string(planning.demands.substrate), " substrate.");
  if (planning.plan.method == Method::provider) {
    record.options = {
        "state what the provider promises for its point-in-time recovery (provider.rpo_seconds), and "
        "rehearse it",
        "move to a substrate on which WAL can be streamed", "the owner states an RPO that dumps can meet"};
  } else {
    record.options = {"stream WAL synchronously (an RPO of 0), and accept that commits wait",
                      "the owner states an RPO that can be met"};
  }
  return record;
}

}  // namespace

void compute_rpo(Planning& planning) {
  Delivered& rpo = planning.plan.rpo;
  rpo.target_seconds = planning.demands.rpo_seconds;
  const ProviderTerms& provider = planning.demands.provider;
  switch (planning.plan.method) {
    case Method::archiving:
      by_archiving(planning);
      break;
    case Method::streaming:
      by_streaming(planning);
      break;
    case Method::synchronous:
      by_synchronous(planning);
      break;
    case Method::dumps:
      by_dumps(planning);
      break;
    case Method::provider:
      by_dumps(planning);
      if (provider.rpo_seconds && *provider.rpo_seconds < rpo.seconds.value_or(0)) {
        rpo = {};
        rpo.target_seconds = planning.demands.rpo_seconds;
        rpo.path = "the provider's point-in-time recovery";
        add(rpo, "provider", *provider.rpo_seconds,
            provider.source.empty() ? std::string("stated, without a source") : provider.source);
        rpo.basis = "stated by the provider, measured by nobody";
      }
      break;
  }
  rpo.verdict = compare(rpo);
  if (rpo.verdict == TargetVerdict::met && !rpo.why.empty()) rpo.verdict = TargetVerdict::unknown;
  if (rpo.verdict == TargetVerdict::missed)
    planning.gap(GapWeight::blocking, "rpo",
                 cat("RPO: ", rpo.path, " delivers ", seconds_text(*rpo.seconds), ", the target is ",
                     seconds_text(rpo.target_seconds)),
                 "decide by the record", rpo_decision(planning));
}

}  // namespace lifeboat::ready
