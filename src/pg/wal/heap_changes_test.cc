#include "pg/wal/heap_changes.h"

#include <gtest/gtest.h>

#include <vector>

namespace lifeboat::pg {
namespace {

constexpr RelationLocator kTable{1663, 5, 16384};

struct Built {
  Bytes main;
  Bytes data;
  std::vector<WalBlock> blocks;
  WalRecord record;
};

// Bytes of a heap record as replay gets them.
Built build(uint8_t info, Bytes main, Bytes data, std::vector<uint32_t> block_numbers, bool image = false) {
  Built built;
  built.main = std::move(main);
  built.data = std::move(data);
  for (uint32_t number : block_numbers) {
    WalBlock block;
    block.relation = kTable;
    block.block = number;
    built.blocks.push_back(block);
  }
  built.blocks.front().has_image = image;
  built.record.rmgr = Rmgr::heap;
  built.record.info = info;
  return built;
}

std::optional<RowChange> read(Built& built) {
  built.blocks.front().data = built.data;
  built.record.main_data = built.main;
  built.record.blocks = built.blocks;
  return read_row_change(built.record);
}

Bytes logged_row(std::string_view columns, uint8_t header = 24) {
  Bytes row = {0, 0, 0, 0, header};
  row.resize(row.size() + header - 23);
  row.insert(row.end(), columns.begin(), columns.end());
  return row;
}

TEST(HeapChanges, an_insert_has_the_columns_of_the_row) {
  Built built = build(0x00, {7, 0, 0}, logged_row("columns", 32), {3});
  auto change = read(built);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->kind, RowChangeKind::insert);
  EXPECT_EQ(change->new_row, (RowAddress{3, 7}));
  EXPECT_EQ(as_text(change->data), "columns");
}

TEST(HeapChanges, a_row_in_a_page_image_is_not_in_the_record) {
  Built built = build(0x80, {1, 0, 0}, {}, {3}, true);
  auto change = read(built);
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->imaged);
  EXPECT_TRUE(change->data.empty());
}

TEST(HeapChanges, an_update_tells_what_it_takes_from_the_old_row) {
  Bytes row = {4, 0, 2, 0};
  Bytes rest = logged_row("new");
  row.insert(row.end(), rest.begin(), rest.end());
  Bytes main = {1, 0, 0, 0, 9, 0, 0, 0x60, 0, 0, 0, 0, 11, 0};
  for (uint8_t operation : {uint8_t{0x20}, uint8_t{0x40}}) {
    Built built = build(operation, main, row, {3});
    auto change = read(built);
    ASSERT_TRUE(change);
    EXPECT_EQ(change->kind, RowChangeKind::update);
    EXPECT_EQ(change->old_row, (RowAddress{3, 9}));
    EXPECT_EQ(change->new_row, (RowAddress{3, 11}));
    EXPECT_EQ(change->prefix, 4);
    EXPECT_EQ(change->suffix, 2);
    EXPECT_EQ(as_text(change->data), "new");
  }
  Bytes whole = logged_row("whole");
  main[7] = 0;
  Built moved = build(0x20, main, whole, {8, 3});
  auto change = read(moved);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->old_row, (RowAddress{3, 9}));
  EXPECT_EQ(change->new_row, (RowAddress{8, 11}));
  EXPECT_EQ(as_text(change->data), "whole");
}

TEST(HeapChanges, a_delete_names_the_row) {
  Built built = build(0x10, {1, 0, 0, 0, 5, 0, 0, 0}, {}, {2});
  auto change = read(built);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->kind, RowChangeKind::remove);
  EXPECT_EQ(change->old_row, (RowAddress{2, 5}));
}

TEST(HeapChanges, records_that_contradict_themselves_change_nothing) {
  Built cut = build(0x00, {7}, logged_row("x"), {3});
  EXPECT_FALSE(read(cut));
  Built short_row = build(0x00, {7, 0, 0}, {1, 2, 3}, {3});
  EXPECT_FALSE(read(short_row));
  Built low_header = build(0x00, {7, 0, 0}, {0, 0, 0, 0, 3, 1, 1}, {3});
  EXPECT_FALSE(read(low_header));
  Built cut_update = build(0x20, {1, 0, 0, 0, 9, 0, 0, 0x60, 0, 0, 0, 0, 11, 0}, {4}, {3});
  EXPECT_FALSE(read(cut_update));
}

TEST(HeapChanges, rows_are_counted) {
  Built built = build(0x10, {}, {}, {2});
  read(built);
  EXPECT_EQ(rows_changed(built.record), (RowCounts{0, 0, 1}));
  built.record.rmgr = Rmgr::heap2;
  built.record.info = 0x50;
  Bytes many = {0, 0, 44, 1};
  built.record.main_data = many;
  EXPECT_EQ(rows_changed(built.record), (RowCounts{300, 0, 0}));
  built.record.rmgr = Rmgr::btree;
  EXPECT_EQ(rows_changed(built.record), RowCounts());
}

}  // namespace
}  // namespace lifeboat::pg
