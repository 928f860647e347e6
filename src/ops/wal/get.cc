#include "ops/wal/get.h"

#include <fcntl.h>

#include <utility>

#include "ops/wal/delivery.h"
#include "ops/wal/gate.h"
#include "ops/wal/segment_check.h"
#include "ops/wal/tail.h"
#include "pg/format/timeline_history.h"
#include "repo/wal_store.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kSmallFileLimit = 1 << 20;
constexpr size_t kPieceBytes = 1 << 20;

// --- small files

Status deliver_small(const repo::WalStore& store, const repo::WalObject& object, const std::string& target) {
  TRY_ASSIGN(Bytes content, store.get_small(object.file, kSmallFileLimit));
  if (object.file.kind == WalFileKind::history) {
    auto parsed = pg::TimelineHistory::parse(object.file.timeline, as_text(content));
    if (!parsed) {
      return make_error(ErrorKind::damaged, object.object, "not a timeline history")
          .with_cause(parsed.error().to_string());
    }
  }
  TRY_ASSIGN(Delivery delivery, Delivery::begin(target));
  TRY(delivery.append(content));
  return delivery.finish();
}

// --- tails

// How much WAL PostgreSQL already has of a segment: beside the file that it asks for, in its pg_wal. That is
// what it would replay if we answered that the segment is absent, and what our answer replaces
// (KeepFileRestoredFromArchive in src/backend/access/transam/xlogarchive.c).
Result<uint64_t> valid_beside(const std::string& target, const SegmentName& segment, SegmentSize size) {
  std::string path = join_path(parent_path(target), segment.to_string());
  auto file = open_file(path, O_RDONLY);
  if (!file && file.error().kind == ErrorKind::not_found) return 0;
  TRY(file);
  ValidPrefix prefix(segment, size);
  Bytes piece(kPieceBytes);
  for (uint64_t at = 0;;) {
    TRY_ASSIGN(size_t got, pread_some(file->get(), at, piece, path));
    if (got == 0) break;
    prefix.add(ByteView(piece).first(got));
    at += got;
  }
  return prefix.finish();
}

// Delivers the tail of a segment that is not stored whole, where it may end a recovery (T45) and brings more
// than PostgreSQL has.
Result<WalGetOutcome> deliver_tail(const ChosenLineage& lineage, const WalFileName& file,
                                   const std::string& target) {
  const SegmentExpectation expected{lineage.record.lineage, lineage.record.segment_size};
  TRY_ASSIGN(std::vector<repo::TailPiece> pieces, repo::TailStore(lineage.repo).find(file.segment));
  uint32_t size = repo::covered(pieces);
  if (size < pg::kSegmentHeaderSize) return WalGetOutcome::absent;
  if (size < expected.segment_size.bytes) {
    TRY_ASSIGN(bool ends, tail_ends_archive(lineage, file.segment));
    if (!ends) return WalGetOutcome::absent;
    TRY_ASSIGN(uint64_t there, valid_beside(target, file.segment, expected.segment_size));
    if (there >= size) return WalGetOutcome::absent;
  }
  TRY_ASSIGN(Bytes image, read_tail(lineage, file.segment));
  TRY(check_segment_header(file.text, file, image, expected));
  image.resize(expected.segment_size.bytes);
  TRY_ASSIGN(Delivery delivery, Delivery::begin(target));
  TRY(delivery.append(image));
  TRY(delivery.finish());
  return WalGetOutcome::delivered;
}

// --- lineage

Result<ChosenLineage> lineage_for(const repo::Repository& repository, const WalGetOptions& options) {
  std::optional<Lineage> here;
  if (!options.working_directory.empty()) {
    TRY_ASSIGN(bool data_dir, path_exists(join_path(options.working_directory, "global/pg_control")));
    if (data_dir) {
      TRY_ASSIGN(DataDirFacts facts, read_data_dir(options.working_directory));
      here = facts.lineage;
    }
  }
  if (here && options.lineage && *here != *options.lineage) {
    return make_error(ErrorKind::foreign, options.working_directory,
                      cat("is of lineage ", here->to_string(), ", asked for ", options.lineage->to_string()));
  }
  if (here) return lineage_of(repository, options.repo.cluster, *here);
  return choose_lineage(repository, options.repo.cluster, options.lineage);
}

Result<WalGetOutcome> get(const WalGetOptions& options) {
  auto file = WalFileName::parse(options.name);
  if (!file) {
    return make_error(ErrorKind::usage, options.name, "not the name of a WAL file")
        .with_hint("restore_command passes %f and %p: lifeboat … wal get %f %p");
  }
  std::string target =
      options.path.starts_with('/') ? options.path : join_path(options.working_directory, options.path);
  if (file->kind == WalFileKind::segment) {
    TRY_ASSIGN(WalComes comes, wait_at_gate(target, file->segment, options.stop));
    if (comes == WalComes::in_pg_wal) return WalGetOutcome::absent;
  }
  TRY_ASSIGN(Prefetch prefetch, Prefetch::open(options.prefetch, options.repo, options.working_directory,
                                               options.lineage, *file));
  if (prefetch.take(target)) return WalGetOutcome::prefetched;
  TRY_ASSIGN(repo::Repository repository, open_repository(options.repo));
  TRY_ASSIGN(ChosenLineage lineage, lineage_for(repository, options));
  repo::WalStore store(lineage.repo);
  TRY_ASSIGN(std::optional<repo::WalObject> object, store.find(*file));
  if (!object && file->kind == WalFileKind::segment) {
    TRY_ASSIGN(WalGetOutcome outcome, deliver_tail(lineage, *file, target));
    if (outcome == WalGetOutcome::delivered) return outcome;
    // Between the two looks a tail may have made way for its segment.
    TRY_ASSIGN(object, store.find(*file));
  }
  if (!object) {
    // A file system that went away between opening and listing shows an empty directory.
    TRY(repo::Repository::read_marker(repository.store()));
    return WalGetOutcome::absent;
  }
  prefetch.follow();
  if (file->kind == WalFileKind::history || file->kind == WalFileKind::backup_label) {
    TRY(deliver_small(store, *object, target));
  } else {
    TRY(deliver_segment(store, *object, {lineage.record.lineage, lineage.record.segment_size}, target));
  }
  return WalGetOutcome::delivered;
}

}  // namespace

Result<WalGetOutcome> get_wal(const WalGetOptions& options) {
  auto outcome = get(options);
  // Whatever else was not found (repository, cluster, key file, an object that vanished) is not absence
  // (T29).
  if (!outcome && outcome.error().kind == ErrorKind::not_found) outcome.error().kind = ErrorKind::unavailable;
  return outcome;
}

}  // namespace lifeboat::ops
