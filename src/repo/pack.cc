#include "repo/pack.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::repo {

namespace {
constexpr uint32_t kMaxFooterLength = 64 << 20;
}

std::string pack_name(const PackId& pack, PackKind kind) {
  std::string number = cat(pack.number);
  if (number.size() < 6) number.insert(0, 6 - number.size(), '0');
  return cat("packs/", pack.backup.text, "/", number, kind == PackKind::data ? ".data" : ".nodes");
}

std::optional<ParsedPackName> parse_pack_name(std::string_view below) {
  auto parts = split(below, '/');
  if (parts.size() != 3 || parts[0] != "packs") return std::nullopt;
  auto backup = BackupId::parse(parts[1]);
  size_t dot = parts[2].find('.');
  if (!backup || dot == std::string_view::npos || dot < 6) return std::nullopt;
  auto number = parse_u64(parts[2].substr(0, dot));
  std::string_view ending = parts[2].substr(dot);
  if (!number || *number > UINT32_MAX || (ending != ".data" && ending != ".nodes")) return std::nullopt;
  return ParsedPackName{{*backup, static_cast<uint32_t>(*number)},
                        ending == ".data" ? PackKind::data : PackKind::nodes};
}

Status PackWriter::begin() {
  id_ = numbers_.next();
  ObjectKind kind = kind_ == PackKind::data ? ObjectKind::data_pack : ObjectKind::node_pack;
  TRY_ASSIGN(FrameWriter writer, FrameWriter::create(repo_.store(), repo_.keys(), kind,
                                                     repo_.name(pack_name(id_, kind_)), compression_));
  writer_.emplace(std::move(writer));
  frames_.clear();
  runs_.clear();
  paths_.clear();
  return {};
}

Result<FrameRef> PackWriter::append(ByteView plain, const FrameSource& source) {
  if (writer_ && (writer_->size() >= limits_.bytes || frames_.size() >= limits_.frames)) TRY(finish());
  if (!writer_) TRY(begin());
  TRY_ASSIGN(FramePlace place, writer_->append(plain, FrameEnd::more));
  // Frames of one file follow each other, so comparing with the last path is enough to share it.
  if (paths_.empty() || paths_.back() != source.path) paths_.emplace_back(source.path);
  frames_.push_back({static_cast<uint32_t>(paths_.size() - 1), place.length,
                     static_cast<uint32_t>(plain.size()), static_cast<uint32_t>(source.runs.size()),
                     source.newest});
  runs_.insert(runs_.end(), source.runs.begin(), source.runs.end());
  return FrameRef{id_, place};
}

Status PackWriter::finish() {
  if (!writer_) return {};
  Bytes footer;
  ByteWriter out(footer);
  out.varint(paths_.size());
  for (const std::string& path : paths_) out.text(path);
  out.varint(frames_.size());
  auto run = runs_.begin();
  for (const FrameEntry& frame : frames_) {
    out.varint(frame.length);
    out.varint(frame.plain_size);
    out.varint(frame.source);
    out.varint(frame.newest.value);
    out.varint(frame.runs);
    uint64_t at = 0;
    for (uint32_t i = 0; i < frame.runs; ++i, ++run) {
      CHECK(run->first >= at);
      out.varint(run->first - at);
      out.varint(run->count);
      out.bytes(run->hash);
      at = run->first + run->count;
    }
  }
  TRY_ASSIGN(FramePlace place, writer_->append(footer, FrameEnd::last));
  uint8_t trailer[kPackTrailerSize];
  store_le<uint32_t>(trailer, place.length);
  store_le<uint32_t>(trailer + 4, place.number);
  TRY(writer_->append_trailer(trailer));
  TRY(writer_->commit());
  stored_ += writer_->size() + kPackTrailerSize;
  ++packs_;
  writer_.reset();
  return {};
}

namespace {

std::vector<BlockRun> read_runs(ByteReader& in) {
  std::vector<BlockRun> runs;
  uint64_t count = in.varint();
  uint64_t at = 0;
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    uint64_t gap = in.varint();
    uint64_t blocks = in.varint();
    if (gap > UINT32_MAX || blocks == 0 || blocks > kMaxPlain || at > UINT64_MAX / 2) in.fail();
    BlockRun run{at + gap, static_cast<uint32_t>(blocks), {}};
    ByteView hash = in.bytes(run.hash.size());
    if (!in.ok()) break;
    std::copy(hash.begin(), hash.end(), run.hash.begin());
    runs.push_back(run);
    at += gap + blocks;
  }
  return runs;
}

}  // namespace

Result<PackFooter> parse_pack_footer(std::string_view name, ByteView plain) {
  ByteReader in(plain);
  std::vector<std::string> paths;
  uint64_t path_count = in.varint();
  for (uint64_t i = 0; i < path_count && in.ok(); ++i) paths.emplace_back(in.text());
  PackFooter footer;
  uint64_t frame_count = in.varint();
  uint64_t offset = kHeaderSize;
  for (uint64_t i = 0; i < frame_count && in.ok(); ++i) {
    uint64_t length = in.varint();
    uint64_t plain_size = in.varint();
    uint64_t source = in.varint();
    Lsn newest{in.varint()};
    if (length > UINT32_MAX || plain_size > kMaxPlain || source >= paths.size()) in.fail();
    std::vector<BlockRun> runs = read_runs(in);
    if (!in.ok()) break;
    footer.frames.push_back({{static_cast<uint32_t>(i), offset + 4, static_cast<uint32_t>(length)},
                             static_cast<uint32_t>(plain_size),
                             paths[source],
                             std::move(runs),
                             newest});
    offset += 4 + length;
  }
  if (!in.ok() || !in.at_end())
    return make_error(ErrorKind::damaged, std::string(name), "malformed pack footer");
  return footer;
}

Result<PackFooter> read_pack_footer(FrameReader& reader) {
  auto damaged = [&](std::string what) {
    return make_error(ErrorKind::damaged, reader.name(), std::move(what));
  };
  uint8_t trailer[kPackTrailerSize];
  if (reader.size() < kHeaderSize + kFrameOverhead + sizeof trailer) return damaged("too short for a pack");
  TRY(reader.read_raw(reader.size() - sizeof trailer, trailer));
  uint32_t length = load_le<uint32_t>(trailer);
  uint64_t room = reader.size() - sizeof trailer - kHeaderSize - 4;
  if (length > room || length > kMaxFooterLength) return damaged(cat("impossible footer length ", length));
  uint32_t number = load_le<uint32_t>(trailer + 4);
  uint64_t footer_offset = reader.size() - sizeof trailer - length;
  Frame frame;
  TRY(reader.read({number, footer_offset, length}, frame));
  if (!frame.last) return damaged("its footer is not marked as the last frame");
  TRY_ASSIGN(PackFooter footer, parse_pack_footer(reader.name(), frame.plain));
  if (footer.frames.size() != number)
    return damaged(cat("its footer lists ", footer.frames.size(), " frames of ", number));
  return footer;
}

Result<FrameReader*> PackReaders::reader(const PackId& pack) {
  for (Slot& slot : slots_) {
    if (slot.pack == pack) {
      slot.used = ++ticks_;
      return &slot.reader;
    }
  }
  ObjectKind kind = kind_ == PackKind::data ? ObjectKind::data_pack : ObjectKind::node_pack;
  TRY_ASSIGN(FrameReader opened,
             FrameReader::open(repo_.store(), repo_.keys(), kind, repo_.name(pack_name(pack, kind_))));
  if (slots_.size() >= most_open_) {
    auto oldest = std::min_element(slots_.begin(), slots_.end(),
                                   [](const Slot& a, const Slot& b) { return a.used < b.used; });
    slots_.erase(oldest);
  }
  slots_.push_back({pack, std::move(opened), ++ticks_});
  return &slots_.back().reader;
}

Status PackReaders::read(const FrameRef& ref, Frame& frame) {
  TRY_ASSIGN(FrameReader * reader, this->reader(ref.pack));
  return reader->read(ref.place, frame);
}

}  // namespace lifeboat::repo
