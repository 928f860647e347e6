#include "repo/wal_store.h"

#include <algorithm>
#include <utility>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr size_t kHashDigits = 2 * sizeof(codec::Hash128);
constexpr uint64_t kHistoryLimit = 1 << 20;
constexpr std::string_view kWalRoot = "wal/";

std::string timeline_prefix(Timeline timeline) {
  return cat(kWalRoot, timeline.to_hex(), "/");
}

std::string folder_of(const WalFileName& file) {
  std::string folder = timeline_prefix(file.timeline);
  if (file.kind == WalFileKind::history) return folder;
  return cat(folder, hex_number(file.segment.log_id, 8), "/");
}

std::optional<uint32_t> parse_hex8(std::string_view text) {
  if (text.size() != 8 || text.find_first_not_of("0123456789ABCDEF") != std::string_view::npos) {
    return std::nullopt;
  }
  return static_cast<uint32_t>(*parse_u64(text, 16));
}

CompressionOptions compression_for(const LineageRepo& repo, WalEffort effort) {
  CompressionOptions options = repo.compression();
  if (effort == WalEffort::hurried && options.compression == codec::Compression::zstd && options.level <= 1)
    options.compression = codec::Compression::lz4;
  return options;
}

Error conflict_between(const WalFileName& file, const std::string& ours, const std::string& theirs) {
  return make_error(ErrorKind::conflict, file.text,
                    cat("stored with different content: ", ours, " and ", theirs))
      .with_hint("two servers archive under one name (split brain or a clone); neither copy was replaced");
}

Error conflict_in_store(const std::vector<WalObject>& found) {
  std::vector<std::string> names;
  for (const WalObject& object : found) names.push_back(object.object);
  return make_error(ErrorKind::conflict, found.front().file.text,
                    cat("stored ", found.size(), " times with different content: ", join(names, " and ")))
      .with_hint(
          "two servers archived under one name (split brain or a clone); choose by hand which is right");
}

}  // namespace

WalSource WalSource::from_bytes(ByteView bytes) {
  return {bytes.size(), [bytes](uint64_t offset, MutableBytes out) -> Status {
            CHECK(offset <= bytes.size() && out.size() <= bytes.size() - offset);
            std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
            return {};
          }};
}

WalSource WalSource::from_fd(int fd, uint64_t size, std::string path) {
  return {size, [fd, path = std::move(path)](uint64_t offset, MutableBytes out) {
            return pread_exact(fd, offset, out, path);
          }};
}

Result<codec::Hash128> hash_source(const WalSource& source) {
  codec::Hasher128 hasher;
  Bytes piece;
  for (uint64_t at = 0; at < source.size; at += piece.size()) {
    piece.resize(std::min<uint64_t>(kWalFrameBytes, source.size - at));
    TRY(source.read_at(at, piece));
    hasher.update(piece);
  }
  return hasher.digest();
}

Result<codec::Hash128> write_frames(FrameWriter& writer, const WalSource& source) {
  codec::Hasher128 hasher;
  Bytes piece;
  uint64_t at = 0;
  do {
    piece.resize(std::min<uint64_t>(kWalFrameBytes, source.size - at));
    if (!piece.empty()) TRY(source.read_at(at, piece));
    hasher.update(piece);
    at += piece.size();
    TRY(writer.append(piece, at == source.size ? FrameEnd::last : FrameEnd::more));
  } while (at < source.size);
  return hasher.digest();
}

Result<std::vector<HistoryLine>> parse_history(std::string_view name, std::string_view text) {
  auto damaged = [&](size_t number, std::string what) {
    return make_error(ErrorKind::damaged, std::string(name), cat("line ", number, ": ", what));
  };
  std::vector<HistoryLine> lines;
  size_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    std::string_view rest = trim(line.substr(0, line.find('#')));
    if (rest.empty()) continue;
    constexpr std::string_view kBlank = " \t";
    size_t timeline_end = std::min(rest.find_first_of(kBlank), rest.size());
    auto timeline = parse_u64(rest.substr(0, timeline_end));
    rest = trim(rest.substr(timeline_end));
    auto lsn = Lsn::parse(rest.substr(0, rest.find_first_of(kBlank)));
    if (!timeline || *timeline == 0 || *timeline > UINT32_MAX || !lsn) {
      return damaged(number, "not a timeline and a switch point");
    }
    Timeline parent{static_cast<uint32_t>(*timeline)};
    if (!lines.empty() && lines.back().timeline >= parent) return damaged(number, "timelines do not ascend");
    lines.push_back({parent, *lsn});
  }
  return lines;
}

std::string wal_object_name(const WalFileName& file, const codec::Hash128& name_hash) {
  return cat(folder_of(file), file.text, "-", to_hex(name_hash));
}

std::optional<WalObject> parse_wal_object_name(std::string_view below) {
  size_t slash = below.rfind('/');
  if (slash == std::string_view::npos) return std::nullopt;
  std::string_view last = below.substr(slash + 1);
  if (last.size() <= kHashDigits + 1 || last[last.size() - kHashDigits - 1] != '-') return std::nullopt;
  auto hash = from_hex(last.substr(last.size() - kHashDigits));
  auto file = WalFileName::parse(last.substr(0, last.size() - kHashDigits - 1));
  if (!hash || !file) return std::nullopt;
  WalObject object{*file, std::string(below), {}, 0, {}};
  std::copy(hash->begin(), hash->end(), object.name_hash.begin());
  if (wal_object_name(*file, object.name_hash) != below) return std::nullopt;
  return object;
}

Result<std::vector<WalObject>> WalStore::find_all(const WalFileName& file) const {
  std::vector<WalObject> found;
  std::string prefix = repo_.name(cat(folder_of(file), file.text, "-"));
  TRY(repo_.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
    auto object = parse_wal_object_name(std::string_view(info.name).substr(repo_.prefix().size()));
    if (!object) return {};  // reported by verify
    object->object = info.name;
    object->stored_bytes = info.size;
    object->stored = info.modified;
    found.push_back(std::move(*object));
    return {};
  }));
  return found;
}

Result<bool> WalStore::look(const WalFileName& file, const std::string& object,
                            const codec::Hash128& hash) const {
  TRY_ASSIGN(std::vector<WalObject> found, find_all(file));
  bool ours = false;
  for (const WalObject& other : found) {
    if (other.name_hash == hash) {
      ours = true;
    } else if (guards_.conflict_check) {
      return conflict_between(file, object, other.object);
    }
  }
  return ours;
}

Result<StagedWal> WalStore::stage(const WalFileName& file, const WalSource& source, WalEffort effort) const {
  TRY_ASSIGN(codec::Hash128 content, hash_source(source));
  StagedWal staged;
  staged.file_ = file;
  staged.name_hash_ = repo_.keys().name_hash(file.text, content);
  staged.object_ = repo_.name(wal_object_name(file, staged.name_hash_));
  TRY_ASSIGN(bool stored_before, look(file, staged.object_, staged.name_hash_));
  if (stored_before) return staged;
  TRY_ASSIGN(FrameWriter writer, FrameWriter::create(repo_.store(), repo_.keys(), ObjectKind::wal,
                                                     staged.object_, compression_for(repo_, effort)));
  TRY_ASSIGN(codec::Hash128 written, write_frames(writer, source));
  if (written != content) {
    return make_error(ErrorKind::failed, file.text, "changed while it was read; nothing was stored");
  }
  staged.writer_ = std::move(writer).release();
  return staged;
}

Result<PushOutcome> WalStore::publish(StagedWal staged) const {
  if (staged.stored_before()) {
    TRY(repo_.store().confirm(staged.object_));
    return PushOutcome::already_stored;
  }
  auto committed = staged.writer_->commit();
  // The name holds the content's hash, so whoever was faster stored the same.
  bool same_again = !committed && committed.error().kind == ErrorKind::conflict;
  if (!committed && !same_again) return std::move(committed).error();
  // Two pushers that both found nothing see each other now, at least the later one.
  TRY_ASSIGN(bool there, look(staged.file_, staged.object_, staged.name_hash_));
  if (!there) {
    return make_error(ErrorKind::failed, staged.file_.text,
                      cat(staged.object_, " was stored and is not listed"));
  }
  if (!same_again) return PushOutcome::stored;
  TRY(repo_.store().confirm(staged.object_));
  return PushOutcome::already_stored;
}

Result<PushOutcome> WalStore::push(const WalFileName& file, const WalSource& source) const {
  TRY_ASSIGN(StagedWal staged, stage(file, source));
  return publish(std::move(staged));
}

Result<std::optional<WalObject>> WalStore::find(const WalFileName& file) const {
  TRY_ASSIGN(std::vector<WalObject> found, find_all(file));
  if (found.empty()) return std::optional<WalObject>();
  if (found.size() > 1) return conflict_in_store(found);
  return std::optional<WalObject>(std::move(found.front()));
}

Result<uint64_t> WalStore::get(const WalFileName& file, const Sink& sink) const {
  TRY_ASSIGN(std::optional<WalObject> object, find(file));
  if (!object) return make_error(ErrorKind::not_found, file.text, cat("not stored in ", repo_.store().url()));
  return get_object(*object, sink);
}

Result<uint64_t> WalStore::get_object(const WalObject& object, const Sink& sink) const {
  TRY_ASSIGN(FrameReader reader,
             FrameReader::open(repo_.store(), repo_.keys(), ObjectKind::wal, object.object));
  codec::Hasher128 hasher;
  uint64_t size = 0;
  Frame frame;
  do {
    TRY(reader.next(frame));
    hasher.update(frame.plain);
    size += frame.plain.size();
    TRY(sink(frame.plain));
  } while (!frame.last);
  TRY(reader.expect_end());
  if (repo_.keys().name_hash(object.file.text, hasher.digest()) != object.name_hash) {
    return make_error(ErrorKind::damaged, object.object, "its content does not match the hash in its name");
  }
  return size;
}

Result<Bytes> WalStore::get_small(const WalFileName& file, uint64_t size_limit) const {
  Bytes content;
  TRY(get(file, [&](ByteView piece) -> Status {
    if (content.size() + piece.size() > size_limit) {
      return make_error(ErrorKind::damaged, file.text, cat("larger than ", size_limit, " bytes"));
    }
    content.insert(content.end(), piece.begin(), piece.end());
    return {};
  }));
  return content;
}

Result<std::vector<Timeline>> list_wal_timelines(const LineageRepo& repo, std::string_view root) {
  TRY_ASSIGN(std::vector<std::string> names, repo.store().list_dirs(repo.name(root)));
  std::vector<Timeline> timelines;
  for (const std::string& name : names) {
    if (auto number = parse_hex8(name); number && *number != 0) timelines.push_back({*number});
  }
  return timelines;
}

Status list_by_segment(const LineageRepo& repo, std::string_view root, Timeline timeline,
                       const WalStore::Range& range, const std::function<Status(const WalObject&)>& each) {
  std::string prefix = repo.name(cat(root, timeline.to_hex(), "/"));
  TRY_ASSIGN(std::vector<std::string> folders, repo.store().list_dirs(prefix));
  for (const std::string& folder : folders) {
    auto log_id = parse_hex8(folder);
    if (!log_id) continue;
    if (range.from && *log_id < range.from->log_id) continue;
    if (range.end && *log_id > range.end->log_id) break;
    TRY(repo.store().list(cat(prefix, folder, "/"), [&](const storage::ObjectInfo& info) -> Status {
      std::string_view below = std::string_view(info.name).substr(repo.prefix().size() + root.size());
      auto object = parse_wal_object_name(cat(kWalRoot, below));
      if (!object) return {};  // reported by verify
      if (range.from && object->file.segment < *range.from) return {};
      if (range.end && object->file.segment >= *range.end) return {};
      object->object = info.name;
      object->stored_bytes = info.size;
      object->stored = info.modified;
      return each(*object);
    }));
  }
  return {};
}

Result<std::vector<Timeline>> WalStore::timelines() const {
  return list_wal_timelines(repo_, kWalRoot);
}

Status WalStore::list(Timeline timeline, const Range& range,
                      const std::function<Status(const WalObject&)>& each) const {
  return list_by_segment(repo_, kWalRoot, timeline, range, each);
}

Status WalStore::list_segments(Timeline timeline, const Range& range,
                               const std::function<Status(const SegmentName&, int copies)>& each) const {
  std::optional<SegmentName> pending;
  int copies = 0;
  TRY(list(timeline, range, [&](const WalObject& object) -> Status {
    if (object.file.kind != WalFileKind::segment) return {};
    if (pending == object.file.segment) {
      ++copies;
      return {};
    }
    if (pending) TRY(each(*pending, copies));
    pending = object.file.segment;
    copies = 1;
    return {};
  }));
  if (pending) TRY(each(*pending, copies));
  return {};
}

namespace {
enum class Side : uint8_t { oldest, newest };

// The first or last segment of a timeline of which `wanted` holds for a stored file; looks at one log id at a
// time.
Result<std::optional<SegmentName>> end_segment(const LineageRepo& repo, Timeline timeline, Side side,
                                               const std::function<bool(WalFileKind)>& wanted) {
  std::string prefix = repo.name(timeline_prefix(timeline));
  TRY_ASSIGN(std::vector<std::string> folders, repo.store().list_dirs(prefix));
  if (side == Side::newest) std::reverse(folders.begin(), folders.end());
  for (const std::string& folder : folders) {
    if (!parse_hex8(folder)) continue;
    std::optional<SegmentName> found;
    TRY(repo.store().list(cat(prefix, folder, "/"), [&](const storage::ObjectInfo& info) -> Status {
      auto object = parse_wal_object_name(std::string_view(info.name).substr(repo.prefix().size()));
      if (!object || !wanted(object->file.kind)) return {};
      if (side == Side::newest || !found) found = object->file.segment;
      return {};
    }));
    if (found) return found;
  }
  return std::optional<SegmentName>();
}
}  // namespace

Result<std::optional<SegmentName>> WalStore::newest_segment(Timeline timeline) const {
  return end_segment(repo_, timeline, Side::newest,
                     [](WalFileKind kind) { return kind == WalFileKind::segment; });
}

Result<std::optional<WalStore::Extent>> WalStore::extent(Timeline timeline) const {
  auto any = [](WalFileKind) { return true; };
  TRY_ASSIGN(auto oldest, end_segment(repo_, timeline, Side::oldest, any));
  TRY_ASSIGN(auto newest, end_segment(repo_, timeline, Side::newest, any));
  if (!oldest || !newest) return std::optional<Extent>();
  return std::optional<Extent>(Extent{*oldest, *newest});
}

Result<std::vector<WalObject>> WalStore::histories() const {
  std::vector<WalObject> found;
  TRY_ASSIGN(std::vector<Timeline> known, timelines());
  for (Timeline timeline : known) {
    auto file = WalFileName::parse(cat(timeline.to_hex(), ".history"));
    if (!file) continue;  // timeline 1
    TRY_ASSIGN(std::vector<WalObject> objects, find_all(*file));
    for (WalObject& object : objects) found.push_back(std::move(object));
  }
  return found;
}

Result<std::vector<HistoryLine>> WalStore::history(Timeline timeline) const {
  if (timeline.value <= 1) return std::vector<HistoryLine>();
  auto file = WalFileName::parse(cat(timeline.to_hex(), ".history"));
  CHECK(file.has_value());
  TRY_ASSIGN(Bytes content, get_small(*file, kHistoryLimit));
  return parse_history(file->text, as_text(content));
}

Result<Coverage> WalStore::coverage(Timeline timeline, Lsn from, Lsn to, SegmentSize size) const {
  SegmentName wanted = SegmentName::containing(timeline, from, size);
  Coverage coverage;
  coverage.covered_to = from;
  if (to <= from) return coverage;
  SegmentName last = SegmentName::containing(timeline, {to.value - 1}, size);
  SegmentName end = last.next(size);
  TRY(list_segments(timeline, {wanted, end}, [&](const SegmentName& segment, int copies) -> Status {
    if (coverage.first_missing) return {};
    if (segment != wanted) {
      coverage.first_missing = wanted;
      return {};
    }
    if (copies > 1) coverage.conflicts.push_back(segment);
    coverage.covered_to = segment.end(size);
    wanted = wanted.next(size);
    return {};
  }));
  if (!coverage.first_missing && wanted != end) coverage.first_missing = wanted;
  return coverage;
}

}  // namespace lifeboat::repo
