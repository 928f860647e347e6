// Detectors of disks that fill, and of damage.
#include <algorithm>

#include "ready/heal/look.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

double used(const ops::DiskFacts& disk) {
  return disk.total_bytes == 0
             ? 0
             : 1 - static_cast<double>(disk.free_bytes) / static_cast<double>(disk.total_bytes);
}

std::string percent(double share) {
  return format_value(share, Unit::ratio);
}

Thresholds storage_thresholds(const HealLook& look) {
  const Reading* storage = look.reading("storage_used");
  return storage != nullptr ? storage->policy.thresholds : find_signal("storage_used")->thresholds;
}

void damaged_backup(HealLook& look) {
  const auto& backups = look.doctor().repository.backups;
  if (backups.empty() || backups.back().state != repo::BackupState::damaged) return;
  HealFinding& finding =
      look.add("corruption", cat("backup ", backups.back().id.text), Rank::critical,
               cat(counted(backups.back().broken_pages, "page"), " of the database were broken when backup ",
                   backups.back().id.text, " was taken"));
  finding.cites = {"cards of the repository"};
}

void failed_checksums(HealLook& look) {
  const auto& asked = look.facts.signals.server.checksums;
  if (!asked || asked->empty()) return;
  HealFinding& finding = look.add("corruption", "data directory", Rank::critical, describe(*asked));
  finding.cites = {look.cite("checksum_failures")};
}

void failed_proof(HealLook& look) {
  const auto& repository = look.doctor().repository;
  for (auto card = repository.backups.rbegin(); card != repository.backups.rend(); ++card) {
    const ops::BackupProofs* proofs = repository.proofs.of(card->id);
    if (proofs == nullptr) continue;
    const auto& verified = proofs->verified;
    if (!verified || verified->passed) continue;
    HealFinding& finding =
        look.add("backup_damaged", cat("backup ", card->id.text), Rank::critical,
                 cat("verify found backup ", card->id.text, " damaged",
                     verified->problems.empty() ? "" : cat(": ", verified->problems.front())));
    finding.cites = {cat("evidence ", verified->evidence)};
    finding.proposal =
        "take a full backup (lifeboat backup --type full) and look at the repository's disk; what is "
        "damaged is not used by restores";
    return;
  }
}

}  // namespace

void look_at_spool(HealLook& look) {
  const Thresholds limits = storage_thresholds(look);
  for (const SpoolFacts& spool : look.facts.probe.spools) {
    if (!spool.disk || spool.bytes() == 0) continue;
    const Verdict verdict = judge(used(*spool.disk), limits, Worse::above);
    if (rank_of(verdict) == Rank::fine) continue;
    HealFinding& finding = look.add(
        "spool_full", spool.directory, rank_of(verdict),
        cat("the file system of ", spool.directory, " is ", percent(used(*spool.disk)), " full, and ",
            format_bytes(spool.bytes()), " in it were left by fetchers that are gone"));
    finding.cites = {cat("statvfs() of ", spool.directory), look.cite("storage_used")};
    finding.action = HealAction::spool;
    finding.proposal = cat("remove what they left, ", format_bytes(spool.bytes()),
                           " of fetched WAL: the repository has all of it");
    return;
  }
}

void look_at_disks(HealLook& look) {
  for (std::string_view id : {"storage_used", "repository_used"}) {
    const Reading* reading = look.reading(id);
    if (reading == nullptr || rank_of(reading->verdict) == Rank::fine || reading->verdict == Verdict::unknown)
      continue;
    HealFinding& finding =
        look.add(std::string(id), "file systems", rank_of(reading->verdict), reading->found);
    finding.cites = {look.cite(id)};
    finding.proposal = reading->action;
  }
}

void look_at_corruption(HealLook& look) {
  failed_checksums(look);
  damaged_backup(look);
  for (HealFinding& finding : look.findings) {
    if (finding.id != "corruption") continue;
    const auto& data = look.doctor().data;
    finding.proposal = cat(
        "locate the blocks (",
        ops::our_command(look.doctor(), "heal blocks", data ? cat("--pgdata ", shell_quote(data->path)) : ""),
        "), then rebuild them on the stopped server with --to DIR; never done by itself. Once "
        "they are whole, SELECT pg_stat_reset() and then ANALYZE in that database end the count");
  }
  failed_proof(look);
}

}  // namespace lifeboat::ready
