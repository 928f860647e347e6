// Detectors of the receiver's slot, the receiver, gaps of the stored WAL, and standbys.
#include <algorithm>

#include "ready/heal/look.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

bool on_primary(const HealLook& look) {
  return look.doctor().server && !look.doctor().server->in_recovery;
}

// Null: the server has no such slot, or it could not be asked for it.
const pg::SlotFacts* slot_of(const HealLook& look, const std::string& name) {
  const auto& slots = look.doctor().server->slots;
  auto found = std::ranges::find(slots, name, &pg::SlotFacts::name);
  return found == slots.end() ? nullptr : &*found;
}

bool slots_were_refused(const HealLook& look) {
  return std::ranges::any_of(look.doctor().server->refused, [](const pg::RefusedFact& one) {
    return one.fact.find("slot") != std::string::npos;
  });
}

}  // namespace

void look_at_slot(HealLook& look) {
  const auto& wanted = look.facts.probe.wanted_slot;
  if (!wanted || !on_primary(look) || slots_were_refused(look)) return;
  const pg::SlotFacts* slot = slot_of(look, wanted->name);
  const bool lost = slot != nullptr && slot->wal_status == "lost";
  if (slot != nullptr && !lost) return;
  HealFinding& finding = look.add(
      lost ? "slot_lost" : "slot_missing", wanted->name, Rank::critical,
      lost ? cat("the server has given the slot ", wanted->name, " up: it keeps no WAL for the receiver")
           : cat("the slot ", wanted->name, " is not there, and the server keeps no WAL for the receiver (",
                 wanted->because, ")"));
  finding.cites = {"pg_replication_slots", look.cite("replication_lag")};
  finding.action = HealAction::slot;
  finding.proposal = cat(lost ? "drop it and make it again" : "make it again",
                         "; record in the repository what WAL is lost, if any");
}

void look_at_receiver(HealLook& look) {
  const auto& wanted = look.facts.probe.wanted_slot;
  const DaemonProbe& daemon = look.facts.probe.daemon;
  if (!wanted || !on_primary(look) || daemon.receiver.empty()) return;
  const pg::SlotFacts* slot = slot_of(look, wanted->name);
  if (slot == nullptr || slot->active || slot->wal_status == "lost") return;
  const double stuck = static_cast<double>(look.policy.stuck_us) / 1e6;
  const bool runs = daemon.receiver == "running";
  const double watched = std::min(stuck, static_cast<double>(kLongestWatchUs) / 1e6);
  if (daemon.receiver_seconds < stuck || (runs && look.facts.probe.slot_idle_seconds < watched)) return;
  HealFinding& finding =
      look.add("receiver_stuck", wanted->name, Rank::critical,
               cat("nobody is connected to the slot ", wanted->name, "; the daemon's wal receive is ",
                   daemon.receiver, " for ", format_seconds(daemon.receiver_seconds),
                   daemon.receiver_error.empty() ? "" : cat(": ", daemon.receiver_error)));
  finding.cites = {"pg_replication_slots", cat("daemon at ", daemon.socket)};
  if (runs) {
    finding.action = HealAction::receiver;
    finding.proposal = "have the daemon end it and start it again";
  } else {
    finding.proposal = "mend what its error says: the daemon goes on trying";
  }
}

void look_at_gaps(HealLook& look) {
  const Reading* gaps = look.reading("wal_gaps");
  if (gaps == nullptr || rank_of(gaps->verdict) != Rank::critical) return;
  const auto& continuity = look.doctor().repository.continuity;
  HealFinding& finding =
      look.add("wal_gap", continuity && continuity->missing ? continuity->missing->to_string() : "WAL",
               Rank::critical, gaps->found);
  finding.cites = {look.cite("wal_gaps")};
  if (continuity && continuity->conflict) {
    finding.proposal =
        "find the other server that archives under this identity (split brain, or a copy that went on "
        "archiving) and stop that; then take a backup";
  } else if (!on_primary(look)) {
    finding.proposal = "run this on the primary's host: the gap is closed or left behind there";
  } else if (look.found("repository_refuses") || look.found("repository_rotated")) {
    finding.proposal = "the repository first: see above";
  } else {
    finding.action = HealAction::backup;
    // Several holes come at once, and pg_wal does not keep their segments for long.
    finding.counts_alone = look.facts.probe.gap_in_pg_wal;
    finding.proposal =
        look.facts.probe.gap_in_pg_wal
            ? cat("store ", continuity->missing->to_string(), " from pg_wal, which still has it")
            : std::string("take a new backup: recovery begins anew behind the gap");
  }
}

void look_at_standby(HealLook& look) {
  const HealProbe& probe = look.facts.probe;
  const Reading* lag = look.reading("replication_lag");
  const Reading* gaps = look.reading("wal_gaps");
  if (probe.standby && probe.standby->state == ops::StandbyState::beyond_repair) {
    const std::string directory = look.doctor().data ? look.doctor().data->path : "";
    HealFinding& finding =
        look.add("standby_beyond_repair", directory, Rank::critical, cat("the standby ", probe.standby->why));
    finding.cites = {"pg_stat_wal_receiver", "START_REPLICATION on its primary",
                     look.cite("replication_lag")};
    if (directory.empty()) {
      finding.proposal = "run this on the standby's host, with --pgdata";
    } else if (look.doctor().patroni) {
      finding.proposal = "patronictl reinit: Patroni makes its standbys";
    } else if (!probe.service.empty()) {
      finding.proposal = cat("lifeboat heal --apply, by hand or from cron, makes it anew: a server that ",
                             probe.service, " starts would end with it and be confined as it is");
    } else if (gaps != nullptr && rank_of(gaps->verdict) == Rank::critical) {
      finding.proposal =
          "take a backup first (lifeboat backup): a standby from the newest one would end at the same gap";
    } else {
      finding.action = HealAction::standby;
      finding.proposal =
          cat("stop it, make it anew from the newest backup, start it; ", directory, " is kept aside");
    }
    return;
  }
  if (probe.standby && (probe.standby->state == ops::StandbyState::unclear ||
                        probe.standby->state == ops::StandbyState::catching_up)) {
    HealFinding& finding = look.add("standby_not_streaming", "standby", Rank::attention,
                                    cat("the standby ", probe.standby->why));
    finding.cites = {"pg_stat_wal_receiver", look.cite("replication_lag")};
    finding.proposal = lag == nullptr ? "see its log" : lag->action;
    return;
  }
  if (lag == nullptr || rank_of(lag->verdict) == Rank::fine) return;
  if (look.found("server_down")) return;  // which says all that is known
  // The receiver's own slot is told of above.
  const auto& wanted = probe.wanted_slot;
  const bool ours =
      wanted && !lag->parts.empty() && std::ranges::all_of(lag->parts, [&](const SignalPart& part) {
        return rank_of(part.verdict) == Rank::fine || part.object == cat("slot ", wanted->name);
      });
  if (ours) return;
  HealFinding& finding = look.add("replication_lag", "standbys", rank_of(lag->verdict), lag->found);
  finding.cites = {look.cite("replication_lag")};
  finding.proposal =
      cat(lag->action, "; one that lost its WAL is made anew on its own host: lifeboat heal there");
}

}  // namespace lifeboat::ready
