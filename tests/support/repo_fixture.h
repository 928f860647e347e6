// A small repository in memory and tiny backups in it: for the unit tests of src/repo and for the model
// check.
//
// A tiny backup is a flat directory of files of a few blocks of kTinyBlock bytes. What it refers to of an
// older backup is read from that one's tree, as the real one does.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "repo/attempt.h"
#include "repo/manifest.h"
#include "repo/pack.h"
#include "repo/repository.h"
#include "repo/tree.h"
#include "storage/memory/memory_store.h"
#include "tests/support/manual_clock.h"
#include "util/strings.h"

namespace lifeboat::repo {

inline constexpr uint32_t kTinyBlock = 64;
inline constexpr uint32_t kTinyFrameBlocks = 4;
inline constexpr SegmentSize kTinySegment{1u << 20};

using TinyFiles = std::map<std::string, Bytes>;

// A store that passes everything on to one that somebody else owns: a Repository owns its store.
class BorrowedStore : public storage::Store {
 public:
  explicit BorrowedStore(storage::Store& inner) : inner_(inner) {}
  Result<std::unique_ptr<storage::ObjectWriter>> create(std::string_view name) override {
    return inner_.create(name);
  }
  Result<std::unique_ptr<storage::ObjectReader>> open(std::string_view name) override {
    return inner_.open(name);
  }
  Status list(std::string_view prefix,
              const std::function<Status(const storage::ObjectInfo&)>& each) override {
    return inner_.list(prefix, each);
  }
  Result<std::vector<std::string>> list_dirs(std::string_view prefix) override {
    return inner_.list_dirs(prefix);
  }
  Status confirm(std::string_view name) override { return inner_.confirm(name); }
  Status remove(std::string_view name) override { return inner_.remove(name); }
  Result<Timestamp> now() override { return inner_.now(); }
  Result<uint64_t> remove_unfinished(Timestamp older_than) override {
    return inner_.remove_unfinished(older_than);
  }
  std::string url() const override { return inner_.url(); }
  bool atomic_create() const override { return inner_.atomic_create(); }

 private:
  storage::Store& inner_;
};

// Writes the packs of a backup: runs of blocks that equal those of `reference` are referred to, the others
// stored.
inline Result<NodeRef> store_tiny_tree(const LineageRepo& repo, const BackupId& id, const TinyFiles& files,
                                       const Manifest* reference,
                                       const std::vector<BackupId>& attempts = {}) {
  std::map<std::string, std::vector<BlockRef>> known;
  if (reference != nullptr) {
    TreeReader reader(repo);
    TRY(reader.list(reference->root, [&](const Entry& entry) -> Status {
      auto& refs = known[entry.name];
      return reader.blocks(entry, [&](uint64_t, const std::vector<BlockRef>& run) -> Status {
        refs.insert(refs.end(), run.begin(), run.end());
        return {};
      });
    }));
  }
  std::vector<AttemptFiles> stored;
  for (const BackupId& attempt : attempts) {
    TRY_ASSIGN(AttemptFiles of_attempt, AttemptFiles::open(repo, attempt, kTinyBlock));
    stored.push_back(std::move(of_attempt));
  }
  PackNumbers numbers(id);
  PackWriter packs(repo, numbers, PackKind::data, repo.compression(), {.bytes = 800, .frames = 4});
  PackNodeSink nodes(repo, numbers);
  DirectoryWriter directory(nodes);
  for (const auto& [name, content] : files) {
    Entry entry;
    entry.name = name;
    entry.mode = 0600;
    entry.size = content.size();
    std::vector<BlockRef> refs;
    constexpr size_t kFrame = kTinyBlock * kTinyFrameBlocks;
    for (size_t at = 0; at < content.size(); at += kFrame) {
      ByteView run = ByteView(content).subspan(at, std::min(kFrame, content.size() - at));
      codec::Hash128 hash = codec::hash128(run);
      auto count = static_cast<uint32_t>((run.size() + kTinyBlock - 1) / kTinyBlock);
      const auto& old = known[name];
      if (at / kFrame < old.size() && old[at / kFrame].hash == hash && old[at / kFrame].count == count) {
        refs.push_back(old[at / kFrame]);
        continue;
      }
      const size_t before = refs.size();
      for (AttemptFiles& attempt : stored) {
        TRY_ASSIGN(std::vector<StoredRun> runs, attempt.find(name));
        for (const StoredRun& found : runs) {
          bool same = found.first == at / kTinyBlock && found.bytes == run.size() && found.ref.hash == hash;
          if (same && refs.size() == before) refs.push_back(found.ref);
        }
      }
      if (refs.size() != before) continue;
      BlockRun blocks{at / kTinyBlock, count, hash};
      TRY_ASSIGN(FrameRef frame, packs.append(run, {name, {&blocks, 1}}));
      refs.push_back({frame, 0, count, hash});
    }
    TRY(write_block_map(nodes, std::move(refs), entry));
    TRY(directory.add(std::move(entry)));
  }
  TRY(packs.finish());
  TRY_ASSIGN(NodeRef root, directory.finish());
  TRY(nodes.finish());
  return root;
}

// Everything of a backup, read back through card, manifest, tree and packs, each range against its hash.
inline Result<TinyFiles> restore_tiny(const LineageRepo& repo, const BackupId& id) {
  TRY(read_card(repo, id));
  TRY_ASSIGN(Manifest manifest, read_manifest(repo, id));
  TreeReader reader(repo);
  PackReaders packs(repo, PackKind::data);
  TinyFiles files;
  TRY(reader.list(manifest.root, [&](const Entry& entry) -> Status {
    Bytes& content = files[entry.name];
    TRY(reader.blocks(entry, [&](uint64_t, const std::vector<BlockRef>& refs) -> Status {
      for (const BlockRef& ref : refs) {
        Frame frame;
        TRY(packs.read(ref.frame, frame));
        size_t from = size_t{ref.first_block} * kTinyBlock;
        if (from > frame.plain.size())
          return make_error(ErrorKind::damaged, entry.name, "range past its frame");
        size_t size = std::min(size_t{ref.count} * kTinyBlock, frame.plain.size() - from);
        ByteView run = ByteView(frame.plain).subspan(from, size);
        if (codec::hash128(run) != ref.hash)
          return make_error(ErrorKind::damaged, entry.name, "range has another hash");
        content.insert(content.end(), run.begin(), run.end());
      }
      return {};
    }));
    if (content.size() != entry.size) return make_error(ErrorKind::damaged, entry.name, "has another size");
    return {};
  }));
  return files;
}

struct TinyPosition {
  Timeline timeline{1};
  Lsn start;
  Lsn stop;
};

inline Manifest tiny_manifest(const BackupId& id, const NodeRef& root, Timestamp started, Timestamp stopped,
                              const TinyPosition& position, BackupState state = BackupState::complete) {
  Manifest manifest;
  manifest.card.id = id;
  manifest.card.state = state;
  manifest.card.started = started;
  manifest.card.stopped = stopped;
  manifest.card.timeline = position.timeline;
  manifest.card.start_lsn = position.start;
  manifest.card.stop_lsn = position.stop;
  manifest.root = root;
  manifest.block_size = kTinyBlock;
  manifest.segment_size = kTinySegment;
  manifest.start_timeline = position.timeline;
  return manifest;
}

// A repository in memory with one registered lineage.
class TinyRepo {
 public:
  explicit TinyRepo(const KeySource& key = {}, CompressionOptions compression = {codec::Compression::none, 0})
      : memory(clock),
        repository(*Repository::create(std::make_unique<BorrowedStore>(memory), key, compression)),
        repo(repository, "main", Lineage{{7}, 15}) {
    LineageRecord record;
    record.lineage = repo.lineage();
    record.segment_size = kTinySegment;
    record.registered = {clock.unix_us()};
    CHECK(register_lineage(repo, record).has_value());
  }

  BackupId new_id() { return BackupId::make({clock.unix_us()}, ++ids_); }

  // Stores a whole backup at once, without a lease.
  Result<BackupId> back_up(const TinyFiles& files, const std::optional<BackupId>& reference = std::nullopt,
                           const TinyPosition& position = {}, BackupState state = BackupState::complete) {
    BackupId id = new_id();
    std::optional<Manifest> base;
    if (reference) {
      TRY_ASSIGN(base, read_manifest(repo, *reference));
    }
    TRY_ASSIGN(NodeRef root, store_tiny_tree(repo, id, files, base ? &*base : nullptr));
    Manifest manifest = tiny_manifest(id, root, {clock.unix_us()}, {clock.unix_us()}, position, state);
    TRY(write_manifest(repo, manifest));
    TRY(write_card(repo, manifest.card));
    return id;
  }

  std::vector<std::string> names(std::string_view below = "") const {
    std::vector<std::string> found;
    CHECK(repo.store()
              .list(repo.name(below),
                    [&](const storage::ObjectInfo& info) -> Status {
                      found.push_back(info.name.substr(repo.prefix().size()));
                      return {};
                    })
              .has_value());
    return found;
  }

  ManualClock clock;
  storage::MemoryStore memory;
  Repository repository;
  LineageRepo repo;

 private:
  uint32_t ids_ = 0;
};

// Content that depends on a seed only.
inline Bytes tiny_content(uint64_t seed, size_t size) {
  Bytes content(size);
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (uint8_t& byte : content) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<uint8_t>(state >> 32);
  }
  return content;
}

}  // namespace lifeboat::repo
