// Adds a backup of a cluster that is too large to have here: card, manifest and the whole tree, written by
// the library that backups use; its data packs are holes of the right size.
//
//   simulate_backup REPOSITORY TERABYTES
//
// The repository is a directory without encryption, with one cluster "main" and a backup of a small server in
// it. The new backup is that one plus base/424242: relations of 100 files of 1 GB, mapped by fresh frames of
// 256 kB, whose stored sizes are those of data that shrinks to about 40 %. It begins a second later, so the
// next incremental stands on it, if the server's directory holds files of these names and sizes (holes too):
// bench/memory/run makes them.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "repo/manifest.h"
#include "storage/store.h"
#include "util/strings.h"

namespace lifeboat {
namespace {

constexpr uint64_t kFileBytes = 1 << 30;
constexpr uint64_t kFilesOfRelation = 100;
constexpr uint32_t kFirstRelation = 16384;
constexpr std::string_view kDatabase = "424242";
constexpr size_t kTables = 10'000;  // of which a manifest has estimates at most

// Frames of packs that are holes.
class HollowPacks {
 public:
  HollowPacks(std::string folder, repo::PackNumbers& numbers)
      : folder_(std::move(folder)), numbers_(numbers) {}

  repo::FrameRef append() {
    if (!open_ || offset_ >= limits_.bytes || frames_ >= limits_.frames) {
      finish();
      pack_ = numbers_.next();
      open_ = true;
      offset_ = repo::kHeaderSize;
      frames_ = 0;
    }
    repo::FramePlace place{frames_++, offset_ + 4, length_(random_)};
    offset_ = place.offset + place.length;
    return {pack_, place};
  }
  void finish() {
    if (!open_) return;
    std::string path = cat(folder_, repo::pack_name(pack_, repo::PackKind::data));
    std::ofstream(path).close();
    std::filesystem::resize_file(path, offset_);
    open_ = false;
  }

 private:
  std::string folder_;
  repo::PackNumbers& numbers_;
  repo::PackLimits limits_;
  repo::PackId pack_;
  bool open_ = false;
  uint64_t offset_ = 0;
  uint32_t frames_ = 0;
  std::mt19937_64 random_{1};
  std::uniform_int_distribution<uint32_t> length_{60'000, 150'000};
};

class Simulation {
 public:
  Simulation(const repo::LineageRepo& repo, const repo::Manifest& small, const BackupId& id,
             const std::string& root)
      : repo_(repo),
        small_(small),
        id_(id),
        numbers_(id),
        nodes_(repo, numbers_),
        data_(cat(root, "/", repo.prefix()), numbers_),
        reader_(repo) {}

  Status run(uint64_t files) {
    TRY_ASSIGN(repo::NodeRef database, write_database(files));
    TRY_ASSIGN(repo::Entry pgdata, reader_.find(small_.root, "pgdata"));
    TRY_ASSIGN(repo::Entry base, reader_.find(small_.root, "pgdata/base"));
    repo::Entry added = base;
    added.name = kDatabase;
    added.directory = database;
    TRY_ASSIGN(repo::NodeRef new_base, with(base.directory, added));
    base.directory = new_base;
    TRY_ASSIGN(repo::NodeRef new_pgdata, with(pgdata.directory, base));
    pgdata.directory = new_pgdata;
    TRY_ASSIGN(repo::NodeRef root, with(small_.root, pgdata));
    data_.finish();
    TRY(nodes_.finish());
    return commit(root, files);
  }

 private:
  // The directory with `entry` in the place of that of its name, or added.
  Result<repo::NodeRef> with(const repo::NodeRef& directory, const repo::Entry& entry) {
    repo::DirectoryWriter writer(nodes_);
    std::vector<repo::Entry> entries;
    TRY(reader_.list(directory, [&](const repo::Entry& old) -> Status {
      if (old.name != entry.name) entries.push_back(old);
      return {};
    }));
    entries.push_back(entry);
    std::ranges::sort(entries, {}, &repo::Entry::name);
    for (repo::Entry& one : entries) TRY(writer.add(std::move(one)));
    return writer.finish();
  }

  Result<repo::NodeRef> write_database(uint64_t files) {
    std::vector<std::string> names;
    for (uint64_t i = 0; i < files; ++i) {
      std::string relation = cat(kFirstRelation + i / kFilesOfRelation);
      uint64_t segment = i % kFilesOfRelation;
      names.push_back(segment == 0 ? relation : cat(relation, ".", segment));
    }
    std::ranges::sort(names);
    repo::DirectoryWriter writer(nodes_);
    for (std::string& name : names) {
      repo::Entry entry;
      entry.name = std::move(name);
      entry.mode = 0600;
      entry.owner = small_.owner;
      entry.group = small_.group;
      entry.size = kFileBytes;
      std::vector<repo::BlockRef> refs;
      for (uint64_t block = 0; block < kFileBytes / small_.block_size; block += repo::kFrameBlocks) {
        repo::BlockRef ref;
        ref.frame = data_.append();
        ref.count = repo::kFrameBlocks;
        for (uint8_t& byte : ref.hash) byte = static_cast<uint8_t>(random_());
        refs.push_back(std::move(ref));
      }
      TRY(repo::write_block_map(nodes_, std::move(refs), entry));
      TRY(writer.add(std::move(entry)));
    }
    return writer.finish();
  }

  Status commit(const repo::NodeRef& root, uint64_t files) {
    repo::Manifest manifest = small_;
    manifest.root = root;
    manifest.card.id = id_;
    manifest.card.label = "simulated";
    manifest.card.started = small_.card.started.plus_us(1'000'000);
    manifest.card.totals.files += files;
    manifest.card.totals.plain_bytes += files * kFileBytes;
    manifest.card.totals.stored_bytes += nodes_.stored_bytes();
    manifest.card.tables = kTables;
    for (size_t i = 0; i < kTables; ++i) {
      manifest.tables.push_back(
          {"postgres", "public", cat("measurements_", i), 1'000'000, 10'000, 1000, 100, 10});
    }
    TRY(repo::write_manifest(repo_, manifest));
    TRY(repo::write_card(repo_, manifest.card));
    std::printf("%s: %llu files of 1 GB, %llu MB of nodes\n", id_.text.c_str(),
                static_cast<unsigned long long>(files),
                static_cast<unsigned long long>(nodes_.stored_bytes() / 1'000'000));
    return {};
  }

  const repo::LineageRepo& repo_;
  const repo::Manifest& small_;
  BackupId id_;
  repo::PackNumbers numbers_;
  repo::PackNodeSink nodes_;
  HollowPacks data_;
  repo::TreeReader reader_;
  std::mt19937_64 random_{2};
};

Status simulate(const std::string& root, uint64_t terabytes) {
  TRY_ASSIGN(auto store, storage::open_store(cat("file://", root), storage::StoreMode::existing));
  TRY_ASSIGN(repo::Repository repository, repo::Repository::open(std::move(store), {}));
  TRY_ASSIGN(auto lineages, repo::list_lineages(repository, "main"));
  if (lineages.empty()) return make_error(ErrorKind::not_found, root, "cluster main is not registered");
  repo::LineageRepo repo(repository, "main", lineages.back().lineage);
  TRY_ASSIGN(auto cards, repo::read_cards(repo));
  if (cards.empty()) return make_error(ErrorKind::not_found, root, "holds no backup to begin with");
  TRY_ASSIGN(repo::Manifest small, repo::read_manifest(repo, cards.back().id));
  BackupId id = BackupId::make(small.card.started.plus_us(1'000'000), 1);
  std::filesystem::create_directories(cat(root, "/", repo.prefix(), "packs/", id.text));
  return Simulation(repo, small, id, root).run(terabytes * 1000);
}

}  // namespace
}  // namespace lifeboat

int main(int argc, char** argv) {
  auto terabytes = argc == 3 ? lifeboat::parse_u64(argv[2]) : std::nullopt;
  if (!terabytes || *terabytes == 0) {
    std::fputs("usage: simulate_backup REPOSITORY TERABYTES\n", stderr);
    return 2;
  }
  auto done = lifeboat::simulate(argv[1], *terabytes);
  if (done) return 0;
  std::fprintf(stderr, "simulate_backup: %s\n", done.error().to_string().c_str());
  return 1;
}
