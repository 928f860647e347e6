#include "repo/wal_tail.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr std::string_view kRoot = "tails/";
constexpr size_t kNumberDigits = 8;
constexpr size_t kSegmentDigits = 24;
constexpr size_t kHashDigits = 2 * sizeof(codec::Hash128);

// What the hash in the name is made with beside the content.
std::string title(const TailPiece& piece) {
  return cat(piece.segment.to_string(), "-", hex_number(piece.begin, kNumberDigits), "-",
             hex_number(piece.end, kNumberDigits));
}

std::string folder_of(const SegmentName& segment) {
  return cat(kRoot, segment.timeline.to_hex(), "/", hex_number(segment.log_id, kNumberDigits), "/");
}

std::optional<uint32_t> parse_number(std::string_view text) {
  if (text.find_first_not_of("0123456789ABCDEF") != std::string_view::npos) return std::nullopt;
  auto number = parse_u64(text, 16);
  if (!number) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

}  // namespace

uint32_t covered(const std::vector<TailPiece>& pieces) {
  uint32_t end = 0;
  for (bool grown = true; grown;) {
    grown = false;
    for (const TailPiece& piece : pieces) {
      if (piece.begin > end || piece.end <= end) continue;
      end = piece.end;
      grown = true;
    }
  }
  return end;
}

std::string tail_object_name(const TailPiece& piece) {
  return cat(folder_of(piece.segment), title(piece), "-", to_hex(piece.name_hash));
}

std::optional<TailPiece> parse_tail_object_name(std::string_view below) {
  if (!below.starts_with(kRoot)) return std::nullopt;
  std::vector<std::string_view> parts = split(below.substr(below.rfind('/') + 1), '-');
  if (parts.size() != 4 || parts[0].size() != kSegmentDigits || parts[1].size() != kNumberDigits ||
      parts[2].size() != kNumberDigits || parts[3].size() != kHashDigits) {
    return std::nullopt;
  }
  auto segment = SegmentName::parse(parts[0]);
  auto begin = parse_number(parts[1]);
  auto end = parse_number(parts[2]);
  auto hash = from_hex(parts[3]);
  if (!segment || !begin || !end || !hash || *begin >= *end) return std::nullopt;
  TailPiece piece{*segment, *begin, *end, std::string(below), {}, 0};
  std::ranges::copy(*hash, piece.name_hash.begin());
  if (tail_object_name(piece) != below) return std::nullopt;
  return piece;
}

Result<TailPiece> TailStore::put(const SegmentName& segment, uint32_t begin, const WalSource& bytes) const {
  TailPiece piece{segment, begin, begin + static_cast<uint32_t>(bytes.size), {}, {}, 0};
  TRY_ASSIGN(codec::Hash128 content, hash_source(bytes));
  piece.name_hash = repo_.keys().name_hash(title(piece), content);
  piece.object = repo_.name(tail_object_name(piece));
  TRY_ASSIGN(FrameWriter writer, FrameWriter::create(repo_.store(), repo_.keys(), ObjectKind::tail,
                                                     piece.object, repo_.compression()));
  TRY_ASSIGN(codec::Hash128 written, write_frames(writer, bytes));
  if (written != content)
    return make_error(ErrorKind::failed, piece.object, "changed while it was read; nothing was stored");
  piece.stored_bytes = writer.size();
  // Its name holds the content's hash, so whoever was faster stored the same.
  auto committed = writer.commit();
  if (!committed && committed.error().kind != ErrorKind::conflict) return std::move(committed).error();
  return piece;
}

Status TailStore::read(const TailPiece& piece, const WalStore::Sink& sink) const {
  TRY_ASSIGN(FrameReader reader,
             FrameReader::open(repo_.store(), repo_.keys(), ObjectKind::tail, piece.object));
  codec::Hasher128 hasher;
  uint64_t size = 0;
  Frame frame;
  do {
    TRY(reader.next(frame));
    size += frame.plain.size();
    if (size > piece.size()) break;
    hasher.update(frame.plain);
    TRY(sink(frame.plain));
  } while (!frame.last);
  if (size != piece.size())
    return make_error(ErrorKind::damaged, piece.object, "is not as long as its name says");
  TRY(reader.expect_end());
  if (repo_.keys().name_hash(title(piece), hasher.digest()) != piece.name_hash)
    return make_error(ErrorKind::damaged, piece.object, "its content does not match the hash in its name");
  return {};
}

Status TailStore::remove(const TailPiece& piece) const {
  return repo_.store().remove(piece.object);
}

Result<std::vector<TailPiece>> TailStore::find(const SegmentName& segment) const {
  std::vector<TailPiece> found;
  std::string prefix = repo_.name(cat(folder_of(segment), segment.to_string(), "-"));
  TRY(repo_.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
    auto piece = parse_tail_object_name(std::string_view(info.name).substr(repo_.prefix().size()));
    if (!piece) return {};  // reported by verify
    piece->object = info.name;
    piece->stored_bytes = info.size;
    found.push_back(std::move(*piece));
    return {};
  }));
  return found;
}

Result<std::vector<Timeline>> TailStore::timelines() const {
  return list_wal_timelines(repo_, kRoot);
}

Status TailStore::list(Timeline timeline, const WalStore::Range& range,
                       const std::function<Status(const TailPiece&)>& each) const {
  std::string prefix = repo_.name(cat(kRoot, timeline.to_hex(), "/"));
  return repo_.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
    auto piece = parse_tail_object_name(std::string_view(info.name).substr(repo_.prefix().size()));
    if (!piece) return {};  // reported by verify
    if (range.from && piece->segment < *range.from) return {};
    if (range.end && piece->segment >= *range.end) return {};
    piece->object = info.name;
    piece->stored_bytes = info.size;
    return each(*piece);
  });
}

Result<std::vector<TailPiece>> TailStore::list(Timeline timeline) const {
  std::vector<TailPiece> pieces;
  TRY(list(timeline, {}, [&](const TailPiece& piece) -> Status {
    pieces.push_back(piece);
    return {};
  }));
  return pieces;
}

}  // namespace lifeboat::repo
