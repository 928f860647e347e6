#include "pg/wal/heap_changes.h"

namespace lifeboat::pg {

namespace {

// Operations of Heap (src/include/access/heapam_xlog.h).
constexpr uint8_t kHeapMask = 0x70;
constexpr uint8_t kInsert = 0x00;
constexpr uint8_t kDelete = 0x10;
constexpr uint8_t kUpdate = 0x20;
constexpr uint8_t kHotUpdate = 0x40;
constexpr uint8_t kInPlace = 0x70;
constexpr uint8_t kMultiInsert = 0x50;         // of Heap2
constexpr size_t kMultiInsertCountOffset = 2;  // xl_heap_multi_insert.ntuples

constexpr uint8_t kPrefixFromOld = 1 << 5;  // XLH_UPDATE_PREFIX_FROM_OLD
constexpr uint8_t kSuffixFromOld = 1 << 6;
constexpr size_t kTupleHeaderSize = 23;  // SizeofHeapTupleHeader

// xl_heap_header (t_infomask2, t_infomask, t_hoff), the null bitmap and padding up to t_hoff, then `data`.
void read_logged_row(ByteReader& in, RowChange& change) {
  in.bytes(4);
  size_t header = in.u8();
  if (header < kTupleHeaderSize) return in.fail();
  in.bytes(header - kTupleHeaderSize);
  change.data = in.bytes(in.remaining());
}

// xl_heap_insert: offnum, flags.
void read_insert(ByteReader& main, const WalBlock& block, RowChange& change) {
  change.kind = RowChangeKind::insert;
  change.new_row = {block.block, main.u16()};
  change.imaged = block.has_image;
  if (change.imaged) return;
  ByteReader row(block.data);
  read_logged_row(row, change);
  if (!row.ok()) main.fail();
}

// xl_heap_delete: xmax, offnum, infobits, flags.
void read_delete(ByteReader& main, const WalBlock& block, RowChange& change) {
  change.kind = RowChangeKind::remove;
  main.u32();
  change.old_row = {block.block, main.u16()};
}

// xl_heap_update: old_xmax, old_offnum, old_infobits, flags, new_xmax, new_offnum. Block 0 has the new row,
// block 1 the old one where that is another page.
void read_update(ByteReader& main, const WalRecord& record, RowChange& change) {
  const WalBlock& block = record.blocks.front();
  change.kind = RowChangeKind::update;
  main.u32();
  uint16_t old_offset = main.u16();
  main.u8();
  uint8_t flags = main.u8();
  main.u32();
  change.new_row = {block.block, main.u16()};
  uint32_t old_block =
      record.blocks.size() > 1 && record.blocks[1].fork == Fork::main ? record.blocks[1].block : block.block;
  change.old_row = {old_block, old_offset};
  change.imaged = block.has_image;
  if (change.imaged) return;
  ByteReader row(block.data);
  if ((flags & kPrefixFromOld) != 0) change.prefix = row.u16();
  if ((flags & kSuffixFromOld) != 0) change.suffix = row.u16();
  read_logged_row(row, change);
  if (!row.ok()) main.fail();
}

// xl_heap_inplace: offnum first, in all majors; the block's data is the row's columns.
void read_in_place(ByteReader& main, const WalBlock& block, RowChange& change) {
  change.kind = RowChangeKind::in_place;
  change.new_row = {block.block, main.u16()};
  change.imaged = block.has_image;
  change.data = block.data;
}

}  // namespace

std::optional<RowChange> read_row_change(const WalRecord& record) {
  if (record.rmgr != Rmgr::heap || record.blocks.empty() || record.blocks.front().fork != Fork::main)
    return std::nullopt;
  RowChange change;
  const WalBlock& block = record.blocks.front();
  change.relation = block.relation;
  ByteReader main(record.main_data);
  switch (record.info & kHeapMask) {
    case kInsert:
      read_insert(main, block, change);
      break;
    case kDelete:
      read_delete(main, block, change);
      break;
    case kUpdate:
    case kHotUpdate:
      read_update(main, record, change);
      break;
    case kInPlace:
      read_in_place(main, block, change);
      break;
    default:
      return std::nullopt;
  }
  return main.ok() ? std::optional(change) : std::nullopt;
}

RowCounts rows_changed(const WalRecord& record) {
  RowCounts rows;
  uint8_t operation = record.info & kHeapMask;
  if (record.rmgr == Rmgr::heap2) {
    if (operation == kMultiInsert && record.main_data.size() >= kMultiInsertCountOffset + 2) {
      rows.inserted = load_le<uint16_t>(record.main_data.data() + kMultiInsertCountOffset);
    }
    return rows;
  }
  if (record.rmgr != Rmgr::heap) return rows;
  switch (operation) {
    case kInsert:
      rows.inserted = 1;
      break;
    case kDelete:
      rows.deleted = 1;
      break;
    case kUpdate:
    case kHotUpdate:
      rows.updated = 1;
      break;
    default:
      break;
  }
  return rows;
}

}  // namespace lifeboat::pg
