#include "ops/wal/changes.h"

#include <random>
#include <set>

#include "pg/wal/segment_summary.h"
#include "repo/summary_store.h"
#include "storage/wrap/readonly_store.h"
#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using testing::kSegment;
using testing::name_of;
using testing::Wal;
using testing::WalFixture;

constexpr pg::RelationLocator kTable{1663, 5, 16384};

class Notes : public SilentReporter {
 public:
  void note(NoteLevel, std::string_view message) override { notes.emplace_back(message); }
  std::vector<std::string> notes;
};

// A pg_wal in memory.
class MapWal : public ServerWal {
 public:
  Result<bool> read(const SegmentName& segment, const std::function<Status(ByteView)>& sink) override {
    auto found = files.find(segment.to_string());
    if (found == files.end()) return false;
    ++reads;
    ByteView bytes = found->second;
    for (size_t at = 0; at < bytes.size(); at += 100'000) {
      TRY(sink(bytes.subspan(at, std::min<size_t>(100'000, bytes.size() - at))));
    }
    return true;
  }
  std::map<std::string, Bytes> files;
  int reads = 0;
};

class ChangesTest : public WalFixture {
 protected:
  // A record that changes one block of kTable and is `size` bytes long, or a little more.
  static Lsn change(Wal& wal, uint32_t block, size_t size = 60) {
    Bytes body;
    ByteWriter out(body);
    out.u8(0);
    out.u8(0);
    out.u16(0);
    for (uint32_t word : {kTable.tablespace, kTable.database, kTable.number, block}) out.u32(word);
    body.push_back(254);
    ByteWriter(body).u32(static_cast<uint32_t>(size));
    body.resize(body.size() + size);
    return wal.builder().add({.rmgr = 10, .info = 0, .xid = 700, .body = body});
  }

  ChangesRequest request(Lsn from, Lsn to) {
    ChangesRequest request;
    request.lineage = &lineage();
    request.history = pg::TimelineHistory::root({1});
    request.from = from;
    request.to = to;
    request.server_wal = &server_;
    return request;
  }
  WalChanges read(const ChangesRequest& request) {
    auto changes = read_changes(request, notes_, stop_);
    EXPECT_TRUE(changes) << changes.error().to_string();
    return changes ? std::move(*changes) : WalChanges();
  }
  WalChanges read(Lsn from, Lsn to) { return read(request(from, to)); }
  std::string refusal(const ChangesRequest& request) {
    WalChanges changes = read(request);
    EXPECT_TRUE(changes.unusable.empty() || changes.map.empty());
    return changes.unusable;
  }
  std::string refusal(Lsn from, Lsn to) { return refusal(request(from, to)); }
  static std::set<uint32_t> blocks(const WalChanges& changes) {
    std::set<uint32_t> found;
    const pg::ForkChanges* table = changes.map.find({kTable, pg::Fork::main});
    if (table == nullptr) return found;
    table->blocks.each_run([&](uint32_t first, uint64_t count) {
      for (uint64_t i = 0; i < count; ++i) found.insert(static_cast<uint32_t>(first + i));
    });
    return found;
  }
  size_t stored_summaries() {
    size_t count = 0;
    EXPECT_TRUE(repo::SummaryStore(lineage().repo).list({1}, {}, [&](const repo::WalObject&) -> Status {
      ++count;
      return {};
    }));
    return count;
  }
  void keep_on_server(const Wal& wal, uint64_t first, uint64_t last, uint32_t timeline = 1) {
    for (uint64_t index = first; index <= last; ++index) {
      server_.files[name_of(timeline, index).to_string()] = wal.segment(index);
    }
  }

  MapWal server_;
  Notes notes_;
  StopToken stop_;
};

TEST_F(ChangesTest, every_block_that_changed_between_two_records_is_in_the_map) {  // T16
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    make_repository("memory:");
    server_.files.clear();
    std::mt19937 random(seed);
    Wal wal;
    std::vector<std::pair<Lsn, uint32_t>> records;
    for (uint32_t i = 0; wal.last_index() < 6; ++i) {
      // Now and then one longer than a segment, or than what summaries keep of a cut record.
      size_t size = random() % 40 == 0 ? random() % (3u << 20) : random() % 9000;
      records.emplace_back(change(wal, i, size), i);
    }
    Lsn end = wal.end();
    uint64_t archived = random() % 8;  // the rest is in pg_wal only
    for (uint64_t index = 1; index <= wal.last_index(); ++index) {
      if (index <= archived && index < wal.last_index()) store_segment(1, index, wal);
      if (index > archived || index == wal.last_index() || random() % 2 == 0)
        keep_on_server(wal, index, index);
    }
    for (int i = 0; i < 40; ++i) {
      size_t a = random() % records.size();
      size_t b = a + random() % (records.size() - a);
      Lsn to = i % 5 == 0 ? end : records[b].first;
      WalChanges changes = read(records[a].first, to);
      ASSERT_EQ(changes.unusable, "") << seed;
      std::set<uint32_t> found = blocks(changes);
      for (const auto& [lsn, block] : records) {
        if (lsn >= records[a].first && lsn < to) {
          ASSERT_TRUE(found.contains(block)) << seed << " " << lsn.to_string();
        }
      }
      // An upper bound that stays near: nothing before the first segment, nothing after the last.
      for (uint32_t block : found) {
        Lsn lsn = records[block].first;
        ASSERT_GE(lsn.value / kSegment, records[a].first.value / kSegment);
        ASSERT_LE(lsn.value / kSegment, (to.value + kSegment - 1) / kSegment);
      }
    }
  }
}

TEST_F(ChangesTest, summaries_are_stored_for_the_next_reader_and_say_the_same) {
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 5; ++i) change(wal, i, 3000);
  Lsn to = wal.end();
  store_segments(1, 1, 4, wal);
  keep_on_server(wal, 5, 5);
  WalChanges first = read(from, to);
  ASSERT_EQ(first.unusable, "");
  EXPECT_EQ(first.segments, 5u);
  EXPECT_EQ(first.summaries, 0u);
  EXPECT_EQ(stored_summaries(), 4u);
  WalChanges second = read(from, to);
  EXPECT_EQ(second.summaries, 4u);
  EXPECT_LT(second.wal_bytes, first.wal_bytes / 4);
  EXPECT_EQ(second.map, first.map);
  // With no segment left but the last, and its repository's copies gone.
  EXPECT_EQ(server_.files.size(), 1u);
  ChangesRequest alone = request(from, to);
  alone.store = false;
  EXPECT_EQ(read(alone).map, first.map);
}

TEST_F(ChangesTest, what_the_server_has_is_read_there_and_stored_only_when_it_is_the_same) {
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 4; ++i) change(wal, i, 3000);
  Lsn to = wal.end();
  store_segments(1, 1, 2, wal);
  keep_on_server(wal, 1, 4);
  WalChanges changes = read(from, to);
  ASSERT_EQ(changes.unusable, "");
  EXPECT_EQ(server_.reads, 4);
  EXPECT_EQ(stored_summaries(), 2u);  // nobody can name the others yet

  make_repository("memory:");
  store_conflict(1, 2, wal);
  store_segment(1, 1, wal);
  EXPECT_NE(refusal(from, to).find("differs from the stored one"), std::string::npos);
  EXPECT_EQ(stored_summaries(), 1u);
}

TEST_F(ChangesTest, a_hole_anywhere_is_no_map) {
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 5; ++i) change(wal, i, 3000);
  Lsn to = wal.end();
  for (uint64_t hole = 1; hole <= 5; ++hole) {
    make_repository("memory:");
    server_.files.clear();
    for (uint64_t index = 1; index <= 5; ++index) {
      if (index == hole) continue;
      if (index < 4) store_segment(1, index, wal);
      if (index >= 4) keep_on_server(wal, index, index);
    }
    EXPECT_EQ(refusal(from, to), cat("WAL segment ", name_of(1, hole).to_string(),
                                     " is neither in the server's pg_wal nor stored"));
    ChangesRequest alone = request(from, to);
    alone.server_wal = nullptr;
    EXPECT_NE(refusal(alone).find("is not stored"), std::string::npos);
  }
}

TEST_F(ChangesTest, a_segment_of_another_history_breaks_the_chain) {  // T16
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 3; ++i) change(wal, i, 3000);
  Wal other;
  change(other, 1, 500);
  for (uint32_t i = 2; other.last_index() < 3; ++i) change(other, i, 2900);
  wal.end_segment();
  other.end_segment();
  for (const Wal* second : {&wal, &other}) {
    make_repository("memory:");
    store_segment(1, 1, wal);
    store_segment(1, 2, *second);
    store_segment(1, 3, wal);
    for (bool summarised : {false, true}) {
      EXPECT_EQ(stored_summaries() > 0, summarised);
      std::string why = refusal(from, {4 * kSegment});
      if (second == &wal) {
        EXPECT_EQ(why, "");
      } else {
        EXPECT_NE(why.find("WAL is not continuous"), std::string::npos) << why;
      }
    }
  }
}

TEST_F(ChangesTest, a_jump_by_pg_resetwal_is_a_hole) {
  Wal before;
  Lsn from = change(before, 1);
  before.end_segment();
  Wal after({2 * kSegment});  // xl_prev of its first record is 0
  change(after, 2);
  after.end_segment();
  store_segment(1, 1, before);
  store_segment(1, 2, after);
  EXPECT_NE(refusal(from, {3 * kSegment}).find("WAL is not continuous"), std::string::npos);
  EXPECT_EQ(refusal({2 * kSegment}, {3 * kSegment}), "");
}

TEST_F(ChangesTest, minimal_wal_counts_only_within_the_range) {  // T18
  Wal wal;
  auto parameters = [&](uint32_t level) {
    Bytes main(26);
    store_le(main.data() + 20, level);
    return wal.builder().add({.rmgr = 0, .info = 0x60, .xid = 0, .body = pg::testing::main_data(main)});
  };
  Lsn start = change(wal, 1);
  Lsn minimal = parameters(0);
  change(wal, 2);
  parameters(1);
  Lsn later = change(wal, 3);
  for (uint32_t i = 4; wal.last_index() < 2; ++i) change(wal, i, 3000);
  Lsn end = wal.end();
  store_segment(1, 1, wal);
  keep_on_server(wal, 2, 2);
  for (int again : {0, 1}) {
    EXPECT_EQ(refusal(start, end), cat("wal_level was minimal at ", minimal.to_string())) << again;
    EXPECT_EQ(refusal(minimal, end), cat("wal_level was minimal at ", minimal.to_string()));
    EXPECT_EQ(refusal(start, minimal), "");
    EXPECT_EQ(refusal(later, end), "");
  }
}

TEST_F(ChangesTest, damage_and_foreign_wal_are_no_map) {
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 3; ++i) change(wal, i, 3000);
  Lsn to = wal.end();
  keep_on_server(wal, 1, 3);
  Bytes& middle = server_.files[name_of(1, 2).to_string()];
  middle[500'000] ^= 1;
  EXPECT_NE(refusal(from, to).find(name_of(1, 2).to_string()), std::string::npos);
  // A recycled file holds other WAL than its name says; the archive has the right one.
  middle = wal.segment(1);
  EXPECT_NE(refusal(from, to).find("page address"), std::string::npos);
  store_segment(1, 2, wal);
  EXPECT_EQ(refusal(from, to), "");
  middle = wal.segment(2);
  middle[24] ^= 1;  // the system identifier
  make_repository("memory:");
  EXPECT_NE(refusal(from, to).find("system identifier"), std::string::npos);
}

TEST_F(ChangesTest, wal_that_is_not_written_yet_is_no_map) {
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; i < 50; ++i) change(wal, i, 3000);
  keep_on_server(wal, 1, 1);
  EXPECT_EQ(refusal(from, wal.end()), "");
  EXPECT_NE(refusal(from, wal.end() + 8), "");
  server_.files.begin()->second.resize(300'000);
  EXPECT_EQ(refusal(from, {kSegment + 100'000}), "");  // a short file that reaches it
}

TEST_F(ChangesTest, a_summary_that_is_damaged_or_of_something_else_is_not_believed) {
  TempDir scratch = std::move(*TempDir::make());
  make_repository(cat("file://", scratch / "repo"), storage::StoreMode::create_missing);
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 3; ++i) change(wal, i, 3000);
  store_segments(1, 1, 2, wal);
  keep_on_server(wal, 3, 3);
  Lsn to = wal.end();
  WalChanges good = read(from, to);
  EXPECT_TRUE(notes_.notes.empty());
  repo::SummaryStore summaries(lineage().repo);
  std::vector<repo::WalObject> objects;
  ASSERT_TRUE(summaries.list({1}, {}, [&](const repo::WalObject& object) -> Status {
    objects.push_back(object);
    return {};
  }));
  ASSERT_EQ(objects.size(), 2u);
  std::string path = scratch / cat("repo/", objects[0].object);
  Bytes bytes = *read_file(path, 1 << 20);
  bytes[bytes.size() - 30] ^= 1;
  ASSERT_TRUE(lineage().repo.store().remove(objects[0].object));
  ASSERT_TRUE(write_file_durable(path, bytes, 0600));
  // The second one says that it is of the first segment.
  auto first = pg::decode_summary(bytes);
  ASSERT_TRUE(lineage().repo.store().remove(objects[1].object));
  pg::SegmentSummary wrong;
  wrong.segment = name_of(1, 1);
  wrong.segment_size = {kSegment};
  wrong.first_timeline = {1};
  repo::WalObject second = objects[1];
  ASSERT_TRUE(summaries.put(second, pg::encode_summary(wrong)));
  WalChanges again = read(from, to);
  EXPECT_EQ(again.unusable, "");
  EXPECT_EQ(again.map, good.map);
  EXPECT_EQ(again.summaries, 0u);
  ASSERT_EQ(notes_.notes.size(), 2u);
  EXPECT_NE(notes_.notes[0].find("is of no use"), std::string::npos);
}

TEST_F(ChangesTest, a_flipped_bit_that_looks_like_a_later_format_is_damage) {
  TempDir scratch = std::move(*TempDir::make());
  make_repository(cat("file://", scratch / "repo"), storage::StoreMode::create_missing);
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 3; ++i) change(wal, i, 3000);
  store_segments(1, 1, 2, wal);
  keep_on_server(wal, 3, 3);
  Lsn to = wal.end();
  WalChanges good = read(from, to);
  constexpr size_t kFormatVersion = 8;  // its place in a header
  auto flip = [&](const repo::WalObject& object) {
    std::string path = scratch / cat("repo/", object.object);
    Bytes bytes = *read_file(path, 1 << 24);
    bytes[kFormatVersion + 1] ^= 1;
    ASSERT_TRUE(lineage().repo.store().remove(object.object));
    ASSERT_TRUE(write_file_durable(path, bytes, 0600));
  };
  auto flip_all = [&](const repo::WalObject& object) -> Status {
    flip(object);
    return {};
  };
  ASSERT_TRUE(repo::SummaryStore(lineage().repo).list({1}, {}, flip_all));
  WalChanges again = read(from, to);
  EXPECT_EQ(again.unusable, "");
  EXPECT_EQ(again.map, good.map);
  EXPECT_EQ(again.summaries, 0u);
  EXPECT_EQ(notes_.notes.size(), 2u);
  ASSERT_TRUE(repo::WalStore(lineage().repo).list({1}, {}, flip_all));
  EXPECT_NE(refusal(request(from, to)).find("format version 257"), std::string::npos);
}

TEST_F(ChangesTest, a_promotion_inside_a_segment_is_followed) {  // T16
  Wal one;
  Lsn from = change(one, 1);
  uint32_t block = 2;
  while (one.last_index() < 2) change(one, block++, 3000);
  Wal two = one;
  Lsn fork = two.end();
  uint32_t shared = block;
  while (one.last_index() < 4) change(one, block++, 3000);  // the old primary went on
  two.promote({2});
  uint32_t other = 100'000;
  while (two.last_index() < 4) change(two, other++, 3000);
  Lsn to = two.end();
  store_segments(1, 1, 3, one);
  pg::TimelineHistory history = pg::TimelineHistory::root({1}).branch({2}, fork, "promoted");
  store_history(history);
  store_segment(2, 2, two);
  keep_on_server(two, 3, 4, 2);
  ChangesRequest wanted = request(from, to);
  wanted.history = history;
  for (int again : {0, 1}) {
    WalChanges changes = read(wanted);
    ASSERT_EQ(changes.unusable, "") << again;
    std::set<uint32_t> found = blocks(changes);
    for (uint32_t i = 1; i < shared; ++i) EXPECT_TRUE(found.contains(i));
    for (uint32_t i = 100'000; i < other; ++i) EXPECT_TRUE(found.contains(i));
    EXPECT_FALSE(found.contains(shared));
  }
  // The new timeline's copy of the segment is what counts: without it there is a hole.
  ASSERT_TRUE(lineage().repo.store().remove(
      (*wal_store().find(*WalFileName::parse(name_of(2, 2).to_string())))->object));
  ASSERT_TRUE(lineage().repo.store().list(
      lineage().repo.name("summaries/00000002"),
      [&](const storage::ObjectInfo& info) -> Status { return lineage().repo.store().remove(info.name); }));
  EXPECT_NE(refusal(wanted).find(name_of(2, 2).to_string()), std::string::npos);
  // So is a file whose beginning is not of the timeline that the history says.
  keep_on_server(two, 2, 2, 2);
  wanted.history = pg::TimelineHistory::root({1}).branch({2}, {kSegment + 80}, "another fork");
  wanted.from = {2 * kSegment};
  EXPECT_NE(refusal(wanted).find("which is not this server's history"), std::string::npos);
}

TEST_F(ChangesTest, a_record_that_a_crash_cut_short_is_given_up) {
  Wal wal;
  Lsn from = change(wal, 1);
  while (wal.end().value + 3000 < 2 * kSegment) change(wal, 2, 1000);
  pg::testing::RecordSpec torn = pg::testing::filler(9000);
  Lsn lsn = wal.builder().add_torn(torn);
  Bytes main;
  ByteWriter(main).u64(lsn.value);
  ByteWriter(main).u64(0);
  wal.builder().add({.rmgr = 0, .info = 0xd0, .xid = 0, .body = pg::testing::main_data(main)});
  change(wal, 3);
  Lsn to = wal.end();
  store_segment(1, 1, wal);
  keep_on_server(wal, 2, 2);
  WalChanges changes = read(from, to);
  EXPECT_EQ(changes.unusable, "");
  EXPECT_EQ(blocks(changes), (std::set<uint32_t>{1, 2, 3}));
  // Of a record that was never begun, it says that something is missing.
  Wal other;
  change(other, 1);
  other.end_segment();
  make_repository("memory:");
  store_segment(1, 1, other);
  EXPECT_NE(refusal(from, to).find("WAL is not continuous"), std::string::npos);
}

TEST_F(ChangesTest, without_the_right_to_store_the_map_is_the_same) {
  Wal wal;
  Lsn from = change(wal, 1);
  for (uint32_t i = 2; wal.last_index() < 3; ++i) change(wal, i, 3000);
  TempDir scratch = std::move(*TempDir::make());
  make_repository(cat("file://", scratch / "repo"), storage::StoreMode::create_missing);
  store_segments(1, 1, 2, wal);
  keep_on_server(wal, 3, 3);
  auto inner = storage::open_store(cat("file://", scratch / "repo"), storage::StoreMode::existing);
  ASSERT_TRUE(inner);
  auto repository =
      repo::Repository::open(std::make_unique<storage::ReadOnlyStore>(std::move(*inner)), repo::KeySource{});
  ASSERT_TRUE(repository) << repository.error().to_string();
  ChosenLineage readonly{repo::LineageRepo(*repository, "main", lineage().record.lineage), lineage().record,
                         0};
  ChangesRequest wanted = request(from, wal.end());
  wanted.lineage = &readonly;
  WalChanges changes = read(wanted);
  EXPECT_EQ(changes.unusable, "");
  EXPECT_EQ(notes_.notes.size(), 1u);
  EXPECT_EQ(stored_summaries(), 0u);
  EXPECT_EQ(read(from, wal.end()).map, changes.map);
}

TEST_F(ChangesTest, an_empty_range_has_no_changes) {
  Wal wal;
  Lsn from = change(wal, 1);
  keep_on_server(wal, 1, 1);
  WalChanges changes = read(from, from);
  EXPECT_EQ(changes.unusable, "");
  EXPECT_TRUE(changes.map.empty() || blocks(changes) == std::set<uint32_t>{});
  EXPECT_EQ(changes.segments, 0u);
}

TEST_F(ChangesTest, a_stop_is_an_error) {
  Wal wal;
  Lsn from = change(wal, 1);
  keep_on_server(wal, 1, 1);
  stop_.request();
  EXPECT_EQ(read_changes(request(from, wal.end()), notes_, stop_).error().kind, ErrorKind::cancelled);
}

}  // namespace
}  // namespace lifeboat::ops
