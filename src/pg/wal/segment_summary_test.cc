#include "pg/wal/segment_summary.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "pg/format/control_file.h"
#include "pg/wal/summary_builder.h"
#include "tests/support/wal_builder.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

using testing::filler;
using testing::main_data;
using testing::RecordSpec;
using testing::WalBuilder;

constexpr uint32_t kSegment = 1 << 20;
constexpr Lsn kStart{3 * uint64_t{kSegment}};
constexpr RelationLocator kTable{1663, 5, 16384};
constexpr RelationLocator kIndex{1663, 5, 16390};

SegmentName segment_at(Lsn lsn) {
  return SegmentName::containing({1}, lsn, {kSegment});
}

SummaryOptions options_at(Lsn lsn, int major = 15) {
  return {.version = find_version(major), .segment = segment_at(lsn), .segment_size = {kSegment}};
}

// The summary of the n-th segment of `wal`.
Result<SegmentSummary> summarize(const WalBuilder& wal, size_t n, SummaryOptions options,
                                 size_t chunk = SIZE_MAX) {
  Bytes all = wal.padded();
  ByteView bytes = ByteView(all).subspan(n * kSegment, kSegment);
  options.segment = SegmentName::containing({1}, kStart + n * kSegment, {kSegment});
  SummaryBuilder builder(options);
  while (!bytes.empty()) {
    size_t take = std::min(chunk, bytes.size());
    builder.feed(bytes.first(take));
    bytes = bytes.subspan(take);
  }
  return builder.finish();
}

Bytes pack(const std::vector<uint32_t>& words) {
  Bytes bytes;
  for (uint32_t word : words) ByteWriter(bytes).u32(word);
  return bytes;
}

Bytes locator(const RelationLocator& relation) {
  return pack({relation.tablespace, relation.database, relation.number});
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Reference {
  RelationLocator relation;
  uint32_t block;
  Fork fork = Fork::main;
};

RecordSpec change(uint8_t rmgr, uint8_t info, uint32_t xid, const std::vector<Reference>& references,
                  const Bytes& main = {1}) {
  Bytes body;
  ByteWriter out(body);
  uint8_t id = 0;
  for (const Reference& reference : references) {
    out.u8(id++);
    out.u8(static_cast<uint8_t>(reference.fork));
    out.u16(0);
    out.bytes(locator(reference.relation));
    out.u32(reference.block);
  }
  out.bytes(main_data(main));
  return {.rmgr = rmgr, .info = info, .xid = xid, .body = body};
}

RecordSpec insert(uint32_t xid, const RelationLocator& relation, uint32_t block) {
  return change(10, 0x00, xid, {{relation, block}});
}

RecordSpec commit(uint32_t xid, Timestamp time, const std::vector<RelationLocator>& dropped = {},
                  bool committed = true) {
  Bytes main;
  ByteWriter out(main);
  out.u64(static_cast<uint64_t>(time.to_postgres()));
  if (!dropped.empty()) {
    out.u32(4);
    out.u32(static_cast<uint32_t>(dropped.size()));
    for (const RelationLocator& relation : dropped) out.bytes(locator(relation));
  }
  auto operation = static_cast<uint8_t>((committed ? 0x00 : 0x20) | (dropped.empty() ? 0 : 0x80));
  return {.rmgr = 1, .info = operation, .xid = xid, .body = main_data(main)};
}

void end_segment(WalBuilder& wal) {
  wal.add_switch();
}

std::vector<uint32_t> blocks_of(const SegmentSummary& summary, const RelationLocator& relation,
                                Fork fork = Fork::main) {
  std::vector<uint32_t> blocks;
  const ForkChanges* changes = summary.changes.find({relation, fork});
  if (changes == nullptr) return blocks;
  changes->blocks.each_run([&](uint32_t first, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) blocks.push_back(static_cast<uint32_t>(first + i));
  });
  return blocks;
}

std::optional<uint32_t> limit_of(const SegmentSummary& summary, const RelationLocator& relation,
                                 Fork fork = Fork::main) {
  const ForkChanges* changes = summary.changes.find({relation, fork});
  return changes == nullptr ? std::nullopt : changes->limit;
}

// --- what records mean

TEST(SegmentSummary, blocks_of_main_and_init_forks_are_changed_and_those_of_maps_are_not) {  // T15
  WalBuilder wal(15, kStart);
  wal.add(change(10, 0x20, 700, {{kTable, 17}, {kTable, 3}, {kTable, 0, Fork::vm}, {kTable, 0, Fork::fsm}}));
  wal.add(change(11, 0x00, 700, {{kIndex, 1}, {kIndex, 0, Fork::init}}));
  wal.add(change(128, 0x30, 0, {{kIndex, 70000}}));  // an extension's resource manager
  end_segment(wal);
  auto summary = summarize(wal, 0, options_at(kStart));
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(blocks_of(*summary, kTable), (std::vector<uint32_t>{3, 17}));
  EXPECT_EQ(blocks_of(*summary, kIndex), (std::vector<uint32_t>{1, 70000}));
  EXPECT_EQ(blocks_of(*summary, kIndex, Fork::init), (std::vector<uint32_t>{0}));
  EXPECT_EQ(summary->changes.forks().size(), 3u);
  EXPECT_EQ(limit_of(*summary, kTable), std::nullopt);
}

TEST(SegmentSummary, what_is_made_cut_or_dropped_has_a_limit) {  // T14, T15
  RelationLocator made{1663, 5, 1};
  RelationLocator cut{1663, 5, 2};
  RelationLocator dropped{1663, 5, 3};
  RelationLocator undone{1663, 5, 4};
  RelationLocator maps_only{1663, 5, 6};
  WalBuilder wal(15, kStart);
  wal.add({.rmgr = 2, .info = 0x10, .xid = 7, .body = main_data(locator(made) + pack({0}))});
  wal.add({.rmgr = 2, .info = 0x10, .xid = 7, .body = main_data(locator(made) + pack({3}))});
  wal.add({.rmgr = 2, .info = 0x10, .xid = 7, .body = main_data(locator(maps_only) + pack({1}))});
  wal.add({.rmgr = 2, .info = 0x20, .xid = 7, .body = main_data(pack({9}) + locator(cut) + pack({7}))});
  wal.add({.rmgr = 2, .info = 0x20, .xid = 7, .body = main_data(pack({12}) + locator(cut) + pack({7}))});
  wal.add({.rmgr = 2, .info = 0x20, .xid = 7, .body = main_data(pack({0}) + locator(maps_only) + pack({6}))});
  wal.add(commit(7, Timestamp::from_seconds(1'790'000'000), {dropped}));
  wal.add(commit(8, Timestamp::from_seconds(1'790'000'001), {undone}, false));
  end_segment(wal);
  auto summary = summarize(wal, 0, options_at(kStart));
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(limit_of(*summary, made), 0u);
  EXPECT_EQ(limit_of(*summary, made, Fork::init), 0u);
  EXPECT_EQ(limit_of(*summary, cut), 9u);
  EXPECT_EQ(limit_of(*summary, dropped), 0u);
  EXPECT_EQ(limit_of(*summary, dropped, Fork::init), 0u);
  EXPECT_EQ(limit_of(*summary, undone), 0u);
  EXPECT_EQ(summary->changes.find({maps_only, Fork::main}), nullptr);
  ASSERT_EQ(summary->relations.size(), 3u);  // what was undone had been made before
  EXPECT_TRUE(summary->relations[0].created);
  EXPECT_TRUE(summary->relations[1].truncated);
  EXPECT_TRUE(summary->relations[2].dropped);
  EXPECT_EQ(summary->commits, 1u);
  EXPECT_EQ(summary->aborts, 1u);
}

TEST(SegmentSummary, databases_that_come_or_go_are_rewritten_in_every_version) {
  for (const VersionTraits& version : supported_versions()) {
    WalBuilder wal(version.major, kStart);
    uint8_t drop = version.database_by_wal ? 0x20 : 0x10;
    wal.add({.rmgr = 4, .info = 0x00, .xid = 7, .body = main_data(pack({16400, 1663, 1, 1663}))});
    if (version.database_by_wal) {
      wal.add({.rmgr = 4, .info = 0x10, .xid = 7, .body = main_data(pack({16401, 1700}))});
    }
    wal.add({.rmgr = 4, .info = drop, .xid = 7, .body = main_data(pack({16402, 2, 1663, 1700}))});
    end_segment(wal);
    auto summary = summarize(wal, 0, options_at(kStart, version.major));
    ASSERT_TRUE(summary) << summary.error().to_string();
    EXPECT_TRUE(summary->changes.is_rewritten({1663, 16400}));
    EXPECT_EQ(summary->changes.is_rewritten({1700, 16401}), version.database_by_wal);
    EXPECT_TRUE(summary->changes.is_rewritten({1663, 16402}));
    EXPECT_TRUE(summary->changes.is_rewritten({1700, 16402}));
    EXPECT_EQ(summary->events.size(), version.database_by_wal ? 4u : 3u);
    EXPECT_EQ(summary->events.front().kind, SummaryEventKind::database_create);
    EXPECT_EQ(summary->events.back().kind, SummaryEventKind::database_drop);
    EXPECT_EQ(summary->events.back().database, 16402u);
  }
}

TEST(SegmentSummary, a_moment_of_minimal_wal_is_seen_where_the_version_says_so) {  // T18
  struct Case {
    uint8_t info;
    size_t size;
    size_t offset;  // of wal_level
    bool from_17;
  };
  for (Case c : {Case{0x60, 26, 20, false}, Case{0x00, 88, 20, true}, Case{0x10, 88, 20, true},
                 Case{0xe0, 4, 0, true}, Case{0x90, 20, 16, true}}) {
    for (const VersionTraits& version : supported_versions()) {
      WalBuilder wal(version.major, kStart);
      Bytes replica(c.size);
      replica[c.offset] = 1;
      Bytes minimal(c.size);
      wal.add({.rmgr = 0, .info = c.info, .xid = 0, .body = main_data(replica)});
      Lsn first = wal.add({.rmgr = 0, .info = c.info, .xid = 0, .body = main_data(minimal)});
      Lsn last = wal.add({.rmgr = 0, .info = c.info, .xid = 0, .body = main_data(minimal)});
      wal.add({.rmgr = 0, .info = c.info, .xid = 0, .body = main_data(replica)});
      end_segment(wal);
      auto summary = summarize(wal, 0, options_at(kStart, version.major));
      ASSERT_TRUE(summary) << summary.error().to_string();
      bool seen = !c.from_17 || version.records_state_wal_level;
      EXPECT_EQ(summary->minimal_first, seen ? first : Lsn{}) << version.major << " " << int{c.info};
      EXPECT_EQ(summary->minimal_last, seen ? last : Lsn{}) << version.major << " " << int{c.info};
    }
  }
}

TEST(SegmentSummary, rows_are_counted_by_relation_and_by_large_transaction) {
  WalBuilder wal(15, kStart);
  for (uint32_t i = 0; i < 2 * kLargeTransactionRows; ++i) {
    wal.add(change(10, 0x10, 701, {{kTable, i}}));
    if (i % 2 == 0) wal.add(insert(702, kTable, i));
  }
  wal.add(change(10, 0x20, 703, {{kIndex, 1}}));
  wal.add(change(10, 0x40, 703, {{kIndex, 1}}));
  wal.add(change(10, 0x60, 703, {{kIndex, 1}}));  // a lock
  wal.add(change(10, 0x80, 703, {{kIndex, 1}}));  // an insert that initialises the page
  wal.add(change(9, 0x50, 704, {{kIndex, 2}}, {0, 0, 200, 0, 1, 0}));
  wal.add(change(9, 0x10, 704, {{kIndex, 2}}, {0, 0, 200, 0, 1, 0}));  // pruning
  wal.add(commit(701, Timestamp::from_seconds(1'790'000'010)));
  wal.add(commit(702, Timestamp::from_seconds(1'790'000'007)));
  wal.add(commit(703, Timestamp::from_seconds(1'790'000'005)));
  end_segment(wal);
  auto summary = summarize(wal, 0, options_at(kStart));
  ASSERT_TRUE(summary) << summary.error().to_string();
  ASSERT_EQ(summary->relations.size(), 2u);
  EXPECT_EQ(summary->relations[0].rows, (RowCounts{128, 0, 256}));
  EXPECT_EQ(summary->relations[1].rows, (RowCounts{201, 2, 0}));
  ASSERT_EQ(summary->transactions.size(), 2u);
  EXPECT_EQ(summary->transactions[0], (TransactionActivity{701, kTable, {0, 0, 240}}));
  EXPECT_EQ(summary->transactions[1], (TransactionActivity{704, kIndex, {200, 0, 0}}));
  EXPECT_EQ(summary->first_commit, Timestamp::from_seconds(1'790'000'005));
  EXPECT_EQ(summary->last_commit, Timestamp::from_seconds(1'790'000'010));
}

TEST(SegmentSummary, restore_points_are_kept_with_name_and_time) {
  WalBuilder wal(15, kStart);
  Bytes point;
  ByteWriter(point).u64(1000);
  point = point + Bytes{'h', 'e', 'r', 'e'};
  point.resize(72);
  Lsn at = wal.add({.rmgr = 0, .info = 0x70, .xid = 0, .body = main_data(point)});
  end_segment(wal);
  auto summary = summarize(wal, 0, options_at(kStart));
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(summary->events, (std::vector<SummaryEvent>{{.kind = SummaryEventKind::restore_point,
                                                         .lsn = at,
                                                         .time = Timestamp::from_postgres(1000),
                                                         .name = "here"}}));
}

// --- chain and fragments

TEST(SegmentSummary, the_chain_and_the_fragments_join_segments) {
  WalBuilder wal(15, kStart);
  wal.set_prev({kStart.value - 800});
  Lsn first = wal.add(insert(700, kTable, 1));
  Lsn last;
  while (wal.position() + 4000 < kStart + kSegment) last = wal.add(filler(1000));
  Lsn crossing = wal.add(filler(30000));
  Lsn next = wal.add(insert(700, kTable, 2));
  end_segment(wal);

  auto one = summarize(wal, 0, options_at(kStart));
  ASSERT_TRUE(one) << one.error().to_string();
  EXPECT_EQ(one->first, first);
  EXPECT_EQ(one->first_prev, (Lsn{kStart.value - 800}));
  EXPECT_EQ(one->last, last);
  EXPECT_EQ(one->continued, 0u);
  EXPECT_EQ(one->trailing_lsn, crossing);
  auto two = summarize(wal, 1, options_at(kStart));
  ASSERT_TRUE(two) << two.error().to_string();
  EXPECT_EQ(two->first, next);
  EXPECT_EQ(two->first_prev, crossing);
  EXPECT_EQ(two->continued, two->leading.length);
  EXPECT_FALSE(two->trailing_lsn.valid());
  ASSERT_EQ(one->trailing.bytes.size() + two->leading.bytes.size(), one->trailing_record_length);

  Bytes whole = one->trailing.bytes + two->leading.bytes;
  auto joined = summarize_record(options_at(crossing), crossing, one->trailing_timeline, whole);
  ASSERT_TRUE(joined) << joined.error().to_string();
  EXPECT_EQ(joined->first, crossing);
  EXPECT_EQ(joined->first_prev, last);
  whole[500] ^= 4;
  EXPECT_EQ(summarize_record(options_at(crossing), crossing, {1}, whole).error().kind, ErrorKind::damaged);
  whole.pop_back();
  EXPECT_EQ(summarize_record(options_at(crossing), crossing, {1}, whole).error().kind, ErrorKind::damaged);
}

TEST(SegmentSummary, the_bytes_of_a_joined_record_count) {
  WalBuilder wal(15, kStart);
  while (wal.position() + 1100 < kStart + kSegment) wal.add(filler(1000));
  RecordSpec big = change(10, 0x00, 700, {{kTable, 4711}}, Bytes(3000));
  Lsn crossing = wal.add(big);
  end_segment(wal);
  auto one = summarize(wal, 0, options_at(kStart));
  auto two = summarize(wal, 1, options_at(kStart));
  ASSERT_TRUE(one && two);
  EXPECT_TRUE(one->changes.empty());
  auto joined =
      summarize_record(options_at(crossing), crossing, {1}, one->trailing.bytes + two->leading.bytes);
  ASSERT_TRUE(joined) << joined.error().to_string();
  EXPECT_EQ(blocks_of(*joined, kTable), (std::vector<uint32_t>{4711}));
}

TEST(SegmentSummary, a_segment_inside_one_record_has_nothing_but_a_fragment) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  Lsn crossing = wal.add(filler(2 * kSegment + kSegment / 2));
  end_segment(wal);
  SummaryOptions all = options_at(kStart);
  all.fragment_limit = SIZE_MAX;
  auto one = summarize(wal, 0, all);
  auto two = summarize(wal, 1, all, 10000);
  auto three = summarize(wal, 2, all);
  ASSERT_TRUE(one && two && three);
  EXPECT_FALSE(two->first.valid());
  EXPECT_FALSE(two->trailing_lsn.valid());
  EXPECT_GT(two->continued, two->leading.length);
  EXPECT_EQ(three->continued, two->continued - two->leading.length);
  EXPECT_EQ(three->continued, three->leading.length);
  Bytes whole = one->trailing.bytes + two->leading.bytes + three->leading.bytes;
  EXPECT_TRUE(summarize_record(options_at(crossing), crossing, {1}, whole));

  SummaryOptions few = options_at(kStart);
  few.fragment_limit = 500'000;
  auto shorter = summarize(wal, 1, few);
  ASSERT_TRUE(shorter);
  EXPECT_TRUE(shorter->leading.left_out);
  EXPECT_TRUE(shorter->leading.bytes.empty());
  EXPECT_EQ(shorter->leading.length, two->leading.length);
  auto cut = summarize(wal, 0, few);
  ASSERT_TRUE(cut);
  EXPECT_TRUE(cut->trailing.left_out);
  EXPECT_EQ(cut->trailing.length, one->trailing.length);
}

RecordSpec overwrite(Lsn what) {
  Bytes main;
  ByteWriter(main).u64(what.value);
  ByteWriter(main).u64(5000);
  return {.rmgr = 0, .info = 0xd0, .xid = 0, .body = main_data(main)};
}

TEST(SegmentSummary, a_record_that_a_crash_cut_short_is_no_damage) {
  // It was begun in the first segment, and given up at the beginning of the second or inside it.
  for (bool inside : {false, true}) {
    WalBuilder wal(15, kStart);
    Lsn last;
    while (wal.position() + 1100 < kStart + kSegment) last = wal.add(filler(1000));
    Lsn torn;
    if (inside) {
      torn = wal.add(filler(40000));
      size_t keep = kSegment + size_t{2} * 8192;
      wal.bytes().resize(keep);
      wal.set_prev(last);
      wal.set_next_flags(0x0008);
    } else {
      torn = wal.add_torn(filler(40000));
    }
    Lsn after = wal.add(overwrite(torn));
    end_segment(wal);
    auto one = summarize(wal, 0, options_at(kStart));
    auto two = summarize(wal, 1, options_at(kStart));
    ASSERT_TRUE(one) << one.error().to_string();
    ASSERT_TRUE(two) << two.error().to_string();
    EXPECT_EQ(one->trailing_lsn, torn);
    EXPECT_EQ(one->last, last);
    EXPECT_EQ(two->overwritten, torn);
    EXPECT_EQ(two->first, after);
    EXPECT_EQ(two->first_prev, last);
    if (inside) {
      EXPECT_LT(two->leading.length, two->continued);
    }
  }
}

TEST(SegmentSummary, a_record_given_up_within_its_segment_leaves_no_trace) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  Lsn torn = wal.add_torn(filler(40000));
  wal.add(overwrite(torn));
  end_segment(wal);
  auto summary = summarize(wal, 0, options_at(kStart));
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_FALSE(summary->overwritten.valid());
  EXPECT_FALSE(summary->trailing_lsn.valid());
}

// --- what is no whole segment

TEST(SegmentSummary, damage_anywhere_is_an_error_and_never_a_smaller_map) {
  WalBuilder wal(15, kStart);
  while (wal.position() + 1100 < kStart + kSegment) wal.add(insert(700, kTable, 3));
  wal.add(filler(5000));
  Bytes good = wal.padded();
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    Bytes bad(good.begin(), good.begin() + kSegment);
    size_t at = random() % kSegment;
    bad[at] = static_cast<uint8_t>(bad[at] ^ 1u << random() % 8);
    SummaryBuilder builder(options_at(kStart));
    builder.feed(bad);
    auto summary = builder.finish();
    if (summary) {
      // Padding, and what nobody checks: reserved bytes of pages, the last record's end in the next segment.
      auto same = summarize(wal, 0, options_at(kStart));
      EXPECT_EQ(summary->changes, same->changes) << at;
      EXPECT_EQ(summary->last, same->last) << at;
    } else {
      EXPECT_TRUE(builder.done());
    }
  }
}

TEST(SegmentSummary, zeros_foreign_and_short_files_are_refused) {
  WalBuilder wal(15, kStart);
  wal.add(filler(100));
  EXPECT_EQ(summarize(wal, 0, options_at(kStart)).error().kind, ErrorKind::damaged);  // zeros, no switch
  end_segment(wal);
  SummaryOptions other = options_at(kStart);
  other.system_id = SystemId{1};
  EXPECT_EQ(summarize(wal, 0, other).error().kind, ErrorKind::foreign);
  other = options_at(kStart, 16);
  EXPECT_EQ(summarize(wal, 0, other).error().kind, ErrorKind::foreign);
  for (size_t size : {size_t{0}, size_t{30}, size_t{10000}, size_t{kSegment} - 1}) {
    SummaryBuilder builder(options_at(kStart));
    builder.feed(ByteView(wal.bytes()).first(size));
    auto summary = builder.finish();
    ASSERT_FALSE(summary) << size;
    EXPECT_EQ(summary.error().kind, ErrorKind::damaged);
    EXPECT_NE(summary.error().to_string().find(cat(size, " bytes")), std::string::npos);
  }
  SummaryBuilder elsewhere(options_at(kStart + kSegment));
  elsewhere.feed(wal.bytes());
  EXPECT_EQ(elsewhere.finish().error().kind, ErrorKind::damaged);
  SummaryBuilder zeros(options_at(kStart));
  zeros.feed(Bytes(kSegment));
  EXPECT_EQ(zeros.finish().error().kind, ErrorKind::damaged);
}

// --- ends of transactions

TEST(SegmentSummary, notes_the_ends_of_those_that_dropped_files_did_much_or_began_before) {
  WalBuilder wal(15, kStart);
  Timestamp noon = Timestamp::from_seconds(1'790'000'000);
  Lsn before = wal.add(commit(600, noon));  // all that is here of it is its end
  wal.add(insert(701, kTable, 0));
  wal.add(commit(701, noon));  // small
  for (uint32_t i = 0; i < 200; ++i) wal.add(insert(702, kTable, i));
  Lsn much = wal.add(commit(702, noon, {}, false));
  wal.add(insert(703, kTable, 0));
  Lsn drops = wal.add(commit(703, noon, {kIndex}));
  for (uint32_t i = 0; i < 60; ++i) wal.add(insert(704, kTable, i));  // goes on in another segment
  end_segment(wal);
  auto summary = summarize(wal, 0, options_at(kStart));
  ASSERT_TRUE(summary) << summary.error().to_string();
  ASSERT_EQ(summary->ends.size(), 3u);
  EXPECT_EQ(summary->ends[0].lsn, before);
  EXPECT_EQ(summary->ends[0].xid, 600u);
  EXPECT_EQ(summary->ends[1].lsn, much);
  EXPECT_FALSE(summary->ends[1].committed);
  EXPECT_EQ(summary->ends[2].lsn, drops);
  EXPECT_EQ(summary->ends[2].time, noon);
  EXPECT_EQ(summary->ends[2].dropped, (std::vector<RelationLocator>{kIndex}));
  EXPECT_EQ(summary->lowest_xid, 600u);
  EXPECT_EQ(summary->highest_xid, 703u);
  ASSERT_EQ(summary->transactions.size(), 2u);
  EXPECT_EQ(summary->transactions[0].xid, 702u);
  EXPECT_EQ(summary->transactions[1].xid, 704u);
  EXPECT_GE(summary->transactions[1].rows.inserted, 60u - 16);
}

// --- a segment that is being written

TEST(SegmentSummary, of_a_segment_that_grows_is_whole_up_to_any_record) {
  WalBuilder wal(15, {kStart.value - kSegment});
  while (wal.position() + 1100 < kStart) wal.add(filler(1000));
  wal.add(filler(20000));  // goes on in the segment that is looked at
  std::vector<Lsn> lsns;
  for (uint32_t i = 0; i < 900; ++i) lsns.push_back(wal.add(change(10, 0, 7, {{kTable, i}}, Bytes(i % 300))));
  Lsn end = wal.position();
  Bytes file(wal.bytes().begin() + kSegment, wal.bytes().end());
  file.resize(kSegment, 0x5a);  // a recycled file's bytes
  for (size_t chunk : {size_t{1000}, size_t{8192}, size_t{kSegment}}) {
    for (size_t i = 0; i <= lsns.size(); i += 7) {
      SummaryOptions options = options_at(kStart);
      options.until = i < lsns.size() ? lsns[i] : end;
      SummaryBuilder builder(options);
      for (size_t at = 0; at < file.size() && !builder.done(); at += chunk) {
        builder.feed(ByteView(file).subspan(at, std::min(chunk, file.size() - at)));
      }
      auto summary = builder.finish();
      ASSERT_TRUE(summary) << i << " " << summary.error().to_string();
      EXPECT_EQ(summary->changes.changed_blocks(), std::min(i, lsns.size())) << i;
      EXPECT_FALSE(summary->trailing_lsn.valid());
      EXPECT_EQ(summary->leading.length, summary->continued);
    }
  }
  // Before the first record, inside the header, and past what is there.
  for (Lsn until : {kStart, kStart + 8, kStart + 40, lsns.front()}) {
    SummaryOptions options = options_at(kStart);
    options.until = until;
    SummaryBuilder builder(options);
    builder.feed(file);
    auto summary = builder.finish();
    ASSERT_TRUE(summary) << until.to_string() << summary.error().to_string();
    EXPECT_TRUE(summary->changes.empty());
    EXPECT_EQ(summary->leading.length, summary->continued);
  }
  SummaryOptions options = options_at(kStart);
  options.until = end + 8;
  SummaryBuilder builder(options);
  builder.feed(file);
  EXPECT_EQ(builder.finish().error().kind, ErrorKind::damaged);
}

// --- bytes

SegmentSummary sample(uint32_t seed) {
  std::mt19937 random(seed);
  auto draw = [&random](uint32_t limit) { return static_cast<uint32_t>(random()) % limit; };
  WalBuilder wal(17, kStart);
  std::vector<RelationLocator> relations;
  for (uint32_t i = 0; i < 1 + draw(20); ++i) {
    relations.push_back({draw(3) == 0 ? 1664u : 1663u, draw(4), 16384 + draw(100)});
  }
  uint32_t dense = draw(3);
  while (wal.position() + 3000 < kStart + kSegment) {
    const RelationLocator& relation = relations[draw(static_cast<uint32_t>(relations.size()))];
    switch (draw(40)) {
      case 0:
        wal.add({.rmgr = 2, .info = 0x10, .xid = 7, .body = main_data(locator(relation) + pack({draw(4)}))});
        break;
      case 1:
        wal.add({.rmgr = 2,
                 .info = 0x20,
                 .xid = 7,
                 .body = main_data(pack({draw(99)}) + locator(relation) + pack({7}))});
        break;
      case 2:
        wal.add(commit(draw(9), Timestamp::from_seconds(1'790'000'000 + draw(99)), {relation}, draw(2) == 0));
        break;
      case 3:
        wal.add({.rmgr = 4, .info = 0x10, .xid = 7, .body = main_data(pack({draw(9), 1663}))});
        break;
      case 4:
        wal.add({.rmgr = 0, .info = 0xe0, .xid = 0, .body = main_data(pack({draw(2)}))});
        break;
      default:
        wal.add(insert(700 + draw(3), relation,
                       dense == 0   ? draw(300)
                       : dense == 1 ? draw(2000)
                                    : draw(1u << 31)));
    }
  }
  wal.add(filler(5000));
  auto summary = summarize(wal, 0, options_at(kStart, 17));
  CHECK(summary.has_value());
  return std::move(*summary);
}

TEST(SummaryBytes, come_back_as_they_went_in) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SegmentSummary summary = sample(seed);
    Bytes bytes = encode_summary(summary);
    auto decoded = decode_summary(bytes);
    ASSERT_TRUE(decoded) << seed << decoded.error().to_string();
    EXPECT_EQ(*decoded, summary) << seed;
    EXPECT_EQ(encode_summary(*decoded), bytes);
  }
}

TEST(SummaryBytes, cut_or_flipped_bytes_are_refused_or_read_within_bounds) {
  Bytes bytes = encode_summary(sample(3));
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 100) {
    EXPECT_FALSE(decode_summary(ByteView(bytes).first(size))) << size;
  }
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    Bytes bad = bytes;
    size_t at = random() % std::min<size_t>(bad.size(), i % 2 == 0 ? 200 : bad.size());
    bad[at] = static_cast<uint8_t>(bad[at] ^ 1u << random() % 8);
    if (auto decoded = decode_summary(bad)) {
      EXPECT_LE(decoded->changes.changed_blocks(), decoded->segment_size.bytes / 8);
      EXPECT_TRUE(decode_summary(encode_summary(*decoded)));
    }
  }
  bytes[0] = 2;
  EXPECT_EQ(decode_summary(bytes).error().kind, ErrorKind::unsupported);
}

// Every part that the format has; its bytes are tests/golden/change-summary-1.
SegmentSummary museum_piece() {
  SegmentSummary summary;
  summary.segment = *SegmentName::parse("000000020000000100000003");
  summary.segment_size = {kSegment};
  summary.first_timeline = {1};
  Lsn start = summary.start();
  summary.first = start + 256;
  summary.first_prev = {start.value - 4096};
  summary.last = start + 0x80000;
  summary.records = 1234;
  summary.continued = 200;
  summary.leading = {.length = 200, .left_out = false, .bytes = Bytes(200, 'l')};
  summary.overwritten = {start.value - 2048};
  summary.trailing_lsn = start + 0xffe00;
  summary.trailing_timeline = {2};
  summary.trailing_record_length = 3'000'000;
  summary.trailing = {.length = 512, .left_out = true, .bytes = {}};
  summary.minimal_first = start + 512;
  summary.minimal_last = start + 1024;
  summary.commits = 7;
  summary.aborts = 2;
  summary.first_commit = Timestamp::from_seconds(1'790'000'000);
  summary.last_commit = Timestamp::from_seconds(1'790'000'100);
  summary.changes.rewritten({1663, 16400});
  summary.changes.rewritten({16500, 16400});
  ForkChanges runs;
  for (uint32_t block : {0, 1, 2, 3, 17, 40, 41, 100'000}) runs.blocks.add(block);
  runs.limit = 17;
  summary.changes.put({kTable, Fork::main}, runs);
  ForkChanges dense;
  for (uint32_t block = 80; block < 1000; block += 1 + block % 3) dense.blocks.add(block);
  summary.changes.put({kIndex, Fork::main}, dense);
  summary.changes.cut({{1664, 0, 1262}, Fork::init}, 0);
  summary.relations = {{kTable, {10, 300, 5}, false, false, true}, {kIndex, {}, true, true, false}};
  summary.lowest_xid = 690;
  summary.highest_xid = 706;
  summary.transactions = {{700, kTable, {0, 280, 0}}, {705, kIndex, {128, 0, 1}}};
  summary.ends = {{.xid = 690, .committed = false, .lsn = start + 280},
                  {.xid = 700,
                   .committed = true,
                   .lsn = start + 640,
                   .time = Timestamp::from_seconds(1'790'000'070),
                   .database = 5,
                   .subxids = {705, 706},
                   .dropped = {kIndex}}};
  summary.events = {
      {.kind = SummaryEventKind::restore_point,
       .lsn = start + 300,
       .time = Timestamp::from_seconds(1'790'000'050),
       .name = "before the release"},
      {.kind = SummaryEventKind::parameter_change, .lsn = start + 512},
      {.kind = SummaryEventKind::end_of_recovery,
       .lsn = start + 600,
       .time = Timestamp::from_seconds(1'790'000'060)},
      {.kind = SummaryEventKind::database_create, .lsn = start + 700, .database = 16400, .tablespace = 1663},
      {.kind = SummaryEventKind::database_drop, .lsn = start + 800, .database = 16400, .tablespace = 1663},
      {.kind = SummaryEventKind::database_drop, .lsn = start + 800, .database = 16400, .tablespace = 16500},
      {.kind = SummaryEventKind::backup_end, .lsn = start + 900}};
  return summary;
}

TEST(SummaryBytes, of_version_1_are_read_by_every_later_version) {
  const char* source = std::getenv("LIFEBOAT_SOURCE_DIR");
  std::string path = cat(source != nullptr ? source : ".", "/tests/golden/change-summary-1");
  auto there = path_exists(path);
  ASSERT_TRUE(there);
  if (!*there && std::getenv("LIFEBOAT_WRITE_GOLDEN") != nullptr) {
    ASSERT_TRUE(write_file_durable(path, encode_summary(museum_piece()), 0644));
  }
  auto bytes = read_file(path, 1 << 20);
  ASSERT_TRUE(bytes) << bytes.error().to_string();
  auto summary = decode_summary(*bytes);
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(*summary, museum_piece());
  EXPECT_EQ(encode_summary(*summary), *bytes);
}

TEST(SummaryBytes, are_few) {
  SegmentSummary summary;
  summary.segment = segment_at(kStart);
  summary.segment_size = {kSegment};
  summary.first_timeline = {1};
  EXPECT_LT(encode_summary(summary).size(), 40u);
  size_t before = encode_summary(summary).size();
  ForkChanges run;
  run.blocks.add_run(1000, 100'000);
  summary.changes.put({kTable, Fork::main}, run);
  EXPECT_LT(encode_summary(summary).size(), before + 24);
  ForkChanges every_second;
  for (uint32_t block = 0; block < 20'000; block += 2) every_second.blocks.add(block);
  summary.changes.put({kTable, Fork::main}, every_second);
  EXPECT_LT(encode_summary(summary).size(), before + 2600);  // a bitmap
  ForkChanges scattered;
  for (uint32_t block = 0; block < 1'000'000; block += 5000) scattered.blocks.add(block);
  summary.changes.put({kTable, Fork::main}, scattered);
  EXPECT_LT(encode_summary(summary).size(), before + 2 * 200 + 40);
}

}  // namespace
}  // namespace lifeboat::pg
