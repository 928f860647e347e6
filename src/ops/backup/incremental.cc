#include "ops/backup/incremental.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

Incremental::Decision Incremental::decide(std::string_view directory, const pg::Entry& now,
                                          repo::Entry before) {
  Decision decision;
  decision.before.entry = std::move(before);
  const repo::Entry& old = decision.before.entry;
  bool decided_by_wal = now.file_class == pg::FileClass::relation &&
                        (now.fork == pg::Fork::main || now.fork == pg::Fork::init);
  if (map_ == nullptr || !decided_by_wal) return decision;
  auto place = pg::RelationDirectory::parse(directory);
  if (!place || map_->is_rewritten({place->tablespace, place->database})) return decision;
  const pg::ForkChanges* changes =
      map_->find({{place->tablespace, place->database, now.relfilenode}, now.fork});
  decision.before.mapped_blocks = mapped_blocks(changes, now, old.size);
  decision.before.changed = changes != nullptr ? &changes->blocks : nullptr;
  uint64_t first = now.first_block(segment_blocks_);
  uint64_t end = first + decision.before.mapped_blocks;
  if (now.fork == pg::Fork::main) {
    sample_.offer(cat(directory, "/", now.name), first, decision.before.mapped_blocks, decision.before.changed);
  }
  auto next = changes != nullptr ? changes->blocks.next(static_cast<uint32_t>(first)) : std::nullopt;
  bool same_length = now.size == old.size && decision.before.mapped_blocks * reference_.block_size == now.size;
  decision.unchanged = same_length && (!next || *next >= end);
  return decision;
}

uint64_t Incremental::mapped_blocks(const pg::ForkChanges* changes, const pg::Entry& now,
                                    uint64_t old_size) const {
  const uint64_t block_size = reference_.block_size;
  if (now.size % block_size != 0 || old_size % block_size != 0) return 0;
  uint64_t mapped = std::min(now.size, old_size) / block_size;
  if (changes == nullptr || !changes->limit) return mapped;
  uint64_t first = now.first_block(segment_blocks_);
  return *changes->limit <= first ? 0 : std::min<uint64_t>(mapped, *changes->limit - first);
}

}  // namespace lifeboat::ops
