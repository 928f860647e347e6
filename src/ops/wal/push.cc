#include "ops/wal/push.h"

#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "ops/wal/push_ahead.h"
#include "ops/wal/push_queue.h"
#include "ops/wal/push_state.h"
#include "ops/wal/segment_check.h"
#include "pg/format/timeline_history.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kHistoryLimit = 1 << 20;

WalFileName history_file(Timeline timeline) {
  auto file = WalFileName::parse(cat(timeline.to_hex(), ".history"));
  CHECK(file.has_value());
  return *file;
}

// --- histories

struct SettledHistory {
  pg::TimelineHistory history;
  repo::PushOutcome outcome;
};

// Stores the history file that lies beside the segments, or compares it with the stored one: WAL of a
// timeline whose history says something else comes from another server (T23). nullopt when none lies there.
Result<std::optional<SettledHistory>> settle_history(const repo::WalStore& store, Timeline timeline,
                                                     WalPlace& place) {
  auto file = place.open(history_file(timeline));
  if (!file && file.error().kind == ErrorKind::not_found) return std::optional<SettledHistory>();
  TRY(file);
  Bytes text(static_cast<size_t>(std::min(file->size, kHistoryLimit)));
  TRY(pread_exact(file->fd.get(), 0, text, file->path));
  auto parsed = pg::TimelineHistory::parse(timeline, as_text(text));
  if (!parsed)
    return make_error(ErrorKind::damaged, file->path, "not a timeline history")
        .with_cause(parsed.error().to_string());
  TRY_ASSIGN(repo::PushOutcome outcome,
             store.push(history_file(timeline), repo::WalSource::from_bytes(text)));
  if (outcome == repo::PushOutcome::stored) {
    // The first WAL of a new timeline: the histories of its ancestors too, because recovery looks for the
    // newest timeline by counting up from its own and stops at the first number that has no history.
    for (const pg::TimelineSwitch& ancestor : parsed->ancestors()) {
      if (ancestor.timeline.value > 1) TRY(settle_history(store, ancestor.timeline, place));
    }
  }
  return std::optional<SettledHistory>({std::move(*parsed), outcome});
}

Result<std::optional<pg::TimelineHistory>> stored_history(const repo::WalStore& store, Timeline timeline) {
  auto text = store.get_small(history_file(timeline), kHistoryLimit);
  if (!text && text.error().kind == ErrorKind::not_found) return std::optional<pg::TimelineHistory>();
  TRY(text);
  TRY_ASSIGN(auto history, pg::TimelineHistory::parse(timeline, as_text(*text)));
  return std::optional<pg::TimelineHistory>(std::move(history));
}

// A segment whose first page is an ancestor's was copied at a promotion: the ancestor must own that position.
Status check_ancestor(const std::string& path, const WalFileName& file, const pg::SegmentHeader& header,
                      const std::optional<pg::TimelineHistory>& history) {
  if (header.timeline == file.timeline || !history) return {};
  Timeline owner = history->owner(header.start);
  if (owner == header.timeline) return {};
  return make_error(ErrorKind::damaged, path,
                    cat("begins with WAL of timeline ", header.timeline.value,
                        "; by the history of timeline ", file.timeline.value, " it must be ", owner.value));
}

// --- partial segments

// Do the file and the stored object say the same as far as both mean something? Whole segments mean something
// throughout, a .partial up to its last valid record.
Status compare_valid_prefix(const repo::WalStore& store, const WalPlace::File& file, const WalFileName& name,
                            const repo::WalObject& object, SegmentSize size) {
  ValidPrefix ours(name.segment, size);
  ValidPrefix theirs(name.segment, size);
  uint64_t at = 0;
  std::optional<uint64_t> difference;
  Bytes piece;
  TRY_ASSIGN(uint64_t stored_size, store.get_object(object, [&](ByteView stored) -> Status {
    piece.resize(static_cast<size_t>(std::min<uint64_t>(stored.size(), file.size - std::min(at, file.size))));
    TRY(pread_exact(file.fd.get(), at, piece, file.path));
    if (!difference) {
      auto [mine, other] = std::mismatch(piece.begin(), piece.end(), stored.begin());
      if (mine != piece.end()) difference = at + static_cast<uint64_t>(mine - piece.begin());
    }
    if (name.kind == WalFileKind::partial && !piece.empty()) ours.add(piece);
    if (object.file.kind == WalFileKind::partial && !stored.empty()) theirs.add(stored);
    at += stored.size();
    return {};
  }));
  uint64_t valid = std::min(stored_size, file.size);
  if (name.kind == WalFileKind::partial) valid = std::min(valid, ours.finish());
  if (object.file.kind == WalFileKind::partial) valid = std::min(valid, theirs.finish());
  if (!difference || *difference >= valid) return {};
  return make_error(ErrorKind::conflict, name.text,
                    cat("differs from ", object.object, " at ",
                        (name.segment.start(size) + *difference).to_string(), ", where both hold valid WAL"))
      .with_hint(
          "two servers archive under one name (split brain or a clone); nothing was stored or replaced");
}

// Compares with whatever else is stored of this segment. True: what the file means is stored already.
Result<bool> settle_partials(const repo::WalStore& store, const WalPlace::File& file, const WalFileName& name,
                             SegmentSize size) {
  auto partial = WalFileName::parse(cat(name.segment.to_string(), ".partial"));
  CHECK(partial.has_value());
  TRY_ASSIGN(std::vector<repo::WalObject> others, store.find_all(*partial));
  bool stored = false;
  if (name.kind == WalFileKind::partial) {
    auto whole = WalFileName::parse(name.segment.to_string());
    CHECK(whole.has_value());
    TRY_ASSIGN(std::vector<repo::WalObject> segments, store.find_all(*whole));
    others.insert(others.end(), segments.begin(), segments.end());
    stored = !others.empty();
  }
  for (const repo::WalObject& other : others) {
    TRY(compare_valid_prefix(store, file, name, other, size));
    if (stored) TRY(store.confirm(other));
  }
  return stored;
}

// --- segments

repo::WalSource source_of(const WalPlace::File& file) {
  return repo::WalSource::from_fd(file.fd.get(), file.size, file.path);
}

// Is a segment or .partial what its name, the lineage and the timeline's history say?
Status check_segment(const ChosenLineage& lineage, const WalPlace::File& open, const WalFileName& file,
                     WalPlace& place) {
  SegmentExpectation expected{lineage.record.lineage, lineage.record.segment_size};
  Bytes head(pg::kSegmentHeaderSize);
  TRY_ASSIGN(size_t got, pread_some(open.fd.get(), 0, head, open.path));
  TRY_ASSIGN(pg::SegmentHeader header,
             check_segment_header(open.path, file, ByteView(head).first(got), expected));
  TRY(check_segment_size(open.path, open.size, expected.segment_size));
  if (file.timeline.value == 1) return {};
  repo::WalStore store(lineage.repo);
  TRY_ASSIGN(auto settled, settle_history(store, file.timeline, place));
  std::optional<pg::TimelineHistory> history;
  if (settled) {
    history = std::move(settled->history);
  } else if (header.timeline != file.timeline) {
    TRY_ASSIGN(history, stored_history(store, file.timeline));
  }
  return check_ancestor(open.path, file, header, history);
}

// --- the data directory

// Resolves %p and refuses what is not a file of the data directory at hand.
Result<WalFileName> locate(const WalPushOptions& options, const DataDirFacts& facts) {
  if (options.pgdata) {
    TRY_ASSIGN(FileInfo named, stat_path(*options.pgdata));
    TRY_ASSIGN(FileInfo here, stat_path(facts.path));
    if (named.device != here.device || named.inode != here.inode) {
      return make_error(ErrorKind::precondition, *options.pgdata,
                        cat("--pgdata is not the working directory, which is ", facts.path))
          .with_hint(
              "archive_command runs in the data directory; leave --pgdata out or let it name the same one");
    }
  }
  auto file = WalFileName::parse(base_name(options.path));
  if (!file) {
    return make_error(ErrorKind::usage, options.path, "not the name of a WAL file")
        .with_hint("archive_command passes %p: lifeboat … wal push %p");
  }
  std::string path = options.path.starts_with('/') ? options.path : join_path(facts.path, options.path);
  TRY_ASSIGN(FileInfo directory, stat_path(parent_path(path)));
  TRY_ASSIGN(FileInfo pg_wal, stat_path(join_path(facts.path, "pg_wal")));
  if (directory.device != pg_wal.device || directory.inode != pg_wal.inode) {
    return make_error(ErrorKind::precondition, path, cat("does not lie in ", facts.path, "/pg_wal"));
  }
  return *file;
}

// The note is a convenience for doctor: a host without the directory, or where it is somebody else's, goes
// without, and the outcome of the push is what counts.
void note_outcome(const WalPushOptions& options, const Lineage& lineage,
                  const Result<WalPushResult>& result) {
  if (options.state_directory.empty()) return;
  if (result) {
    (void)clear_push_failure(options.state_directory, options.repo.cluster, lineage);
    return;
  }
  const Error& error = result.error();
  (void)note_push_failure(options.state_directory, {.cluster = options.repo.cluster,
                                                    .lineage = lineage,
                                                    .first = {},
                                                    .last = {Clock::system().unix_us()},
                                                    .count = 0,
                                                    .file = std::string(base_name(options.path)),
                                                    .kind = std::string(info(error.kind).id),
                                                    .text = error.to_string(),
                                                    .hint = error.hint});
}

// T27: more waits than the disk is to hold, and this segment cannot be stored. nullopt: it has to wait.
// Why it could not be dropped goes into `why`.
std::optional<std::string> drop(const WalPushOptions& options, const DataDirFacts& facts,
                                const WalFileName& file, Error& why) {
  if (!options.queue_max_bytes || options.state_directory.empty() || !may_be_dropped(file, why))
    return std::nullopt;
  auto segments = waiting_segments(join_path(facts.path, "pg_wal"));
  const SegmentSize size{facts.control.wal_segment_size};
  if (!segments || *segments * size.bytes <= *options.queue_max_bytes) return std::nullopt;
  const Lsn begin = file.segment.start(size);
  const std::string reason =
      cat("dropped because ", *segments * size.bytes, " bytes of WAL waited, more than --queue-max allows, ",
          "and it could not be stored: ", why.to_string());
  Status noted =
      note_dropped(options.state_directory, options.repo.cluster, facts.lineage,
                   {file.timeline, begin, begin + size.bytes, {Clock::system().unix_us()}, "", reason});
  if (noted) return reason;
  why.hint += cat(why.hint.empty() ? "" : "; ",
                  "--queue-max would drop it, but that cannot be noted: ", noted.error().to_string());
  return std::nullopt;
}

}  // namespace

Result<WalPlace::File> WalDirectory::open(const WalFileName& file) {
  File open;
  open.path = join_path(path_, file.text);
  TRY_ASSIGN(open.fd, open_file(open.path, O_RDONLY));
  TRY_ASSIGN(FileInfo info, stat_fd(open.fd.get(), open.path));
  if (info.kind != FileKind::regular) return make_error(ErrorKind::failed, open.path, "not a regular file");
  open.size = info.size;
  return open;
}

Result<Bytes> WalDirectory::head(const WalFileName& file, size_t size) {
  TRY_ASSIGN(File opened, open(file));
  Bytes bytes(size);
  TRY_ASSIGN(size_t got, pread_some(opened.fd.get(), 0, bytes, opened.path));
  bytes.resize(got);
  return bytes;
}

Result<repo::PushOutcome> store_wal_file(const ChosenLineage& lineage, const WalFileName& file,
                                         WalPlace& place) {
  repo::WalStore store(lineage.repo);
  if (file.kind == WalFileKind::history) {
    TRY_ASSIGN(auto settled, settle_history(store, file.timeline, place));
    if (!settled) return make_error(ErrorKind::not_found, file.text, "there is no such file");
    return settled->outcome;
  }
  TRY_ASSIGN(WalPlace::File open, place.open(file));
  if (file.kind == WalFileKind::backup_label) return store.push(file, source_of(open));
  TRY(check_segment(lineage, open, file, place));
  TRY_ASSIGN(bool stored, settle_partials(store, open, file, lineage.record.segment_size));
  if (stored) return repo::PushOutcome::already_stored;
  return store.push(file, source_of(open));
}

Result<repo::StagedWal> stage_segment(const ChosenLineage& lineage, const WalFileName& file, WalPlace& place,
                                      repo::WalEffort effort) {
  CHECK(file.kind == WalFileKind::segment);
  repo::WalStore store(lineage.repo);
  TRY_ASSIGN(WalPlace::File open, place.open(file));
  TRY(check_segment(lineage, open, file, place));
  TRY(settle_partials(store, open, file, lineage.record.segment_size));
  TRY_ASSIGN(repo::StagedWal staged, store.stage(file, source_of(open), effort));
  TRY(staged.sync());
  return staged;
}

// What a push needs beyond its file.
struct WalPusher::Open {
  static Result<std::unique_ptr<Open>> open(const WalPushOptions& options, const DataDirFacts& facts,
                                            PusherLife life) {
    RepoLocation where = options.repo;
    where.patience = where.patience.shortened_to(kArchiverPatienceUs);
    TRY_ASSIGN(repo::Repository opened, open_repository(where));
    auto repository = std::make_unique<repo::Repository>(std::move(opened));
    TRY_ASSIGN(ChosenLineage lineage, lineage_of(*repository, options.repo.cluster, facts));
    const AheadOptions ahead{options.ahead, life, where.patience.stop};
    return std::make_unique<Open>(std::move(repository), std::move(lineage), ahead, facts);
  }
  Open(std::unique_ptr<repo::Repository> its_repository, ChosenLineage chosen, const AheadOptions& ahead,
       const DataDirFacts& facts)
      : repository(std::move(its_repository)),
        pusher(std::move(chosen), join_path(facts.path, "pg_wal"), ahead),
        lineage(facts.lineage),
        directory(facts.path) {}
  std::unique_ptr<repo::Repository> repository;
  AheadPusher pusher;
  Lineage lineage;
  std::string directory;
};

WalPusher::WalPusher(PusherLife life) : life_(life) {}
WalPusher::~WalPusher() = default;

Result<WalPushResult> WalPusher::push(const WalPushOptions& options) {
  if (options.working_directory.empty()) {
    return make_error(ErrorKind::precondition, "working directory", "cannot be determined");
  }
  std::lock_guard lock(mutex_);
  TRY_ASSIGN(DataDirFacts facts, read_data_dir(options.working_directory));
  auto file = locate(options, facts);
  auto result = [&]() -> Result<WalPushResult> {
    TRY(file);
    if (open_ && (open_->lineage != facts.lineage || open_->directory != facts.path)) open_.reset();
    if (!open_) {
      TRY_ASSIGN(open_, Open::open(options, facts, life_));
    }
    WalPushResult pushed{*file, facts.lineage, repo::PushOutcome::stored};
    TRY_ASSIGN(pushed.outcome, open_->pusher.push(*file));
    return pushed;
  }();
  note_outcome(options, facts.lineage, result);
  if (result) {
    // A record that cannot be written now stays noted here.
    if (!options.state_directory.empty())
      (void)report_dropped(open_->pusher.repo(), options.state_directory, options.repo.cluster,
                           facts.lineage);
    return result;
  }
  open_.reset();
  if (!file) return result;
  if (auto dropped = drop(options, facts, *file, result.error()))
    return WalPushResult{*file, facts.lineage, repo::PushOutcome::stored, *std::move(dropped)};
  return result;
}

Result<WalPushResult> push_wal(const WalPushOptions& options) {
  return WalPusher(PusherLife::one_call).push(options);
}

}  // namespace lifeboat::ops
