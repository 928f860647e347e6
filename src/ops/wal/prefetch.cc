#include "ops/wal/prefetch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "codec/codec.h"
#include "ops/wal/delivery.h"
#include "ops/wal/prefetcher.h"
#include "ops/wal/segment_check.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr mode_t kSpoolMode = 0700;
constexpr size_t kSegmentDigits = 24;
constexpr size_t kHashDigits = 16;
// A call that waited this long fetches for itself: the fetcher hangs, or its store does.
constexpr int64_t kLongestWaitUs = 10'000'000;
constexpr int kLookAgainMs = 1;
constexpr size_t kCopyBytes = 1 << 20;

std::string short_hash(std::string_view text) {
  return to_hex(codec::hash128(as_bytes(text))).substr(0, kHashDigits);
}

std::string prefix_of(const RepoLocation& repo, const Lineage& lineage) {
  return cat(repo.cluster, "-", lineage.to_string(), "-", short_hash(repo.url), "-");
}

// The nearest directory at or above `path` that exists, without symbolic links.
Result<std::string> existing_above(std::string path) {
  while (true) {
    TRY_ASSIGN(bool there, path_exists(path));
    if (there || path == "/") return resolve_path(path);
    path = parent_path(path);
  }
}

Status refuse_data_directory(const std::string& spool, const std::string& working_directory) {
  auto refuse = [&](const std::string& directory) {
    return make_error(ErrorKind::precondition, spool, cat("the spool lies in ", directory))
        .with_hint("what is fetched ahead must not be part of a data directory; give another --spool");
  };
  TRY_ASSIGN(std::string existing, existing_above(spool));
  TRY_ASSIGN(std::string pg_wal, resolve_path(join_path(working_directory, "pg_wal")));
  for (std::string path = existing; path != "/"; path = parent_path(path)) {
    TRY_ASSIGN(bool data_directory, path_exists(join_path(path, "PG_VERSION")));
    if (data_directory || path == pg_wal) return refuse(path);
  }
  return {};
}

// Nobody else may put files there: they would be replayed.
Status check_ours(const std::string& path) {
  TRY_ASSIGN(FileInfo info, lstat_path(path));
  bool ours = info.kind == FileKind::directory && info.uid == ::geteuid() && (info.mode & 022) == 0;
  if (ours) return {};
  return make_error(ErrorKind::permission, path, "must be a directory that only this user may write to");
}

Status make_directory(const std::string& path) {
  TRY(create_dirs(path, kSpoolMode));
  return check_ours(path);
}

// Of a call that was told none. Every call of a recovery finds the same one.
Result<std::string> choose_spool() {
  const std::vector<std::string> places = default_spools(::geteuid());
  TRY_ASSIGN(std::string existing, existing_above(places.front()));
  if (::access(existing.c_str(), W_OK | X_OK) == 0) return places.front();
  TRY(make_directory(places.back()));
  return places.back();
}

// The fetcher's ear; not_found when there is no fetcher.
Result<Fd> open_requests(const PrefetchPlace& place) {
  std::string path = join_path(place.directory, kPrefetchRequests);
  auto fd = open_file(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
  if (fd) return fd;
  // ENXIO, a FIFO that nobody reads, has no kind of its own.
  return make_error(ErrorKind::not_found, path, "nobody fetches").with_cause(fd.error().to_string());
}

// Waits a moment; false when the fetcher ended.
bool still_there(int fd) {
  pollfd poll{fd, 0, 0};
  return ::poll(&poll, 1, kLookAgainMs) == 0;
}

}  // namespace

std::vector<std::string> default_spools(uid_t user) {
  return {"/var/lib/lifeboat/spool", cat("/var/tmp/lifeboat-", user)};
}

std::string prefetch_directory(const RepoLocation& repo, const Lineage& lineage,
                               const std::string& data_directory) {
  return cat(prefix_of(repo, lineage), short_hash(data_directory));
}

bool is_prefetch_directory(std::string_view name) {
  constexpr size_t kTail = 2 * (1 + kHashDigits);
  if (name.size() <= kTail) return false;
  std::string_view tail = name.substr(name.size() - kTail);
  return tail[0] == '-' && tail[1 + kHashDigits] == '-' && from_hex(tail.substr(1, kHashDigits)) &&
         from_hex(tail.substr(2 + kHashDigits));
}

std::string fetching_name(const SegmentName& segment) {
  return cat(segment.to_string(), ".fetching");
}

std::optional<SegmentName> spooled_segment(std::string_view name) {
  return SegmentName::parse(name.substr(0, kSegmentDigits));
}

uint64_t prefetch_reserve(SegmentSize size) {
  return 2 * uint64_t{size.bytes};
}

Result<Prefetch> Prefetch::open(const PrefetchOptions& options, const RepoLocation& repo,
                                const std::string& working_directory, const std::optional<Lineage>& asked,
                                const WalFileName& file) {
  Prefetch prefetch;
  prefetch.options_ = options;
  prefetch.segment_ = file.segment;
  if (options.segments <= 0 || file.kind != WalFileKind::segment || working_directory.empty())
    return prefetch;
  auto facts = read_data_dir(working_directory);
  if (!facts || (asked && *asked != facts->lineage)) return prefetch;  // the call itself tells what is wrong
  std::string spool = options.spool;
  if (spool.empty()) {
    auto chosen = choose_spool();
    if (!chosen && options.note) options.note(chosen.error());
    if (!chosen) return prefetch;
    spool = std::move(*chosen);
  }
  TRY(refuse_data_directory(spool, facts->path));
  PrefetchPlace place{repo, facts->lineage, {facts->control.wal_segment_size}, spool, {}};
  place.directory = join_path(spool, prefetch_directory(repo, facts->lineage, facts->path));
  prefetch.place_ = std::move(place);
  return prefetch;
}

bool Prefetch::take(const std::string& target) {
  if (!place_) return false;
  auto requests = open_requests(*place_);
  if (!requests) return false;
  const std::string fetching = join_path(place_->directory, fetching_name(segment_));
  Clock& clock = Clock::system();
  const int64_t deadline = clock.monotonic_us() + kLongestWaitUs;
  bool taken = take_now(target);
  while (!taken && clock.monotonic_us() < deadline) {
    auto underway = path_exists(fetching);
    if (!underway || !*underway) {
      taken = take_now(target);  // it may have become whole between the two looks
      break;
    }
    if (!still_there(requests->get())) break;
    taken = take_now(target);
  }
  if (taken) request(requests->get());
  return taken;
}

bool Prefetch::take_now(const std::string& target) {
  const std::string spooled = join_path(place_->directory, segment_.to_string());
  const std::string taken = cat(spooled, ".", ::getpid(), ".taken");
  if (::rename(spooled.c_str(), taken.c_str()) != 0) return false;
  Status delivered = deliver(taken, target);
  if (!delivered) {
    (void)remove_file(taken);  // the fetcher removes what is left behind
    if (options_.note) options_.note(delivered.error());
  }
  return delivered.has_value();
}

Status Prefetch::deliver(const std::string& taken, const std::string& target) const {
  auto name = WalFileName::parse(segment_.to_string());
  CHECK(name.has_value());
  TRY_ASSIGN(Fd fd, open_file(taken, O_RDONLY | O_NOFOLLOW));
  TRY_ASSIGN(FileInfo info, stat_fd(fd.get(), taken));
  TRY(check_segment_size(taken, info.size, place_->segment_size));
  Bytes piece(pg::kSegmentHeaderSize);
  TRY(pread_exact(fd.get(), 0, piece, taken));
  TRY(check_segment_header(taken, *name, piece, {place_->lineage, place_->segment_size}));
  // The fetcher has synced it, so on the same file system it only gets its place.
  uint64_t point = fault::point("get.take");
  if (::rename(taken.c_str(), target.c_str()) == 0) {
    fault::passed(point);
    return {};
  }
  if (errno != EXDEV) return errno_error(errno, target, "create");
  TRY_ASSIGN(Delivery delivery, Delivery::begin(target));
  for (uint64_t at = 0; at < info.size; at += piece.size()) {
    piece.resize(std::min<uint64_t>(kCopyBytes, info.size - at));
    TRY(pread_exact(fd.get(), at, piece, taken));
    TRY(delivery.append(piece));
  }
  // `taken` is left to the fetcher: giving 16 MB back to a disk takes as long as a segment's replay.
  return delivery.finish();
}

bool Prefetch::request(int fd) const {
  const std::string line = segment_.to_string() + "\n";  // shorter than PIPE_BUF, so never torn
  return ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

void Prefetch::follow() {
  if (!place_) return;
  if (auto requests = open_requests(*place_); requests && request(requests->get())) return;
  Status begun = begin();
  if (!begun && options_.note) options_.note(begun.error());
}

Status Prefetch::begin() const {
  TRY(make_directory(place_->directory));
  TRY_ASSIGN(uint64_t room, free_bytes(place_->directory));
  if (room < prefetch_reserve(place_->segment_size)) {
    return make_error(ErrorKind::space, place_->spool,
                      cat("only ", format_bytes(room), " are free, so nothing is fetched ahead"));
  }
  return leave_fetcher(*place_, segment_, options_.segments);
}

Status clear_spool(const std::string& spool, const RepoLocation& repo, const Lineage& lineage) {
  auto entries = list_dir(spool);
  if (!entries && entries.error().kind == ErrorKind::not_found) return {};
  TRY(entries);
  // Anybody can make one below /var/tmp, with links to elsewhere in it.
  if (spool == default_spools(::geteuid()).back()) TRY(check_ours(spool));
  for (const DirEntry& entry : *entries) {
    if (!entry.name.starts_with(prefix_of(repo, lineage)) || !is_prefetch_directory(entry.name)) continue;
    const std::string directory = join_path(spool, entry.name);
    TRY(check_ours(directory));
    auto files = list_dir(directory);
    if (!files && files.error().kind == ErrorKind::not_found) continue;
    TRY(files);
    for (const DirEntry& file : *files) {
      if (spooled_segment(file.name)) TRY(remove_file(join_path(directory, file.name)));
    }
  }
  return {};
}

}  // namespace lifeboat::ops
