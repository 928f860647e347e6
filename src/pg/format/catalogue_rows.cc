#include "pg/format/catalogue_rows.h"

#include <algorithm>
#include <bit>

#include "pg/format/page.h"

namespace lifeboat::pg {

namespace {

// Line pointers (ItemIdData): 15 bits offset, 2 bits state, 15 bits length.
constexpr size_t kLinePointerSize = 4;
constexpr uint32_t kNormalLine = 1;  // LP_NORMAL

// HeapTupleHeaderData.
constexpr size_t kXmaxOffset = 4;
constexpr size_t kInfomaskOffset = 20;
constexpr size_t kHoffOffset = 22;
constexpr size_t kTupleHeaderSize = 23;
constexpr uint16_t kXmaxLockOnly = 0x0080;
constexpr uint16_t kXminCommitted = 0x0100;
constexpr uint16_t kXminInvalid = 0x0200;
constexpr uint16_t kXmaxInvalid = 0x0800;

constexpr size_t kNameSize = 64;  // NAMEDATALEN
constexpr uint32_t kMapMagic = 0x592717;

std::string read_name(ByteReader& in) {
  ByteView bytes = in.bytes(kNameSize);
  auto end = std::ranges::find(bytes, uint8_t{0});
  return {bytes.begin(), end};
}

PageRow row_of(uint16_t offset, ByteView tuple) {
  PageRow row;
  row.offset = offset;
  row.columns = tuple.subspan(tuple[kHoffOffset]);
  auto mask = load_le<uint16_t>(tuple.data() + kInfomaskOffset);
  auto xmax = load_le<uint32_t>(tuple.data() + kXmaxOffset);
  row.made = (mask & (kXminCommitted | kXminInvalid)) != kXminInvalid;
  row.current = xmax == 0 || (mask & (kXmaxInvalid | kXmaxLockOnly)) != 0;
  return row;
}

}  // namespace

void each_page_row(ByteView page, const std::function<void(const PageRow&)>& each) {
  if (page.size() < kPageHeaderSize) return;
  size_t lower = std::min<size_t>(read_page_header(page).lower, page.size());
  for (size_t at = kPageHeaderSize; at + kLinePointerSize <= lower; at += kLinePointerSize) {
    auto line = load_le<uint32_t>(page.data() + at);
    size_t offset = line & 0x7fff;
    size_t length = line >> 17;
    if ((line >> 15 & 3) != kNormalLine || length < kTupleHeaderSize || offset + length > page.size())
      continue;
    ByteView tuple = page.subspan(offset, length);
    if (tuple[kHoffOffset] < kTupleHeaderSize || tuple[kHoffOffset] > length) continue;
    each(row_of(static_cast<uint16_t>((at - kPageHeaderSize) / kLinePointerSize + 1), tuple));
  }
}

std::optional<ClassRow> read_class_row(ByteView columns, const VersionTraits& version) {
  ByteReader in(columns);
  ClassRow row;
  row.oid = in.u32();
  row.name = read_name(in);
  row.schema = in.u32();
  in.bytes(12);  // reltype, reloftype, relowner
  row.access_method = in.u32();
  row.file = in.u32();
  row.tablespace = in.u32();
  in.u32();  // relpages
  row.rows = std::bit_cast<float>(in.u32());
  in.u32();  // relallvisible
  if (version.class_counts_all_frozen) in.u32();
  row.toast = in.u32();
  in.bytes(2);  // relhasindex, relisshared
  row.persistence = static_cast<char>(in.u8());
  row.kind = static_cast<char>(in.u8());
  if (!in.ok() || row.oid == 0 || row.name.empty()) return std::nullopt;
  return row;
}

std::optional<NamedRow> read_named_row(ByteView columns) {
  ByteReader in(columns);
  NamedRow row;
  row.oid = in.u32();
  row.name = read_name(in);
  if (!in.ok() || row.oid == 0 || row.name.empty()) return std::nullopt;
  return row;
}

// Magic, how many, then pairs of relation and file.
std::optional<uint32_t> mapped_file(ByteView map, Oid relation) {
  ByteReader in(map);
  if (in.u32() != kMapMagic) return std::nullopt;
  uint32_t count = in.u32();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    Oid oid = in.u32();
    uint32_t file = in.u32();
    if (in.ok() && oid == relation) return file;
  }
  return std::nullopt;
}

}  // namespace lifeboat::pg
