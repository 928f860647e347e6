#include "pg/format/catalogue_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <vector>

namespace lifeboat::pg {
namespace {

constexpr size_t kPage = 8192;

Bytes name_bytes(std::string_view name) {
  Bytes bytes(name.begin(), name.end());
  bytes.resize(64);
  return bytes;
}

Bytes class_columns(const ClassRow& row, const VersionTraits& version) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.u32(row.oid);
  out.bytes(name_bytes(row.name));
  out.u32(row.schema);
  for (int i = 0; i < 3; ++i) out.u32(1);
  out.u32(row.access_method);
  out.u32(row.file);
  out.u32(row.tablespace);
  out.u32(9);
  out.u32(std::bit_cast<uint32_t>(static_cast<float>(row.rows)));
  out.u32(9);
  if (version.class_counts_all_frozen) out.u32(9);
  out.u32(row.toast);
  out.u8(1);
  out.u8(0);
  out.u8(static_cast<uint8_t>(row.persistence));
  out.u8(static_cast<uint8_t>(row.kind));
  return bytes;
}

const ClassRow kRow{16384, "orders", 2200, 16390, 0, 1000, 16387, 'p', 'm', 2};

// A heap page with these rows; masks are infomasks.
struct Stored {
  Bytes columns;
  uint16_t mask = 0x0900;
  uint32_t xmax = 0;
};
Bytes page_of(const std::vector<Stored>& rows) {
  Bytes page(kPage);
  size_t upper = kPage;
  size_t line = 24;
  for (const Stored& row : rows) {
    size_t length = 24 + row.columns.size();
    upper -= (length + 7) / 8 * 8;
    store_le(page.data() + upper + 4, row.xmax);
    store_le(page.data() + upper + 20, row.mask);
    page[upper + 22] = 24;
    std::ranges::copy(row.columns, page.begin() + static_cast<ptrdiff_t>(upper) + 24);
    store_le(page.data() + line, static_cast<uint32_t>(upper | 1u << 15 | length << 17));
    line += 4;
  }
  store_le(page.data() + 12, static_cast<uint16_t>(line));
  store_le(page.data() + 14, static_cast<uint16_t>(upper));
  return page;
}

TEST(CatalogueRows, of_pg_class_are_read_on_every_major) {
  for (const VersionTraits& version : supported_versions()) {
    auto row = read_class_row(class_columns(kRow, version), version);
    ASSERT_TRUE(row) << version.major;
    EXPECT_EQ(*row, kRow) << version.major;
  }
}

TEST(CatalogueRows, that_are_cut_are_none) {
  const VersionTraits& version = *find_version(15);
  Bytes columns = class_columns(kRow, version);
  for (size_t size = 0; size < columns.size(); ++size)
    EXPECT_FALSE(read_class_row(ByteView(columns).first(size), version)) << size;
  EXPECT_FALSE(read_named_row(Bytes(67, 1)));
  EXPECT_FALSE(read_named_row(Bytes(68)));
}

TEST(CatalogueRows, of_a_page_tell_whether_they_are_current) {
  Bytes columns = name_bytes("x");
  Bytes page = page_of({{columns, 0x0900, 0},    // frozen or committed, never deleted
                        {columns, 0x0100, 700},  // deleted by somebody
                        {columns, 0x0200, 0},    // rolled back
                        {columns, 0x0180, 700},  // locked only
                        {columns, 0x0300, 0}});  // frozen
  std::vector<PageRow> rows;
  each_page_row(page, [&](const PageRow& row) { rows.push_back(row); });
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0].offset, 1);
  EXPECT_EQ(rows[4].offset, 5);
  EXPECT_EQ(rows[0].columns.size(), 64u);
  EXPECT_TRUE(rows[0].current && rows[0].made);
  EXPECT_FALSE(rows[1].current);
  EXPECT_FALSE(rows[2].made);
  EXPECT_TRUE(rows[3].current);
  EXPECT_TRUE(rows[4].made);
}

TEST(CatalogueRows, of_hostile_pages_stay_within_them) {
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    Bytes page = page_of({{name_bytes("a")}, {name_bytes("b")}});
    for (int k = 0; k < 40; ++k) page[random() % 64] = static_cast<uint8_t>(random());
    each_page_row(page, [&](const PageRow& row) {
      EXPECT_LE(row.columns.size(), kPage);
      read_class_row(row.columns, *find_version(15));
    });
  }
  each_page_row(Bytes(10), [](const PageRow&) { FAIL(); });
}

TEST(CatalogueRows, mapped_relations_are_found_in_their_map) {
  Bytes map;
  ByteWriter out(map);
  for (uint32_t word : {0x592717u, 2u, 1259u, 16500u, 1249u, 1249u}) out.u32(word);
  map.resize(512);
  EXPECT_EQ(mapped_file(map, kPgClass), 16500u);
  EXPECT_EQ(mapped_file(map, 1249), 1249u);
  EXPECT_EQ(mapped_file(map, kPgDatabase), std::nullopt);
  map[0] = 0;
  EXPECT_EQ(mapped_file(map, kPgClass), std::nullopt);
  EXPECT_EQ(mapped_file(Bytes(3), kPgClass), std::nullopt);
}

}  // namespace
}  // namespace lifeboat::pg
