#include "ops/restore/delta.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>

#include "ops/mapped_file.h"
#include "ops/wal/scan.h"
#include "pg/server/postmaster.h"
#include "pg/wal/wal_reader.h"
#include "repo/tree.h"
#include "repo/wal_store.h"
#include "util/fault.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kAllocation = 4096;
constexpr std::string_view kTablespaces = "pg_tblspc/";

uint64_t allocation(uint64_t size) {
  return (size + kAllocation - 1) / kAllocation * kAllocation;
}

const Placement* tablespace_at(const std::vector<Placement>& placements, std::string_view path) {
  if (!path.starts_with(kTablespaces)) return nullptr;
  std::string_view oid = path.substr(kTablespaces.size());
  oid = oid.substr(0, oid.find('/'));
  for (const Placement& place : placements) {
    if (place.tablespace != 0 && cat(place.tablespace) == oid) return &place;
  }
  return nullptr;
}

class Remover {
 public:
  Remover(const repo::LineageRepo& repo, const std::vector<Placement>& placements,
          const std::set<std::string>& configured, const StopToken& stop)
      : tree_(repo), placements_(placements), configured_(configured), stop_(stop) {}

  Result<uint64_t> run(const repo::NodeRef& pgdata) {
    TRY(clean("", pgdata, placements_.front().staging_path));
    return removed_;
  }

 private:
  // `path` is the directory in the tree, "" for the data directory.
  Status clean(const std::string& path, const repo::NodeRef& node, const std::string& absolute) {
    TRY(stop_.check());
    std::map<std::string, std::optional<repo::NodeRef>> wanted;  // directories with their node
    TRY(tree_.list(node, [&](const repo::Entry& entry) -> Status {
      bool directory = entry.type == repo::EntryType::directory;
      wanted.emplace(entry.name, directory ? std::optional(entry.directory) : std::nullopt);
      return {};
    }));
    // A tablespace's location may hold other versions' directories, which are none of ours.
    const Placement* location = tablespace_at(placements_, path);
    const bool whole = location == nullptr || path.find('/', kTablespaces.size()) != std::string::npos;
    TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(absolute));
    for (const DirEntry& entry : entries) {
      const std::string below = path.empty() ? entry.name : cat(path, "/", entry.name);
      const std::string at = join_path(absolute, entry.name);
      auto found = wanted.find(entry.name);
      if (stays(below) || (!whole && found == wanted.end())) continue;
      if (found == wanted.end() || (configured_.contains(below) && !found->second)) {
        TRY(remove(at));
      } else if (found->second) {
        const Placement* place = tablespace_at(placements_, below);
        bool root = place != nullptr && below.find('/', kTablespaces.size()) == std::string::npos;
        TRY(clean(below, *found->second, root ? place->staging_path : at));
      }
    }
    return {};
  }

  // What is not of the cluster, and what this restore has written already.
  static bool stays(const std::string& below) {
    if (below == kControlFileStaged || below == "backup_manifest") return true;
    if (below.find('/') != std::string::npos) return false;
    return below == kMarkerName || below == "lost+found" || below.starts_with("lifeboat.old-") ||
           below.starts_with("lifeboat.new-");
  }

  Status remove(const std::string& at) {
    TRY(remove_tree(at));
    ++removed_;
    return {};
  }

  repo::TreeReader tree_;
  const std::vector<Placement>& placements_;
  const std::set<std::string>& configured_;
  const StopToken& stop_;
  uint64_t removed_ = 0;
};

// Whether what is streamed begins with these bytes.
bool begins_with(ByteView here, const std::function<Status(const repo::WalStore::Sink&)>& stream) {
  uint64_t at = 0;
  bool same = true;
  Status read = stream([&](ByteView piece) {
    uint64_t count = at < here.size() ? std::min<uint64_t>(piece.size(), here.size() - at) : 0;
    same = same &&
           std::ranges::equal(piece.first(count), here.subspan(std::min<uint64_t>(at, here.size()), count));
    at += piece.size();
    return Status();
  });
  return read && same && at >= here.size();
}

// Whether what is stored of the unfinished segment, as a file or as its tail, begins with what is here: then
// nothing of it is lost.
bool stored_partial_has(const ChosenLineage& lineage, const RescueFile& file) {
  auto mapped = MappedFile::open(file.path);
  if (!mapped) return false;
  const uint64_t valid = file.end.value - file.file.segment.start(lineage.record.segment_size).value;
  if (valid > mapped->bytes().size()) return false;
  using Stored = PartialSegment::Stored;
  return std::ranges::any_of(std::array{Stored::as_partial, Stored::as_tail}, [&](Stored form) {
    return begins_with(mapped->bytes().first(valid), [&](const repo::WalStore::Sink& sink) {
      return read_partial(lineage, PartialSegment{file.file.segment, "", {}, form}, sink);
    });
  });
}

// Whether a file by a name that is stored holds nothing that the stored one lacks. Another server may have
// written WAL of the same name (T46); what a recovery left of a segment ends where it stopped reading it.
Result<bool> stored_has(const ChosenLineage& lineage, const RescueFile& file) {
  repo::WalStore store(lineage.repo);
  TRY_ASSIGN(MappedFile mapped, MappedFile::open(file.path));
  auto pushed = store.push(file.file, repo::WalSource::from_bytes(mapped.bytes()));
  if (pushed) return true;
  if (pushed.error().kind != ErrorKind::conflict) return std::move(pushed).error();
  ByteView here = mapped.bytes();
  if (file.file.kind == WalFileKind::segment || file.file.kind == WalFileKind::partial) {
    TRY_ASSIGN(pg::ValidEnd end, pg::valid_end(here));
    here = here.first(end.end.value - file.file.segment.start(lineage.record.segment_size).value);
  }
  TRY_ASSIGN(std::vector<repo::WalObject> stored, store.find_all(file.file));
  return std::ranges::any_of(stored, [&](const repo::WalObject& object) {
    return begins_with(here, [&](const repo::WalStore::Sink& sink) -> Status {
      TRY(store.get_object(object, sink));
      return {};
    });
  });
}

// Where the stored unfinished segment ends, when what is here goes on from it.
std::optional<Lsn> end_of_stored_beginning(const ChosenLineage& lineage, const RescueFile& file) {
  const PartialSegment stored{file.file.segment, "", {}};
  auto mapped = MappedFile::open(file.path);
  auto valid = valid_size(lineage, stored);
  if (!mapped || !valid || *valid == 0 || *valid > mapped->bytes().size()) return std::nullopt;
  if (!begins_with(mapped->bytes().first(*valid),
                   [&](const repo::WalStore::Sink& sink) { return read_partial(lineage, stored, sink); }))
    return std::nullopt;
  return file.file.segment.start(lineage.record.segment_size) + *valid;
}

constexpr std::string_view kKeepAside =
    "restore with --replace, which keeps the whole directory aside, or beside it with --to";

// After a restore that rescued the segment and was given up the server has written on in it.
Error goes_on_from_stored(const RescueFile& file, Lsn stored_end) {
  return make_error(ErrorKind::precondition, file.path,
                    cat("holds WAL to ", file.end.to_string(),
                        ", but of this unfinished segment the repository has "
                        "only what was there earlier, to ",
                        stored_end.to_string(), ", and --delta would not keep the rest"))
      .with_hint(cat("start the server there and run SELECT pg_switch_wal(), so that the whole segment is "
                     "archived, then stop it and restore; or ",
                     kKeepAside));
}

Error not_kept(const ChosenLineage& lineage, const RescueFile& file) {
  if (file.file.kind == WalFileKind::partial && file.end.valid()) {
    if (auto stored_end = end_of_stored_beginning(lineage, file))
      return goes_on_from_stored(file, *stored_end);
  }
  return make_error(
             ErrorKind::precondition, file.path,
             cat("holds WAL that --delta would not keep and the repository does not take: what is stored as ",
                 file.file.text, " is other WAL, or the file is damaged"))
      .with_hint(std::string(kKeepAside));
}

}  // namespace

bool is_stored_partial(const ChosenLineage& lineage, const std::vector<RescueFile>& files) {
  return std::ranges::all_of(files, [&](const RescueFile& file) {
    return file.file.kind != WalFileKind::partial || !file.end.valid() || stored_partial_has(lineage, file);
  });
}

Status check_all_rescued(const ChosenLineage& lineage, const RescuePlan& plan,
                         const std::vector<std::string>& stored, const StopToken& stop) {
  for (const RescueFile& file : plan.files) {
    if (std::ranges::find(stored, file.file.text) != stored.end()) continue;
    if (file.file.kind == WalFileKind::partial && file.end.valid() && stored_partial_has(lineage, file))
      continue;
    return not_kept(lineage, file);
  }
  for (const RescueFile& file : plan.stored) {
    TRY(stop.check());
    TRY_ASSIGN(bool has, stored_has(lineage, file));
    if (!has) return not_kept(lineage, file);
  }
  return {};
}

Status measure_growth(const repo::LineageRepo& repo, const repo::NodeRef& pgdata,
                      std::vector<Placement>& placements, const StopToken& stop) {
  for (Placement& place : placements) {
    if (place.overwrites) place.room = 0;
  }
  repo::TreeReader tree(repo);
  return tree.walk(pgdata, [&](const std::string& path, const repo::Entry& entry) -> Status {
    TRY(stop.check());
    if (entry.type != repo::EntryType::file) return {};
    const Placement* tablespace = tablespace_at(placements, path);
    Placement& place = tablespace != nullptr ? placements[static_cast<size_t>(tablespace - placements.data())]
                                             : placements.front();
    if (!place.overwrites) return {};
    std::string below = path;
    if (tablespace != nullptr) {
      size_t slash = path.find('/', kTablespaces.size());
      if (slash == std::string::npos) return {};
      below = path.substr(slash + 1);
    }
    uint64_t has = 0;
    if (auto info = lstat_path(join_path(place.staging_path, below))) has = info->allocated;
    *place.room += allocation(entry.size) - std::min(allocation(entry.size), has);
    return {};
  });
}

Result<Fd> lock_directory(const std::string& directory) {
  TRY_ASSIGN(Fd fd, open_file(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return make_error(ErrorKind::busy, directory, "another restore is writing there");
    return errno_error(errno, directory, "lock");
  }
  return fd;
}

Status make_unstartable(const std::string& data_directory) {
  const std::string control = join_path(data_directory, kControlFile);
  const std::string before = join_path(data_directory, kControlFileBefore);
  auto there = lstat_path(control);
  if (!there) return there.error().kind == ErrorKind::not_found ? Status() : std::move(there).error();
  uint64_t point = fault::point("restore.make_unstartable");
  TRY(rename_durable(control, before));
  fault::passed(point);
  // Who started one in between has read pg_control before it lost its name.
  auto running = pg::running_server(data_directory);
  if (running && !*running) return {};
  TRY(rename_durable(before, control));
  if (!running) return std::move(running).error();
  return make_error(ErrorKind::precondition, data_directory,
                    cat("a server was started there, process ", (*running)->pid_file.pid));
}

Result<std::vector<std::string>> linked_directories(const std::string& directory) {
  std::vector<std::string> linked;
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(directory));
  for (const DirEntry& entry : entries) {
    if (entry.kind != FileKind::symlink) continue;
    const std::string path = join_path(directory, entry.name);
    auto behind = stat_path(path);
    if (!behind || behind->kind != FileKind::directory) continue;
    TRY_ASSIGN(std::string real, resolve_path(path));
    linked.push_back(std::move(real));
  }
  return linked;
}

Result<uint64_t> remove_others(const repo::LineageRepo& repo, const repo::NodeRef& pgdata,
                               const std::vector<Placement>& placements,
                               const std::set<std::string>& configured, const StopToken& stop) {
  return Remover(repo, placements, configured, stop).run(pgdata);
}

}  // namespace lifeboat::ops
