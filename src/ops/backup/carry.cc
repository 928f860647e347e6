#include "ops/backup/carry.h"

#include <random>

namespace lifeboat::ops {

Result<Carry> Carry::plan(const repo::LineageRepo& repo, const repo::Manifest& reference,
                          uint64_t changed_blocks, uint64_t seed) {
  Carry carry;
  if (!reference.usage) return carry;
  repo::TreeReader nodes(repo);
  auto node = nodes.load(*reference.usage);
  if (!node && repo::is_lost(node.error())) return carry;
  TRY(node);
  auto usage = repo::decode_usage(reference.card.id.text, *node);
  if (!usage) return carry;
  carry.usage_ = std::move(*usage);
  repo::PackReaders packs(repo, repo::PackKind::data);
  std::mt19937_64 random(seed);
  for (const auto& [chosen, part] : repo::choose_packs_to_empty(carry.usage_, changed_blocks)) {
    const repo::PackId& pack = chosen;
    auto footer = [&]() -> Result<repo::PackFooter> {
      TRY_ASSIGN(repo::FrameReader * reader, packs.reader(pack));
      return repo::read_pack_footer(*reader);
    }();
    if (!footer && repo::is_lost(footer.error())) continue;
    TRY(footer);
    carry.packs_[pack] = part;
    for (const repo::PackFrame& frame : footer->frames) {
      if (std::uniform_real_distribution<>(0, 1)(random) >= part) continue;
      pg::BlockSet& blocks = carry.blocks_[frame.path];
      for (const repo::BlockRun& run : frame.runs) {
        if (run.first + run.count <= UINT32_MAX) blocks.add_run(static_cast<uint32_t>(run.first), run.count);
      }
    }
  }
  return carry;
}

}  // namespace lifeboat::ops
