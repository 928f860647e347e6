#include "ops/backup/basis.h"

#include <random>

#include "ops/backup/proof_sample.h"
#include "ops/backup/source_wal.h"
#include "util/strings.h"

namespace lifeboat::ops {

Result<Basis> find_basis(const ChosenLineage& lineage, const Reference& reference, pg::FileSource& files,
                         const pg::ControlFile& control, const pg::BackupStart& start, Reporter& reporter,
                         StopToken& stop) {
  Basis basis;
  basis.why_all = reference.why_none;
  if (!reference.card) return basis;
  const repo::Card& card = *reference.card;
  TRY_ASSIGN(pg::TimelineHistory history, server_history(files, lineage.repo, start.timeline));
  basis.why_all = cannot_stand_on(card, history, start.start_lsn);
  if (!basis.why_all.empty()) return basis;
  auto manifest = repo::read_manifest(lineage.repo, card.id);
  if (!manifest) {
    // A broken backup must not be the reason that there is no other.
    ErrorKind kind = manifest.error().kind;
    if (kind != ErrorKind::damaged && kind != ErrorKind::not_found) return std::move(manifest).error();
    basis.why_all = manifest.error().to_string();
    return basis;
  }
  if (manifest->block_size != control.block_size) {
    basis.why_all = cat("backup ", card.id.text, " has blocks of ", manifest->block_size, " bytes");
    return basis;
  }
  basis.reference = std::move(*manifest);
  if (card.data_checksums != control.checksums()) {
    basis.why_all = cat("data checksums were turned ", card.data_checksums ? "off" : "on", " since backup ",
                        card.id.text);
    return basis;
  }
  SourceWal wal(files);
  ChangesRequest request{&lineage, std::move(history), card.start_lsn, start.start_lsn, &wal, true};
  TRY_ASSIGN(basis.changes, read_changes(request, reporter, stop));
  basis.why_all = basis.changes.unusable;
  return basis;
}

Status require_basis(const std::optional<BackupType>& asked, const Basis& basis) {
  if (basis.reference || !asked || *asked == BackupType::full) return {};
  return make_error(ErrorKind::precondition, cat("--type ", to_string(*asked)), basis.why_all)
      .with_hint("--type auto makes a full backup where there is nothing to stand on");
}

Status copy_by_basis(Basis& basis, pg::FileSource& files, uint64_t segment_blocks, Lsn start,
                     const std::function<Status(Incremental*)>& copy, StopToken& stop) {
  if (!basis.reference) return copy(nullptr);
  std::random_device seed;
  ProofSample sample(seed());
  Incremental incremental(*basis.reference, basis.mapped() ? &basis.changes.map : nullptr, segment_blocks,
                          sample);
  TRY(copy(&incremental));
  if (!basis.mapped()) return {};
  Lsn from = basis.reference->card.start_lsn;
  TRY_ASSIGN(ProofSample::Verdict verdict,
             sample.judge(files, basis.reference->block_size, from, start, stop));
  basis.proven_blocks = verdict.blocks;
  if (!verdict.missed) return {};
  basis.why_all = cat("the change map missed block ", verdict.missed->block, " of ", verdict.missed->path,
                      ", changed at ", verdict.missed->lsn.to_string());
  basis.warning =
      cat(basis.why_all, "; everything was read instead. This is a bug of lifeboat, please report it");
  Incremental without_map(*basis.reference, nullptr, segment_blocks, sample);
  return copy(&without_map);
}

void record_basis(const std::optional<BackupType>& asked, const Basis& basis, repo::Card& card) {
  card.type = basis.reference ? asked.value_or(BackupType::incr) : BackupType::full;
  if (basis.reference) card.reference = basis.reference->card.id;
  if (asked != BackupType::full && card.reason.empty()) card.reason = basis.why_all;
}

}  // namespace lifeboat::ops
