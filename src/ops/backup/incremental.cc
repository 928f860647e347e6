#include "ops/backup/incremental.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

Result<Incremental::Decision> Incremental::decide(std::string_view directory, const pg::Entry& now,
                                                  std::optional<repo::Entry> old) {
  std::string path = directory.empty() ? cat("pgdata/", now.name) : cat("pgdata/", directory, "/", now.name);
  FileBefore before;
  if (old) {
    Mapped mapped = mapped_by(sources_.map, directory, now, old->size);
    before.mapped_blocks = mapped.blocks;
    before.changed = mapped.changed;
    before.entry = std::move(*old);
    if (sources_.carry != nullptr) before.carried = sources_.carry->candidates(path);
  }
  TRY(add_attempts(directory, now, path, before));
  Decision decision;
  if (!old && before.attempts.empty()) return decision;
  if (now.fork == pg::Fork::main) offer_to_sample(directory, now, before);
  uint64_t first = now.first_block(sources_.segment_blocks);
  auto next = before.changed != nullptr ? before.changed->next(static_cast<uint32_t>(first)) : std::nullopt;
  bool same_length =
      old && now.size == before.entry.size && before.mapped_blocks * sources_.block_size == now.size;
  decision.unchanged = same_length && (!next || *next >= first + before.mapped_blocks) &&
                       before.attempts.empty() && before.carried == nullptr;
  decision.before = std::move(before);
  return decision;
}

Incremental::Mapped Incremental::mapped_by(const pg::ChangeMap* map, std::string_view directory,
                                           const pg::Entry& now, uint64_t old_size) const {
  bool decided_by_wal =
      now.file_class == pg::FileClass::relation && (now.fork == pg::Fork::main || now.fork == pg::Fork::init);
  if (map == nullptr || !decided_by_wal) return {};
  auto place = pg::RelationDirectory::parse(directory);
  if (!place || map->is_rewritten({place->tablespace, place->database})) return {};
  const uint64_t block_size = sources_.block_size;
  if (now.size % block_size != 0 || old_size % block_size != 0) return {};
  Mapped mapped{std::min(now.size, old_size) / block_size, nullptr};
  const pg::ForkChanges* changes =
      map->find({{place->tablespace, place->database, now.relfilenode}, now.fork});
  if (changes == nullptr) return mapped;
  mapped.changed = &changes->blocks;
  if (changes->limit) {
    uint64_t first = now.first_block(sources_.segment_blocks);
    mapped.blocks = *changes->limit <= first ? 0 : std::min<uint64_t>(mapped.blocks, *changes->limit - first);
  }
  return mapped;
}

// How long the file was when an attempt read it is not known: its blocks say themselves which there were.
Status Incremental::add_attempts(std::string_view directory, const pg::Entry& now, const std::string& path,
                                 FileBefore& before) {
  if (sources_.attempts == nullptr) return {};
  for (auto attempt = sources_.attempts->rbegin(); attempt != sources_.attempts->rend(); ++attempt) {
    TRY_ASSIGN(std::vector<repo::StoredRun> runs, attempt->files.find(path));
    if (runs.empty()) continue;
    bool trusted = sources_.trust_attempts && attempt->mapped();
    Mapped mapped = mapped_by(trusted ? &attempt->changes.map : nullptr, directory, now, now.size);
    before.attempts.push_back({std::move(runs), mapped.blocks, mapped.changed, attempt->record.start_lsn});
  }
  return {};
}

// Against the widest map that speaks of the file.
void Incremental::offer_to_sample(std::string_view directory, const pg::Entry& now,
                                  const FileBefore& before) {
  std::string path = cat(directory, "/", now.name);
  uint64_t first = now.first_block(sources_.segment_blocks);
  if (before.mapped_blocks != 0) {
    sources_.sample->offer(path, first, before.mapped_blocks, before.changed,
                           sources_.reference->card.start_lsn);
  } else if (!before.attempts.empty()) {
    const FileBefore::Attempted& oldest = before.attempts.front();
    sources_.sample->offer(path, first, oldest.mapped_blocks, oldest.changed, oldest.start);
  }
}

}  // namespace lifeboat::ops
