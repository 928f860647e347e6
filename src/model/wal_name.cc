#include "model/wal_name.h"

#include <bit>

#include "util/strings.h"

namespace lifeboat {

namespace {
// PostgreSQL writes these names with %08X: upper case only.
std::optional<uint32_t> parse_hex8(std::string_view text) {
  if (text.size() != 8 || text.find_first_not_of("0123456789ABCDEF") != std::string_view::npos)
    return std::nullopt;
  return static_cast<uint32_t>(*parse_u64(text, 16));
}
}  // namespace

bool SegmentSize::valid(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= (1u << 20) && bytes <= (1u << 30);
}

std::optional<SegmentName> SegmentName::parse(std::string_view text) {
  if (text.size() != 24) return std::nullopt;
  auto timeline = parse_hex8(text.substr(0, 8));
  auto log_id = parse_hex8(text.substr(8, 8));
  auto number = parse_hex8(text.substr(16, 8));
  if (!timeline || !log_id || !number || *timeline == 0) return std::nullopt;
  return SegmentName{{*timeline}, *log_id, *number};
}

SegmentName SegmentName::containing(Timeline timeline, Lsn lsn, SegmentSize size) {
  uint64_t index = lsn.value / size.bytes;
  return {timeline, static_cast<uint32_t>(index / size.segments_per_log_id()),
          static_cast<uint32_t>(index % size.segments_per_log_id())};
}

std::string SegmentName::to_string() const {
  return cat(hex_number(timeline.value, 8), hex_number(log_id, 8), hex_number(number, 8));
}

SegmentName SegmentName::next(SegmentSize size) const {
  return containing(timeline, end(size), size);
}

std::optional<WalFileName> WalFileName::parse(std::string_view text) {
  WalFileName name;
  name.text = text;
  constexpr std::string_view kHistory = ".history";
  if (text.size() == 16 && text.ends_with(kHistory)) {
    auto timeline = parse_hex8(text.substr(0, 8));
    // Timeline 1 has no history, but the end of a recovery asks for its file all the same
    // (writeTimeLineHistory in src/backend/access/transam/timeline.c): a name like the others, of a file that
    // is absent.
    if (!timeline || *timeline == 0) return std::nullopt;
    name.kind = WalFileKind::history;
    name.timeline = {*timeline};
    return name;
  }
  auto segment = SegmentName::parse(text.substr(0, 24));
  if (!segment) return std::nullopt;
  name.segment = *segment;
  name.timeline = segment->timeline;
  std::string_view rest = text.substr(24);
  if (rest.empty()) {
    name.kind = WalFileKind::segment;
  } else if (rest == ".partial") {
    name.kind = WalFileKind::partial;
  } else if (rest.size() == 16 && rest[0] == '.' && parse_hex8(rest.substr(1, 8)) &&
             rest.ends_with(".backup")) {
    name.kind = WalFileKind::backup_label;
  } else {
    return std::nullopt;
  }
  return name;
}

}  // namespace lifeboat
