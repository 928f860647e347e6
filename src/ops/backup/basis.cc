#include "ops/backup/basis.h"

#include <random>

#include "ops/backup/proof_sample.h"
#include "ops/backup/source_wal.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Fills in the reference and what changed since it, or why there is none.
Status find_changes(const ChosenLineage& lineage, const Reference& reference,
                    const pg::TimelineHistory& history, ServerWal& wal, const pg::ControlFile& control,
                    const pg::BackupStart& start, Basis& basis, Reporter& reporter, StopToken& stop) {
  const repo::Card& card = *reference.card;
  basis.why_all = cannot_stand_on(card, history, start.start_lsn);
  if (!basis.why_all.empty()) return {};
  auto manifest = repo::read_manifest(lineage.repo, card.id);
  if (!manifest) {
    // A broken backup must not be the reason that there is no other.
    if (!repo::is_lost(manifest.error())) return std::move(manifest).error();
    basis.why_all = manifest.error().to_string();
    return {};
  }
  if (manifest->block_size != control.block_size) {
    basis.why_all = cat("backup ", card.id.text, " has blocks of ", manifest->block_size, " bytes");
    return {};
  }
  basis.reference = std::move(*manifest);
  if (card.data_checksums != control.checksums()) {
    basis.why_all = cat("data checksums were turned ", card.data_checksums ? "off" : "on", " since backup ",
                        card.id.text);
    return {};
  }
  ChangesRequest request{&lineage, history, card.start_lsn, start.start_lsn, &wal, true};
  TRY_ASSIGN(basis.changes, read_changes(request, reporter, stop));
  basis.why_all = basis.changes.unusable;
  return {};
}

}  // namespace

Result<Basis> find_basis(const ChosenLineage& lineage, const Reference& reference,
                         const std::vector<repo::Attempt>& attempts, pg::FileSource& files,
                         const pg::ControlFile& control, const pg::BackupStart& start, Reporter& reporter,
                         StopToken& stop) {
  Basis basis;
  basis.why_all = reference.why_none;
  if (!reference.card && attempts.empty()) return basis;
  auto history = server_history(files, lineage.repo, start.timeline);
  SourceWal wal(files);
  if (reference.card) {
    TRY(history);
    TRY(find_changes(lineage, reference, *history, wal, control, start, basis, reporter, stop));
  }
  if (basis.reference) {
    TRY_ASSIGN(basis.carry, Carry::plan(lineage.repo, *basis.reference, basis.changes.map.changed_blocks(),
                                        std::random_device()()));
  }
  TRY_ASSIGN(basis.attempts,
             resume_attempts(lineage, attempts, history, wal, control, start, reporter, stop));
  return basis;
}

Status require_basis(const std::optional<BackupType>& asked, const Basis& basis) {
  if (basis.reference || !asked || *asked == BackupType::full) return {};
  return make_error(ErrorKind::precondition, cat("--type ", to_string(*asked)), basis.why_all)
      .with_hint("--type auto makes a full backup where there is nothing to stand on");
}

Status copy_by_basis(Basis& basis, pg::FileSource& files, const pg::ControlFile& control, Lsn start,
                     const std::function<Status(Incremental*)>& copy, StopToken& stop) {
  if (!basis.reference && basis.attempts.empty()) return copy(nullptr);
  std::random_device seed;
  ProofSample sample(seed());
  IncrementalSources sources;
  if (basis.reference) sources.reference = &*basis.reference;
  if (basis.mapped()) sources.map = &basis.changes.map;
  if (!basis.attempts.empty()) sources.attempts = &basis.attempts;
  sources.trust_attempts = basis.trust_attempts;
  sources.carry = &basis.carry;
  sources.block_size = control.block_size;
  sources.segment_blocks = control.relation_segment_blocks;
  sources.sample = &sample;
  Incremental incremental(sources);
  TRY(copy(&incremental));
  TRY_ASSIGN(ProofSample::Verdict verdict, sample.judge(files, control.block_size, start, stop));
  basis.proven_blocks = verdict.blocks;
  if (!verdict.missed) return {};
  basis.why_all = cat("the change map missed block ", verdict.missed->block, " of ", verdict.missed->path,
                      ", changed at ", verdict.missed->lsn.to_string());
  basis.warning =
      cat(basis.why_all, "; everything was read instead. This is a bug of lifeboat, please report it");
  sources.map = nullptr;
  sources.trust_attempts = false;
  Incremental without_maps(sources);
  return copy(&without_maps);
}

void record_basis(const std::optional<BackupType>& asked, const Basis& basis, repo::Card& card) {
  card.type = basis.reference ? asked.value_or(BackupType::incr) : BackupType::full;
  if (basis.reference) card.reference = basis.reference->card.id;
  for (const ResumedAttempt& attempt : basis.attempts) card.continued.push_back(attempt.record.id);
  if (asked != BackupType::full && card.reason.empty()) card.reason = basis.why_all;
}

}  // namespace lifeboat::ops
