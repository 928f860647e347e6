// One backup by itself: `verify --backup` and the level `present`.
#include <algorithm>
#include <map>
#include <mutex>
#include <thread>

#include "ops/verify/parts.h"
#include "ops/work_queue.h"
#include "repo/pack.h"
#include "repo/tree.h"
#include "util/strings.h"

namespace lifeboat::ops::verification {

namespace {

constexpr size_t kQueueRoom = 256;
constexpr size_t kBatch = 64;
constexpr size_t kMostProblems = 100;

// Damage is a finding of the backup; anything else stops the work.
bool is_damage(const Error& error) {
  return error.kind == ErrorKind::damaged || error.kind == ErrorKind::not_found;
}

void add_problem(VerifiedBackup& backup, std::string problem) {
  if (backup.problems.size() < kMostProblems) backup.problems.push_back(std::move(problem));
}

// A file's references, with what is needed to say where they belong.
struct Batch {
  std::string path;
  uint64_t first_block = 0;
  std::vector<repo::BlockRef> refs;
};

// Reads frames and compares ranges; one per thread.
class RangeReader {
 public:
  RangeReader(const repo::LineageRepo& repo, uint32_t block_size)
      : packs_(repo, repo::PackKind::data), block_size_(block_size) {}

  Status check(const repo::BlockRef& ref) {
    if (!held_ || !(*held_ == ref.frame)) {
      held_.reset();
      TRY(packs_.read(ref.frame, frame_));
      held_ = ref.frame;
      bytes_ += ref.frame.place.length;
      ++frames_;
    }
    std::optional<ByteView> range = ref.hashed(frame_.plain, block_size_);
    if (!range) return beyond(ref);
    if (codec::hash128(*range) == ref.hash) return {};
    return make_error(ErrorKind::damaged, name(ref),
                      cat("frame ", ref.frame.place.number, " is not what the backup refers to"));
  }
  uint64_t bytes() const { return bytes_; }
  uint64_t frames() const { return frames_; }

 private:
  static std::string name(const repo::BlockRef& ref) {
    return repo::pack_name(ref.frame.pack, repo::PackKind::data);
  }
  Status beyond(const repo::BlockRef& ref) const {
    return make_error(ErrorKind::damaged, name(ref),
                      cat("a reference points past the end of frame ", ref.frame.place.number));
  }
  repo::PackReaders packs_;
  uint32_t block_size_;
  repo::Frame frame_;
  std::optional<repo::FrameRef> held_;
  uint64_t bytes_ = 0;
  uint64_t frames_ = 0;
};

Result<std::optional<repo::Manifest>> load_manifest(const repo::LineageRepo& repo, const repo::Card& card,
                                                    VerifiedBackup& backup) {
  auto manifest = repo::read_manifest(repo, card.id);
  if (!manifest) {
    if (!is_damage(manifest.error())) return std::move(manifest).error();
    add_problem(backup, manifest.error().to_string());
    return std::optional<repo::Manifest>();
  }
  if (repo::encode_card(manifest->card) != repo::encode_card(card)) {
    add_problem(backup, cat("manifests/", card.id.text, ": contradicts the backup's card"));
  }
  return std::optional<repo::Manifest>(std::move(*manifest));
}

}  // namespace

Status check_presence(const repo::LineageRepo& repo, const repo::Card& card, VerifiedBackup& backup) {
  std::map<repo::PackId, uint64_t> sizes;
  std::string prefix = repo.name("packs/");
  TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& object) -> Status {
    auto parsed = repo::parse_pack_name(std::string_view(object.name).substr(repo.prefix().size()));
    if (parsed && parsed->kind == repo::PackKind::data) sizes.emplace(parsed->pack, object.size);
    return {};
  }));
  TRY_ASSIGN(auto manifest, load_manifest(repo, card, backup));
  if (!manifest) return {};
  repo::TreeReader tree(repo);
  repo::TreeReader::Visitor visitor;
  visitor.descend = [](const repo::NodeRef&) { return true; };
  visitor.data = [&](const repo::BlockRef& ref) -> Status {
    auto size = sizes.find(ref.frame.pack);
    if (size == sizes.end()) {
      add_problem(backup, cat(repo::pack_name(ref.frame.pack, repo::PackKind::data), ": is missing"));
    } else if (ref.frame.place.offset + ref.frame.place.length > size->second) {
      add_problem(backup, cat(repo::pack_name(ref.frame.pack, repo::PackKind::data), ": is too short"));
    }
    return {};
  };
  auto visited = tree.visit(manifest->root, visitor);
  if (!visited && !is_damage(visited.error())) return std::move(visited).error();
  if (!visited) add_problem(backup, visited.error().to_string());
  return {};
}

Status check_bytes(const repo::LineageRepo& repo, const repo::Card& card, const VerifyRequest& request,
                   VerifiedBackup& backup, repo::VerifyTotals& totals) {
  TRY_ASSIGN(auto manifest, load_manifest(repo, card, backup));
  if (!manifest) return {};
  const uint32_t block_size = manifest->block_size;
  WorkQueue<Batch> queue(kQueueRoom);
  std::mutex mutex;  // guards backup, totals and the reporter

  auto work = [&] {
    RangeReader reader(repo, block_size);
    uint64_t told = 0;
    while (auto batch = queue.pop()) {
      uint64_t block = batch->first_block;
      for (const repo::BlockRef& ref : batch->refs) {
        if (request.stop != nullptr && request.stop->stopped()) {
          return queue.fail(make_error(ErrorKind::cancelled, "", "stopped by request"));
        }
        auto checked = reader.check(ref);
        if (!checked && !is_damage(checked.error())) return queue.fail(std::move(checked).error());
        if (!checked) {
          std::lock_guard lock(mutex);
          add_problem(backup, cat(batch->path, " from block ", block, ": ", checked.error().to_string()));
        }
        block += ref.count;
      }
      std::lock_guard lock(mutex);
      totals.bytes += reader.bytes() - told;
      told = reader.bytes();
      totals.references += batch->refs.size();
      if (request.reporter != nullptr) {
        request.reporter->progress("reading", totals.bytes, 0, ProgressUnit::bytes);
      }
    }
    std::lock_guard lock(mutex);
    totals.frames += reader.frames();
  };
  std::vector<std::thread> workers;
  for (int i = 0; i < std::max(1, request.workers); ++i) workers.emplace_back(work);

  repo::TreeReader tree(repo);
  repo::TreeReader leaves(repo);
  auto walked = tree.walk(manifest->root, [&](const std::string& path, const repo::Entry& entry) -> Status {
    if (entry.type != repo::EntryType::file) return {};
    uint64_t blocks = 0;
    auto listed =
        leaves.blocks(entry, [&](uint64_t first, const std::vector<repo::BlockRef>& refs) -> Status {
          Batch batch{path, first, {}};
          for (const repo::BlockRef& ref : refs) {
            batch.refs.push_back(ref);
            blocks += ref.count;
            if (batch.refs.size() < kBatch) continue;
            TRY(queue.push(std::move(batch)));
            batch = {path, blocks, {}};
          }
          if (!batch.refs.empty()) TRY(queue.push(std::move(batch)));
          return {};
        });
    if (!listed) return listed;
    if (blocks != (entry.size + block_size - 1) / block_size) {
      std::lock_guard lock(mutex);
      add_problem(backup, cat(path, ": ", blocks, " blocks are mapped for ", entry.size, " bytes"));
    }
    return {};
  });
  if (walked) {
    queue.close();
  } else if (is_damage(walked.error())) {
    {
      std::lock_guard lock(mutex);
      add_problem(backup, walked.error().to_string());
    }
    queue.close();
  } else {
    queue.fail(walked.error());
  }
  for (std::thread& worker : workers) worker.join();
  if (auto error = queue.error()) return std::move(*error);
  return {};
}

}  // namespace lifeboat::ops::verification
