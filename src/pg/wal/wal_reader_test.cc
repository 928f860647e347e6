// Synthetic pages: every torn and flipped case is a few lines here. wal_oracle_test.cc compares with
// pg_waldump.
#include "pg/wal/wal_reader.h"

#include <gtest/gtest.h>

#include <random>

#include "pg/wal/wal_events.h"
#include "tests/support/wal_builder.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

using testing::filler;
using testing::main_data;
using testing::RecordSpec;
using testing::WalBuilder;

constexpr uint32_t kSegment = 1 << 20;
constexpr Lsn kStart{3 * uint64_t{kSegment}};

struct Seen {
  Lsn lsn;
  Lsn end;
  uint32_t length;
  Timeline timeline;
  Bytes data;
};

class Collector : public WalSink {
 public:
  void record(const WalRecord& r) override {
    records.push_back(
        {r.lsn, r.end, r.total_length, r.timeline, Bytes(r.main_data.begin(), r.main_data.end())});
  }
  void damage(const WalDamage& d) override { damages.push_back(d); }
  std::vector<Lsn> lsns() const {
    std::vector<Lsn> all;
    for (const Seen& seen : records) all.push_back(seen.lsn);
    return all;
  }
  std::vector<Seen> records;
  std::vector<WalDamage> damages;
};

WalReaderOptions options_of(int major = 15) {
  return {.version = find_version(major), .segment_size = {kSegment}};
}

Collector read_all(ByteView bytes, WalReaderOptions options = options_of(), size_t chunk = SIZE_MAX) {
  Collector sink;
  WalReader reader(options, sink);
  Lsn at = kStart;
  while (!bytes.empty()) {
    size_t take = std::min(chunk, bytes.size());
    reader.feed(at, bytes.first(take));
    at = at + take;
    bytes = bytes.subspan(take);
  }
  reader.finish();
  return sink;
}

// Records of assorted sizes across a few pages, none ending a page exactly by plan.
std::vector<Lsn> add_assorted(WalBuilder& wal, size_t count) {
  std::vector<Lsn> lsns;
  for (size_t i = 0; i < count; ++i) {
    lsns.push_back(wal.add(filler(i % 5 == 4 ? 9000 : 40 + i * 13 % 200, static_cast<uint8_t>(i))));
  }
  return lsns;
}

TEST(WalReader, records_within_and_across_pages_come_whole_and_in_order) {
  for (const VersionTraits& version : supported_versions()) {
    WalBuilder wal(version.major, kStart);
    std::vector<Lsn> lsns = add_assorted(wal, 60);
    Collector seen = read_all(wal.bytes(), options_of(version.major));
    EXPECT_EQ(seen.lsns(), lsns) << version.major;
    EXPECT_TRUE(seen.damages.empty()) << seen.damages[0].text;
    for (size_t i = 0; i < seen.records.size(); ++i) {
      RecordSpec spec = filler(i % 5 == 4 ? 9000 : 40 + i * 13 % 200, static_cast<uint8_t>(i));
      EXPECT_EQ(main_data(seen.records[i].data), spec.body);
    }
  }
}

TEST(WalReader, any_chunk_size_gives_the_same_records) {
  WalBuilder wal(15, kStart);
  std::vector<Lsn> lsns = add_assorted(wal, 40);
  for (size_t chunk : {1, 7, 8, 100, 4096, 8191, 8192, 8193, 20000}) {
    Collector seen = read_all(wal.bytes(), options_of(), chunk);
    EXPECT_EQ(seen.lsns(), lsns) << chunk;
    EXPECT_TRUE(seen.damages.empty()) << chunk;
  }
}

TEST(WalReader, a_record_larger_than_a_segment_is_put_together) {
  WalBuilder wal(16, kStart);
  wal.add(filler(100));
  Lsn big = wal.add(filler(3 * kSegment));
  Lsn after = wal.add(filler(10));
  Collector seen = read_all(wal.bytes(), options_of(16));
  ASSERT_EQ(seen.records.size(), 3u);
  EXPECT_EQ(seen.records[1].lsn, big);
  EXPECT_EQ(seen.records[1].data.size(), 3u * kSegment);
  EXPECT_EQ(seen.records[2].lsn, after);
  EXPECT_TRUE(seen.damages.empty());
}

TEST(WalReader, other_wal_block_and_segment_sizes_are_read) {  // T12
  for (uint32_t block : {1024u, 4096u, 65536u}) {
    WalBuilder wal(17, {16 << 20}, 16 << 20, block);
    std::vector<Lsn> lsns = add_assorted(wal, 50);
    WalReaderOptions options = options_of(17);
    options.segment_size = {16 << 20};
    options.block_size = block;
    Collector sink;
    WalReader reader(options, sink);
    reader.feed({16 << 20}, wal.bytes());
    reader.finish();
    EXPECT_EQ(sink.lsns(), lsns) << block;
    EXPECT_TRUE(sink.damages.empty()) << block;
  }
}

TEST(WalReader, input_that_begins_inside_a_record_starts_at_the_next_one) {
  WalBuilder wal(15, kStart);
  wal.add(filler(20000));
  Lsn first = wal.add(filler(50));
  Collector sink;
  WalReader reader(options_of(), sink);
  reader.feed(kStart + 8192, ByteView(wal.bytes()).subspan(8192));
  reader.finish();
  ASSERT_EQ(sink.records.size(), 1u);
  EXPECT_EQ(reader.first_record(), first);
  EXPECT_TRUE(sink.damages.empty());
}

TEST(WalReader, a_stated_start_is_where_reading_begins) {
  WalBuilder wal(15, kStart);
  std::vector<Lsn> lsns = add_assorted(wal, 40);
  for (size_t i = 0; i < lsns.size(); ++i) {
    WalReaderOptions options = options_of();
    options.start = lsns[i];
    Collector seen = read_all(wal.bytes(), options);
    EXPECT_EQ(seen.lsns(), std::vector<Lsn>(lsns.begin() + static_cast<ptrdiff_t>(i), lsns.end()));
    EXPECT_TRUE(seen.damages.empty());
  }
}

TEST(WalReader, each_end_is_the_start_of_the_next_record_or_a_page_boundary_before_it) {
  WalBuilder wal(15, kStart);
  add_assorted(wal, 60);
  Collector seen = read_all(wal.bytes());
  for (size_t i = 0; i + 1 < seen.records.size(); ++i) {
    uint64_t end = seen.records[i].end.value;
    uint64_t next = seen.records[i + 1].lsn.value;
    if (end % 8192 == 0) {
      EXPECT_EQ(end + (end % kSegment == 0 ? 40 : 24), next);
    } else {
      EXPECT_EQ(end, next);
    }
  }
}

TEST(WalReader, after_a_switch_the_rest_of_the_segment_is_skipped) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  Lsn at = wal.add_switch();
  Lsn next = wal.add(filler(100));
  Collector seen = read_all(wal.bytes());
  ASSERT_EQ(seen.records.size(), 3u);
  EXPECT_EQ(seen.records[1].lsn, at);
  EXPECT_EQ(seen.records[1].end, kStart + kSegment);
  EXPECT_EQ(seen.records[2].lsn, next);
  EXPECT_TRUE(seen.damages.empty());
}

TEST(WalReader, the_rest_of_a_segment_after_a_switch_need_not_be_fed) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  wal.add_switch();
  wal.add(filler(100));
  Collector sink;
  WalReader reader(options_of(), sink);
  reader.feed(kStart, ByteView(wal.bytes()).first(8192));
  reader.feed(kStart + kSegment, ByteView(wal.bytes()).subspan(kSegment));
  reader.finish();
  EXPECT_EQ(sink.records.size(), 3u);
  EXPECT_TRUE(sink.damages.empty());
}

TEST(WalReader, zeros_are_reported_once_where_records_end) {
  WalBuilder wal(15, kStart);
  add_assorted(wal, 20);
  Lsn end = wal.position();
  Collector seen = read_all(wal.padded());
  EXPECT_EQ(seen.records.size(), 20u);
  ASSERT_EQ(seen.damages.size(), 1u);
  EXPECT_EQ(seen.damages[0].kind, WalDamageKind::zeros);
  EXPECT_EQ(seen.damages[0].lsn, end);
}

TEST(WalReader, a_hole_of_zeros_is_reported_and_reading_goes_on_behind_it) {  // T48
  WalBuilder wal(15, kStart);
  std::vector<Lsn> lsns = add_assorted(wal, 60);
  Bytes bytes = wal.bytes();
  std::fill(bytes.begin() + 3 * 8192, bytes.begin() + 5 * 8192, uint8_t{0});
  Collector seen = read_all(bytes);
  ASSERT_FALSE(seen.damages.empty());
  EXPECT_EQ(seen.damages[0].lsn, kStart + 3 * 8192);
  EXPECT_EQ(seen.records.back().lsn, lsns.back());
  for (const Seen& record : seen.records) {
    EXPECT_TRUE(record.end <= kStart + 3 * 8192 || record.lsn >= kStart + 5 * 8192);
  }
}

TEST(WalReader, a_record_given_up_after_a_crash_is_no_damage) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  Lsn torn = wal.add_torn(filler(30000));
  Bytes body;
  ByteWriter out(body);
  out.u64(torn.value);
  out.u64(0);
  Lsn overwrite = wal.add({.rmgr = 0, .info = 0xd0, .xid = 0, .body = main_data(body)});
  wal.add(filler(100));
  Collector seen = read_all(wal.bytes());
  ASSERT_EQ(seen.records.size(), 3u);
  EXPECT_EQ(seen.records[1].lsn, overwrite);
  EXPECT_TRUE(seen.damages.empty()) << seen.damages[0].text;
}

TEST(WalReader, any_flipped_bit_is_reported_and_no_wrong_record_comes_out) {
  WalBuilder wal(15, kStart);
  std::vector<Lsn> lsns = add_assorted(wal, 40);
  Collector intact = read_all(wal.bytes());
  std::mt19937 random(15);
  for (int round = 0; round < 4000; ++round) {
    size_t bit = random() % (wal.bytes().size() * 8);
    Bytes bytes = wal.bytes();
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    Collector seen = read_all(bytes);
    size_t i = 0;
    for (const Seen& record : seen.records) {
      while (i < intact.records.size() && intact.records[i].lsn < record.lsn) ++i;
      ASSERT_LT(i, intact.records.size());
      ASSERT_EQ(intact.records[i].lsn, record.lsn) << "bit " << bit;
      ASSERT_EQ(intact.records[i].data, record.data) << "bit " << bit;
    }
    // Bits that nothing covers: padding of records and headers, and flags without meaning here.
    if (seen.records.size() == intact.records.size()) continue;
    ASSERT_FALSE(seen.damages.empty()) << "bit " << bit;
  }
}

TEST(WalReader, a_flipped_bit_costs_at_most_the_records_on_its_page_and_those_that_cross_into_it) {
  WalBuilder wal(15, kStart);
  std::vector<Lsn> lsns;
  for (int i = 0; i < 400; ++i) lsns.push_back(wal.add(filler(100)));
  size_t at = 2 * 8192 + 5000;
  wal.bytes()[at] ^= 0x10;
  Collector seen = read_all(wal.bytes());
  ASSERT_EQ(seen.damages.size(), 1u);
  EXPECT_EQ(seen.damages[0].kind, WalDamageKind::record_crc);
  for (Lsn lsn : lsns) {
    bool after = lsn >= kStart + 3 * 8192;
    bool before = lsn + 200 <= kStart + at;
    if (!after && !before) continue;
    std::vector<Lsn> all = seen.lsns();
    EXPECT_TRUE(std::find(all.begin(), all.end(), lsn) != all.end()) << lsn.to_string();
  }
}

TEST(WalReader, in_stop_mode_nothing_follows_damage) {
  WalBuilder wal(15, kStart);
  for (int i = 0; i < 400; ++i) wal.add(filler(100));
  wal.bytes()[2 * 8192 + 5000] ^= 0x10;
  WalReaderOptions options = options_of();
  options.after_damage = AfterDamage::stop;
  Collector seen = read_all(wal.bytes(), options);
  ASSERT_EQ(seen.damages.size(), 1u);
  EXPECT_LE(seen.records.back().end, seen.damages[0].lsn);
}

TEST(WalReader, a_broken_prev_link_is_reported) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  wal.add(filler(100));
  wal.set_prev(kStart + 40 + 8);
  Lsn wrong = wal.add(filler(100));
  Collector seen = read_all(wal.bytes());
  ASSERT_EQ(seen.damages.size(), 1u);
  EXPECT_EQ(seen.damages[0].kind, WalDamageKind::prev_link);
  EXPECT_EQ(seen.damages[0].lsn, wrong);
}

TEST(WalReader, pages_of_a_recycled_segment_are_reported_by_their_address) {
  WalBuilder old(15, {uint64_t{kSegment}});
  for (int i = 0; i < 400; ++i) old.add(filler(100));
  WalBuilder wal(15, kStart);
  Lsn last;
  while (wal.position() < kStart + 2 * 8192) last = wal.add(filler(100));
  // The last record's rest would be on the page that still has the old contents.
  Bytes bytes = old.padded();
  std::copy_n(wal.bytes().begin(), 2 * 8192, bytes.begin());
  Collector seen = read_all(bytes);
  ASSERT_EQ(seen.damages.size(), 1u);
  EXPECT_EQ(seen.damages[0].kind, WalDamageKind::page_address);
  EXPECT_LT(seen.records.back().lsn, last);
}

TEST(WalReader, a_cut_off_record_is_truncated_only_at_finish) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  Lsn cut = wal.add(filler(20000));
  Collector seen = read_all(ByteView(wal.bytes()).first(9000));
  EXPECT_EQ(seen.records.size(), 1u);
  ASSERT_EQ(seen.damages.size(), 1u);
  EXPECT_EQ(seen.damages[0].kind, WalDamageKind::truncated);
  EXPECT_EQ(seen.damages[0].lsn, cut);
}

TEST(WalReader, a_gap_between_chunks_is_reported) {
  WalBuilder wal(15, kStart);
  add_assorted(wal, 60);
  Collector sink;
  WalReader reader(options_of(), sink);
  reader.feed(kStart, ByteView(wal.bytes()).first(8192));
  reader.feed(kStart + 3 * 8192, ByteView(wal.bytes()).subspan(3 * 8192));
  reader.finish();
  ASSERT_FALSE(sink.damages.empty());
  EXPECT_EQ(sink.damages[0].kind, WalDamageKind::gap);
  EXPECT_EQ(sink.damages.size(), 1u);
  EXPECT_GT(sink.records.back().lsn, kStart + 3 * 8192);
}

TEST(WalReader, foreign_and_newer_timeline_segments_are_reported) {  // T26, T46
  WalBuilder wal(15, kStart);
  wal.set_timeline(3);
  wal.add(filler(100));
  WalReaderOptions options = options_of();
  options.system_id = SystemId{WalBuilder::kSystemId + 1};
  EXPECT_EQ(read_all(wal.bytes(), options).damages.at(0).kind, WalDamageKind::foreign);
  options.system_id = SystemId{WalBuilder::kSystemId};
  EXPECT_TRUE(read_all(wal.bytes(), options).damages.empty());
  options.timeline = Timeline{2};
  EXPECT_EQ(read_all(wal.bytes(), options).damages.at(0).kind, WalDamageKind::timeline);
  EXPECT_EQ(read_all(wal.bytes(), options_of(16)).damages.at(0).kind, WalDamageKind::page_header);
}

TEST(WalReader, timelines_may_rise_from_page_to_page_but_not_fall) {
  WalBuilder wal(15, kStart);
  for (int i = 0; i < 100; ++i) wal.add(filler(100));
  wal.set_timeline(2);
  for (int i = 0; i < 100; ++i) wal.add(filler(100));
  Collector rising = read_all(wal.bytes());
  EXPECT_EQ(rising.records.size(), 200u);
  EXPECT_EQ(rising.records.back().timeline, Timeline{2});
  EXPECT_TRUE(rising.damages.empty());
  wal.set_timeline(1);
  for (int i = 0; i < 100; ++i) wal.add(filler(100));
  Collector falling = read_all(wal.bytes());
  ASSERT_EQ(falling.damages.size(), 1u);
  EXPECT_EQ(falling.damages[0].kind, WalDamageKind::timeline);
}

TEST(WalReader, a_length_that_the_next_page_does_not_confirm_ends_at_that_page) {
  WalBuilder wal(15, kStart);
  std::vector<Lsn> lsns;
  for (int i = 0; i < 300; ++i) lsns.push_back(wal.add(filler(100)));
  store_le<uint32_t>(wal.bytes().data() + wal.offset(lsns[10]), 900u << 20);
  Collector seen = read_all(wal.bytes());
  ASSERT_EQ(seen.damages.size(), 1u);
  EXPECT_EQ(seen.damages[0].kind, WalDamageKind::continuation);
  EXPECT_EQ(seen.damages[0].lsn, lsns[10]);
  EXPECT_EQ(seen.records.back().lsn, lsns.back());
}

// --- what is in a record

struct BlockSpec {
  uint8_t id = 0;
  uint8_t flags = 0;
  Bytes data = {};
  Bytes image = {};
  uint16_t hole_offset = 0;
  uint8_t image_info = 0;
  std::optional<uint16_t> hole_length = {};
  std::optional<RelationLocator> relation = {};
  uint32_t block = 0;
};

Bytes body_of(const std::vector<BlockSpec>& blocks, ByteView main = {}) {
  Bytes body;
  ByteWriter out(body);
  for (const BlockSpec& b : blocks) {
    out.u8(b.id);
    out.u8(b.flags);
    out.u16(static_cast<uint16_t>(b.data.size()));
    if ((b.flags & 0x10) != 0) {
      out.u16(static_cast<uint16_t>(b.image.size()));
      out.u16(b.hole_offset);
      out.u8(b.image_info);
      if (b.hole_length) out.u16(*b.hole_length);
    }
    if (b.relation) {
      out.u32(b.relation->tablespace);
      out.u32(b.relation->database);
      out.u32(b.relation->number);
    }
    out.u32(b.block);
  }
  if (!main.empty()) {
    out.u8(255);
    out.u8(static_cast<uint8_t>(main.size()));
  }
  for (const BlockSpec& b : blocks) {
    out.bytes(b.image);
    out.bytes(b.data);
  }
  out.bytes(main);
  return body;
}

class LastRecord : public WalSink {
 public:
  void record(const WalRecord& r) override {
    last = r;
    blocks.assign(r.blocks.begin(), r.blocks.end());
    for (const WalBlock& b : r.blocks) {
      images.emplace_back(b.image.begin(), b.image.end());
      data.emplace_back(b.data.begin(), b.data.end());
    }
    main = Bytes(r.main_data.begin(), r.main_data.end());
  }
  void damage(const WalDamage& d) override { damages.push_back(d); }
  WalRecord last;
  std::vector<WalBlock> blocks;
  std::vector<Bytes> images;
  std::vector<Bytes> data;
  Bytes main;
  std::vector<WalDamage> damages;
};

LastRecord read_one(int major, RecordSpec spec) {
  WalBuilder wal(major, kStart);
  wal.add(spec);
  LastRecord sink;
  WalReader reader(options_of(major), sink);
  reader.feed(kStart, wal.bytes());
  reader.finish();
  return sink;
}

TEST(WalRecord, block_references_share_relations_and_keep_data_apart) {
  RelationLocator first{1663, 5, 16384};
  RelationLocator second{1663, 5, 16390};
  Bytes main = {9, 8, 7};
  Bytes body = body_of(
      {
          {.id = 0, .flags = 0x20, .data = {1, 2}, .relation = first, .block = 17},
          {.id = 1, .flags = 0x80 | 0x40 | 2, .block = 3},
          {.id = 4, .flags = 0x20 | 1, .data = {3}, .relation = second, .block = 0xfffffffe},
      },
      main);
  LastRecord seen = read_one(15, {.rmgr = 10, .info = 0x20, .xid = 42, .body = body});
  ASSERT_TRUE(seen.damages.empty()) << seen.damages[0].text;
  ASSERT_EQ(seen.blocks.size(), 3u);
  EXPECT_EQ(seen.blocks[0].relation, first);
  EXPECT_EQ(seen.blocks[0].block, 17u);
  EXPECT_EQ(seen.data[0], (Bytes{1, 2}));
  EXPECT_EQ(seen.blocks[1].relation, first);
  EXPECT_EQ(seen.blocks[1].fork, Fork::vm);
  EXPECT_TRUE(seen.blocks[1].will_init);
  EXPECT_EQ(seen.blocks[2].id, 4);
  EXPECT_EQ(seen.blocks[2].relation, second);
  EXPECT_EQ(seen.blocks[2].fork, Fork::fsm);
  EXPECT_EQ(seen.data[2], Bytes{3});
  EXPECT_EQ(seen.main, main);
  EXPECT_EQ(seen.last.xid, 42u);
}

TEST(WalRecord, image_flags_are_read_as_each_version_writes_them) {
  struct Case {
    int major;
    uint8_t info;
    bool applies;
    ImageCompression compression;
  };
  for (Case c :
       {Case{13, 0x02 | 0x04, true, ImageCompression::pglz}, Case{14, 0x02, false, ImageCompression::pglz},
        Case{15, 0x02 | 0x04, true, ImageCompression::pglz},
        Case{15, 0x02 | 0x08, true, ImageCompression::lz4}, Case{18, 0x10, false, ImageCompression::zstd}}) {
    Bytes image(100, 5);
    BlockSpec block{.flags = 0x10,
                    .image = image,
                    .hole_offset = 200,
                    .image_info = static_cast<uint8_t>(c.info | 1),
                    .hole_length = uint16_t{300},
                    .relation = RelationLocator{1663, 5, 1}};
    LastRecord seen = read_one(c.major, {.body = body_of({block})});
    ASSERT_EQ(seen.blocks.size(), 1u) << c.major;
    EXPECT_EQ(seen.blocks[0].image_applies, c.applies) << c.major;
    EXPECT_EQ(seen.blocks[0].compression, c.compression) << c.major;
    EXPECT_EQ(seen.blocks[0].hole_offset, 200);
    EXPECT_EQ(seen.blocks[0].hole_length, 300);
    EXPECT_EQ(seen.images[0], image);
  }
}

TEST(WalRecord, the_hole_of_a_plain_image_follows_from_its_length) {
  BlockSpec block{.flags = 0x10,
                  .image = Bytes(8000, 5),
                  .hole_offset = 100,
                  .image_info = 0x01 | 0x02,
                  .relation = RelationLocator{1663, 5, 1}};
  LastRecord seen = read_one(15, {.body = body_of({block})});
  ASSERT_EQ(seen.blocks.size(), 1u);
  EXPECT_EQ(seen.blocks[0].hole_length, 192);
  EXPECT_EQ(seen.blocks[0].compression, ImageCompression::none);
}

TEST(WalRecord, origin_and_toplevel_xid_are_read) {
  Bytes body;
  ByteWriter out(body);
  out.u8(253);
  out.u16(7);
  out.u8(252);
  out.u32(1234);
  out.u8(255);
  out.u8(1);
  out.u8(99);
  LastRecord seen = read_one(14, {.body = body});
  ASSERT_TRUE(seen.damages.empty());
  EXPECT_EQ(seen.last.origin, 7);
  EXPECT_EQ(seen.last.toplevel_xid, 1234u);
  LastRecord old = read_one(13, {.body = body});
  ASSERT_EQ(old.damages.size(), 1u);
  EXPECT_EQ(old.damages[0].kind, WalDamageKind::structure);
}

TEST(WalRecord, contradicting_structure_is_damage_although_the_crc_holds) {
  RelationLocator relation{1663, 5, 1};
  std::vector<Bytes> wrong = {
      body_of({{.id = 33, .relation = relation}}),                                  // no such block id
      body_of({{.id = 2, .relation = relation}, {.id = 2, .relation = relation}}),  // not ascending
      body_of({{.flags = 0x80}}),                                                   // same relation as none
      body_of({{.flags = 0x04, .relation = relation}}),                             // fork 4
      body_of({{.flags = 0x20, .relation = relation}}),                             // data without bytes
      {255},                                                                        // no length
      {255, 9, 1},                                                                  // length too large
      {254, 0, 0, 0},                                                               // half a length
      {200, 0, 0},                                                                  // unknown id
      {0, 0x10, 0, 0},                                                              // half an image header
  };
  for (const Bytes& body : wrong) {
    LastRecord seen = read_one(15, {.body = body});
    ASSERT_EQ(seen.damages.size(), 1u) << to_hex(body);
    EXPECT_EQ(seen.damages[0].kind, WalDamageKind::structure);
  }
}

// --- the header and the valid end of a segment

TEST(SegmentHeader, states_what_the_segment_is) {
  WalBuilder wal(17, kStart);
  wal.set_timeline(5);
  wal.add(filler(10));
  auto header = read_segment_header(wal.bytes());
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->major, 17);
  EXPECT_EQ(header->timeline, Timeline{5});
  EXPECT_EQ(header->start, kStart);
  EXPECT_EQ(header->system_id.value, WalBuilder::kSystemId);
  EXPECT_EQ(header->segment_size.bytes, kSegment);
  EXPECT_EQ(header->block_size, 8192u);
  EXPECT_FALSE(header->continues);
}

TEST(SegmentHeader, what_is_no_segment_is_refused) {
  WalBuilder wal(17, kStart);
  wal.add(filler(10));
  Bytes good = wal.bytes();
  EXPECT_EQ(read_segment_header(ByteView(good).first(39)).error().kind, ErrorKind::damaged);
  EXPECT_EQ(read_segment_header(Bytes(100)).error().message, "WAL segment begins with zeros");
  Bytes newer = good;
  store_le<uint16_t>(newer.data(), 0xD119);
  EXPECT_EQ(read_segment_header(newer).error().kind, ErrorKind::unsupported);
  for (auto [offset, value] :
       std::vector<std::pair<size_t, uint8_t>>{{1, 0x20}, {2, 0}, {8, 8}, {33, 1}, {37, 1}}) {
    Bytes bad = good;
    bad[offset] = value;
    EXPECT_EQ(read_segment_header(bad).error().kind, ErrorKind::damaged) << offset;
  }
}

TEST(ValidEnd, of_a_partial_segment_is_its_last_record) {  // T22
  WalBuilder wal(15, kStart);
  add_assorted(wal, 20);
  Lsn end = wal.position();
  auto partial = valid_end(wal.padded());
  ASSERT_TRUE(partial);
  EXPECT_FALSE(partial->full);
  EXPECT_EQ(partial->end, end);
  EXPECT_EQ(partial->reason.kind, WalDamageKind::zeros);
}

TEST(ValidEnd, excludes_a_record_that_was_cut_off) {
  WalBuilder wal(15, kStart);
  add_assorted(wal, 20);
  Lsn cut = wal.add(filler(50000));
  auto partial = valid_end(ByteView(wal.bytes()).first(wal.offset(cut) + 20000));
  ASSERT_TRUE(partial);
  EXPECT_EQ(partial->end, cut);
}

TEST(ValidEnd, of_a_full_segment_is_its_end) {
  WalBuilder wal(15, kStart);
  while (wal.position() < kStart + kSegment) wal.add(filler(5000));
  auto full = valid_end(wal.bytes());
  ASSERT_TRUE(full);
  EXPECT_TRUE(full->full);
  EXPECT_EQ(full->end, kStart + kSegment);

  WalBuilder switched(15, kStart);
  switched.add(filler(100));
  switched.add_switch();
  auto end = valid_end(switched.bytes());
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->full);
  EXPECT_EQ(end->end, kStart + kSegment);
}

TEST(ValidEnd, counts_the_rest_of_an_earlier_record) {
  WalBuilder wal(15, {kStart.value - kSegment});
  while (wal.position() < kStart + uint64_t{0} && wal.position().value + 30000 < kStart.value)
    wal.add(filler(5000));
  wal.add(filler(100000));
  Bytes all = wal.padded();
  auto second = valid_end(ByteView(all).subspan(kSegment));
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->end, wal.position());
  EXPECT_FALSE(second->full);
}

// --- events

WalRecord record_of(Rmgr rmgr, uint8_t info, const Bytes& main) {
  WalRecord record;
  record.rmgr = rmgr;
  record.info = info;
  record.xid = 700;
  record.main_data = main;
  return record;
}

TEST(WalEvents, commit_with_every_part_is_read_in_each_version) {
  for (const VersionTraits& version : supported_versions()) {
    Bytes main;
    ByteWriter out(main);
    out.u64(1000);  // microseconds since 2000
    uint32_t parts = 0xff | (version.dropped_stats_size != 0 ? 0x100 : 0);
    out.u32(parts);
    out.u32(5);
    out.u32(1663);
    out.u32(2);
    out.u32(701);
    out.u32(702);
    out.u32(1);
    out.u32(1663);
    out.u32(5);
    out.u32(16384);
    if (version.dropped_stats_size != 0) {
      out.u32(3);
      for (size_t i = 0; i < size_t{3} * version.dropped_stats_size; ++i) out.u8(0xee);
    }
    out.u32(1);
    for (int i = 0; i < 16; ++i) out.u8(0xdd);
    out.u32(690);
    out.bytes(as_bytes(std::string_view("gid\0", 4)));
    out.u64(0x1234);
    out.u64(2000);
    WalRecord record = record_of(Rmgr::xact, 0x30 | 0x80, main);
    EXPECT_EQ(event_of(record, version), WalEvent::commit);
    auto end = read_transaction_end(record, version);
    ASSERT_TRUE(end) << version.major << end.error().message;
    EXPECT_TRUE(end->committed);
    EXPECT_TRUE(end->prepared);
    EXPECT_EQ(end->xid, 690u);
    EXPECT_EQ(end->time, Timestamp::from_postgres(1000));
    EXPECT_EQ(end->database, 5u);
    EXPECT_EQ(end->subxids, (std::vector<uint32_t>{701, 702}));
    EXPECT_EQ(end->dropped, (std::vector<RelationLocator>{{1663, 5, 16384}}));
    EXPECT_EQ(end->gid, "gid");
    EXPECT_EQ(end->origin_lsn, Lsn{0x1234});
    EXPECT_EQ(end->origin_time, Timestamp::from_postgres(2000));
    for (size_t length = 0; length < main.size(); ++length) {
      Bytes cut(main.begin(), main.begin() + static_cast<ptrdiff_t>(length));
      EXPECT_FALSE(read_transaction_end(record_of(Rmgr::xact, 0xb0, cut), version)) << length;
    }
  }
}

TEST(WalEvents, counts_beyond_the_record_are_damage_and_allocate_nothing) {
  Bytes main;
  ByteWriter out(main);
  out.u64(0);
  out.u32(1u << 1);
  out.u32(0xffffffff);
  auto end = read_transaction_end(record_of(Rmgr::xact, 0x80, main), *find_version(15));
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().kind, ErrorKind::damaged);
}

TEST(WalEvents, database_operations_have_other_codes_from_15_on) {
  Bytes main(16);
  const VersionTraits& v14 = *find_version(14);
  const VersionTraits& v15 = *find_version(15);
  EXPECT_EQ(event_of(record_of(Rmgr::dbase, 0x00, main), v14), WalEvent::database_create);
  EXPECT_EQ(event_of(record_of(Rmgr::dbase, 0x10, main), v14), WalEvent::database_drop);
  EXPECT_EQ(event_of(record_of(Rmgr::dbase, 0x00, main), v15), WalEvent::database_create);
  EXPECT_EQ(event_of(record_of(Rmgr::dbase, 0x10, main), v15), WalEvent::database_create);
  EXPECT_EQ(event_of(record_of(Rmgr::dbase, 0x20, main), v15), WalEvent::database_drop);
  EXPECT_TRUE(read_database_create(record_of(Rmgr::dbase, 0x00, main), v15)->file_copy);
  EXPECT_FALSE(read_database_create(record_of(Rmgr::dbase, 0x10, main), v15)->file_copy);
}

}  // namespace
}  // namespace lifeboat::pg
