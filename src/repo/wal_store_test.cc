#include "repo/wal_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "storage/wrap/fault_store.h"
#include "tests/support/repo_fixture.h"
#include "util/files.h"

namespace lifeboat::repo {
namespace {

constexpr SegmentSize kSize{1u << 20};

WalFileName file(std::string_view text) {
  auto name = WalFileName::parse(text);
  CHECK(name.has_value());
  return *name;
}
SegmentName segment(uint32_t timeline, uint32_t log_id, uint32_t number) {
  return {{timeline}, log_id, number};
}
WalFileName segment_file(uint32_t timeline, uint32_t log_id, uint32_t number) {
  return file(segment(timeline, log_id, number).to_string());
}

class WalStoreTest : public ::testing::Test {
 protected:
  WalStoreTest() : wal_(tiny_.repo) {}
  Result<PushOutcome> push(const WalFileName& name, ByteView content) {
    return wal_.push(name, WalSource::from_bytes(content));
  }
  void push_segments(uint32_t timeline, uint32_t log_id, std::initializer_list<uint32_t> numbers) {
    for (uint32_t number : numbers)
      ASSERT_TRUE(push(segment_file(timeline, log_id, number), tiny_content(number, 100)));
  }
  TinyRepo tiny_;
  WalStore wal_;
};

TEST_F(WalStoreTest, what_was_pushed_is_got_bit_for_bit) {
  for (size_t size : {size_t{0}, size_t{1}, kWalFrameBytes, 3 * kWalFrameBytes + 7}) {
    WalFileName name = segment_file(1, 0, static_cast<uint32_t>(size % 251 + 1));
    Bytes content = tiny_content(size, size);
    auto pushed = push(name, content);
    ASSERT_TRUE(pushed) << pushed.error().to_string();
    EXPECT_EQ(*pushed, PushOutcome::stored);
    Bytes got;
    auto bytes = wal_.get(name, [&](ByteView piece) -> Status {
      EXPECT_LE(piece.size(), kWalFrameBytes);
      got.insert(got.end(), piece.begin(), piece.end());
      return {};
    });
    ASSERT_TRUE(bytes) << bytes.error().to_string();
    EXPECT_EQ(*bytes, size);
    EXPECT_EQ(got, content);
  }
}

TEST(WalStoreHurryTest, what_was_written_in_a_hurry_is_the_same_object) {
  TinyRepo tiny({}, {codec::Compression::zstd, 1});
  WalStore wal(tiny.repo);
  Bytes content;
  for (int i = 0; content.size() < 2 * kWalFrameBytes; ++i) {
    std::string line = cat("row ", i % 1000, " of ", i, "\n");
    content.insert(content.end(), line.begin(), line.end());
  }
  WalFileName usual = segment_file(1, 0, 1);
  ASSERT_TRUE(wal.push(usual, WalSource::from_bytes(content)));
  WalFileName name = segment_file(1, 0, 2);
  auto staged = wal.stage(name, WalSource::from_bytes(content), WalEffort::hurried);
  ASSERT_TRUE(staged) << staged.error().to_string();
  ASSERT_TRUE(wal.publish(std::move(*staged)));
  EXPECT_EQ(*wal.get_small(name, content.size()), content);
  EXPECT_GT((*wal.find(name))->stored_bytes, (*wal.find(usual))->stored_bytes);
  EXPECT_LT((*wal.find(name))->stored_bytes, content.size() / 2);
  // Its name says nothing of how it was written.
  auto again = wal.push(name, WalSource::from_bytes(content));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, PushOutcome::already_stored);
}

TEST_F(WalStoreTest, a_file_is_pushed_from_its_descriptor) {
  TempDir dir = *TempDir::make();
  Bytes content = tiny_content(9, 2 * kWalFrameBytes + 5);
  ASSERT_TRUE(write_file_durable(dir / "segment", content, 0600));
  Fd fd = *open_file(dir / "segment", O_RDONLY);
  WalFileName name = segment_file(1, 0, 1);
  ASSERT_TRUE(wal_.push(name, WalSource::from_fd(fd.get(), content.size(), dir / "segment")));
  EXPECT_EQ(*wal_.get_small(name, content.size()), content);
  // Shorter than it was said to be: nothing is stored.
  WalFileName other = segment_file(1, 0, 2);
  EXPECT_FALSE(wal_.push(other, WalSource::from_fd(fd.get(), content.size() + 1, dir / "segment")));
  EXPECT_FALSE(wal_.find(other)->has_value());
}

TEST_F(WalStoreTest, equal_content_again_is_success_and_stores_nothing) {  // T22, W2
  Bytes content = tiny_content(1, 500);
  WalFileName name = segment_file(1, 0, 1);
  ASSERT_TRUE(push(name, content));
  size_t before = tiny_.memory.object_count();
  auto again = push(name, content);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, PushOutcome::already_stored);
  EXPECT_EQ(tiny_.memory.object_count(), before);
}

// Who finds it there did not make it durable: its maker may have been killed right after it became visible.
TEST(WalStoreDurabilityTest, equal_content_that_is_there_is_made_certain_before_it_is_success) {  // T21
  TinyRepo tiny;
  storage::FaultStore watched(tiny.memory);
  Repository repository = *Repository::open(std::make_unique<BorrowedStore>(watched), {});
  LineageRepo repo(repository, "main", tiny.repo.lineage());
  WalStore wal(repo);
  WalFileName name = segment_file(1, 0, 1);
  const Bytes content = tiny_content(1, 500);
  ASSERT_TRUE(wal.push(name, WalSource::from_bytes(content)));
  std::vector<std::string> writes;
  watched.set_hook([&](storage::FaultPlan::Domain domain, uint64_t, std::string_view what) {
    if (domain == storage::FaultPlan::Domain::writes) writes.emplace_back(what);
  });
  auto again = wal.push(name, WalSource::from_bytes(content));
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(*again, PushOutcome::already_stored);
  EXPECT_EQ(writes, std::vector<std::string>{"confirm"});
}

TEST_F(WalStoreTest, different_content_is_a_conflict_that_names_both_and_replaces_nothing) {  // T22, T46, W2
  WalFileName name = segment_file(1, 0, 1);
  Bytes first = tiny_content(1, 500);
  ASSERT_TRUE(push(name, first));
  std::string stored = (*wal_.find(name))->object;
  auto second = push(name, tiny_content(2, 500));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::conflict);
  EXPECT_NE(second.error().to_string().find(stored), std::string::npos);
  EXPECT_EQ(*wal_.get_small(name, 500), first);
}

TEST_F(WalStoreTest, two_pushers_that_race_with_different_content_do_not_both_succeed) {  // T46
  WalFileName name = segment_file(1, 0, 1);
  Bytes ours = tiny_content(1, 500);
  Bytes theirs = tiny_content(2, 500);
  storage::FaultStore raced(tiny_.memory);
  // The other one publishes between our first look and our creation.
  bool done = false;
  raced.set_hook([&](storage::FaultPlan::Domain domain, uint64_t, std::string_view) {
    if (domain != storage::FaultPlan::Domain::writes || done) return;
    done = true;
    EXPECT_TRUE(push(name, theirs));
  });
  Repository repository = *Repository::open(std::make_unique<BorrowedStore>(raced), {});
  LineageRepo repo(repository, tiny_.repo.cluster(), tiny_.repo.lineage());
  auto pushed = WalStore(repo).push(name, WalSource::from_bytes(ours));
  ASSERT_FALSE(pushed);
  EXPECT_EQ(pushed.error().kind, ErrorKind::conflict);
  EXPECT_EQ(wal_.find(name).error().kind, ErrorKind::conflict);
  EXPECT_EQ(wal_.get_small(name, 500).error().kind, ErrorKind::conflict);
  EXPECT_EQ(wal_.find_all(name)->size(), 2u);
}

TEST_F(WalStoreTest, two_pushers_that_race_with_equal_content_both_succeed) {
  WalFileName name = segment_file(1, 0, 1);
  Bytes content = tiny_content(1, 500);
  storage::FaultStore raced(tiny_.memory);
  bool done = false;
  raced.set_hook([&](storage::FaultPlan::Domain domain, uint64_t, std::string_view) {
    if (domain != storage::FaultPlan::Domain::writes || done) return;
    done = true;
    EXPECT_TRUE(push(name, content));
  });
  Repository repository = *Repository::open(std::make_unique<BorrowedStore>(raced), {});
  LineageRepo repo(repository, tiny_.repo.cluster(), tiny_.repo.lineage());
  auto pushed = WalStore(repo).push(name, WalSource::from_bytes(content));
  ASSERT_TRUE(pushed) << pushed.error().to_string();
  EXPECT_EQ(*pushed, PushOutcome::already_stored);
}

TEST_F(WalStoreTest, a_source_that_changes_while_it_is_read_is_not_stored) {
  WalFileName name = segment_file(1, 0, 1);
  int reads = 0;
  WalSource source{100, [&](uint64_t, MutableBytes out) -> Status {
                     std::fill(out.begin(), out.end(), static_cast<uint8_t>(++reads));
                     return {};
                   }};
  auto pushed = wal_.push(name, source);
  ASSERT_FALSE(pushed);
  EXPECT_FALSE(wal_.find(name)->has_value());
}

TEST_F(WalStoreTest, partial_segment_and_backup_label_do_not_conflict_with_the_segment) {  // T22
  std::string base = segment(1, 0, 3).to_string();
  Bytes whole = tiny_content(1, 1000);
  ASSERT_TRUE(push(file(base + ".partial"), ByteView(whole).first(400)));
  ASSERT_TRUE(push(file(base), whole));
  ASSERT_TRUE(push(file(base + ".00000028.backup"), as_bytes("label")));
  EXPECT_EQ(wal_.get_small(file(base), 1000)->size(), 1000u);
  EXPECT_EQ(wal_.get_small(file(base + ".partial"), 1000)->size(), 400u);
  std::vector<std::string> listed;
  ASSERT_TRUE(wal_.list({1}, {}, [&](const WalObject& object) -> Status {
    listed.push_back(object.file.text);
    return {};
  }));
  EXPECT_EQ(listed, (std::vector<std::string>{base, base + ".00000028.backup", base + ".partial"}));
  int segments = 0;
  ASSERT_TRUE(wal_.list_segments({1}, {}, [&](const SegmentName&, int copies) -> Status {
    EXPECT_EQ(copies, 1);
    ++segments;
    return {};
  }));
  EXPECT_EQ(segments, 1);
}

TEST_F(WalStoreTest, what_is_not_stored_is_certainly_absent) {  // T29
  auto found = wal_.find(segment_file(1, 0, 1));
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->has_value());
  EXPECT_EQ(wal_.get_small(segment_file(1, 0, 1), 100).error().kind, ErrorKind::not_found);
}

TEST_F(WalStoreTest, a_flipped_bit_is_never_handed_out_as_whole) {
  WalFileName name = segment_file(1, 0, 1);
  Bytes content = tiny_content(1, 200);
  ASSERT_TRUE(push(name, content));
  std::string object = (*wal_.find(name))->object;
  Bytes good = *tiny_.memory.get(object, 10000);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    ASSERT_TRUE(tiny_.memory.overwrite(object, bad));
    EXPECT_FALSE(wal_.get_small(name, 10000)) << bit;
  }
}

TEST_F(WalStoreTest, content_under_a_wrong_hash_is_damaged) {
  WalFileName name = segment_file(1, 0, 1);
  codec::Hash128 wrong{};
  std::string below = wal_object_name(name, wrong);
  ASSERT_TRUE(tiny_.repo.put(ObjectKind::wal, below, tiny_content(1, 100)));
  auto got = wal_.get_small(name, 1000);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::damaged);
}

TEST_F(WalStoreTest, names_are_parsed_strictly) {
  codec::Hash128 hash = codec::hash128(as_bytes("x"));
  for (std::string_view text : {"0000000A0000000B000000FF", "0000000A0000000B000000FF.partial",
                                "0000000A0000000B000000FF.00000028.backup", "0000000A.history"}) {
    std::string name = wal_object_name(file(text), hash);
    auto parsed = parse_wal_object_name(name);
    ASSERT_TRUE(parsed) << name;
    EXPECT_EQ(parsed->file.text, text);
    EXPECT_EQ(parsed->name_hash, hash);
  }
  EXPECT_EQ(wal_object_name(file("0000000A.history"), hash).substr(0, 30), "wal/0000000A/0000000A.history-");
  std::string good = wal_object_name(segment_file(1, 0, 1), hash);
  EXPECT_FALSE(parse_wal_object_name(good.substr(1)));
  EXPECT_FALSE(parse_wal_object_name(good + "0"));
  EXPECT_FALSE(parse_wal_object_name("wal/00000002/00000000/" + good.substr(good.rfind('/') + 1)));
  EXPECT_FALSE(parse_wal_object_name("wal/00000001/00000000/000000010000000000000001"));
  EXPECT_FALSE(parse_wal_object_name(""));
}

TEST_F(WalStoreTest, coverage_finds_the_first_missing_segment) {  // T31
  push_segments(1, 0, {1, 2, 3, 5});
  auto at = [](uint64_t segments, uint64_t bytes = 0) { return Lsn{(segments << 20) + bytes}; };
  Coverage whole = *wal_.coverage({1}, at(1, 10), at(3, 10), kSize);
  EXPECT_TRUE(whole.complete());
  EXPECT_EQ(whole.covered_to, at(4));
  // A position on a boundary needs the segment before it only.
  EXPECT_TRUE(wal_.coverage({1}, at(1), at(4), kSize)->complete());
  Coverage hole = *wal_.coverage({1}, at(1), at(6), kSize);
  EXPECT_EQ(hole.first_missing, segment(1, 0, 4));
  EXPECT_EQ(hole.covered_to, at(4));
  EXPECT_EQ(wal_.coverage({1}, at(0), at(2), kSize)->first_missing, segment(1, 0, 0));
  EXPECT_EQ(wal_.coverage({1}, at(5), at(7), kSize)->first_missing, segment(1, 0, 6));
  EXPECT_EQ(wal_.coverage({2}, at(5), at(6), kSize)->first_missing, segment(2, 0, 5));
  EXPECT_TRUE(wal_.coverage({1}, at(4), at(4), kSize)->complete());
}

TEST_F(WalStoreTest, coverage_goes_over_the_end_of_a_log_id) {  // T12: 1 MiB segments, 4096 in a log id
  push_segments(1, 0, {4094, 4095});
  push_segments(1, 1, {0, 1});
  EXPECT_TRUE(wal_.coverage({1}, {4094ull << 20}, {4098ull << 20}, kSize)->complete());
  // The same names with 16 MiB segments: a log id ends at FF, so 4094 is not a segment that continues.
  EXPECT_FALSE(wal_.coverage({1}, {255ull << 24}, {257ull << 24}, SegmentSize{16u << 20})->complete());
}

TEST_F(WalStoreTest, coverage_reports_conflicts) {
  push_segments(1, 0, {1, 2, 3});
  ASSERT_TRUE(tiny_.repo.put(ObjectKind::wal, wal_object_name(segment_file(1, 0, 2), {}), as_bytes("x")));
  Coverage coverage = *wal_.coverage({1}, {1ull << 20}, {4ull << 20}, kSize);
  EXPECT_FALSE(coverage.complete());
  EXPECT_FALSE(coverage.first_missing.has_value());
  EXPECT_EQ(coverage.conflicts, (std::vector<SegmentName>{segment(1, 0, 2)}));
}

TEST_F(WalStoreTest, ranges_extents_and_timelines) {
  push_segments(1, 0, {7});
  push_segments(1, 2, {1, 9});
  push_segments(0x1a, 0, {4});
  ASSERT_TRUE(push(file(segment(1, 3, 0).to_string() + ".partial"), as_bytes("x")));
  EXPECT_EQ(*wal_.timelines(), (std::vector<Timeline>{{1}, {0x1a}}));
  EXPECT_EQ(*wal_.newest_segment({1}), segment(1, 2, 9));
  EXPECT_EQ(*wal_.newest_segment({9}), std::nullopt);
  EXPECT_EQ((*wal_.extent({1}))->oldest, segment(1, 0, 7));
  EXPECT_EQ((*wal_.extent({1}))->newest, segment(1, 3, 0));
  EXPECT_FALSE(wal_.extent({9})->has_value());
  std::vector<SegmentName> listed;
  ASSERT_TRUE(wal_.list_segments({1}, {segment(1, 0, 8), segment(1, 2, 9)},
                                 [&](const SegmentName& name, int) -> Status {
                                   listed.push_back(name);
                                   return {};
                                 }));
  EXPECT_EQ(listed, (std::vector<SegmentName>{segment(1, 2, 1)}));
}

TEST_F(WalStoreTest, histories_are_listed_and_parsed) {  // T23
  ASSERT_TRUE(push(file("00000003.history"), as_bytes("1\t0/5000000\tno recovery target specified\n\n"
                                                      "2\t1/A0000D8\tbefore 2026-11-20 10:00:00+00\n")));
  push_segments(3, 1, {1});
  auto lines = wal_.history({3});
  ASSERT_TRUE(lines) << lines.error().to_string();
  ASSERT_EQ(lines->size(), 2u);
  EXPECT_EQ((*lines)[0].timeline, Timeline{1});
  EXPECT_EQ((*lines)[1].switch_point.to_string(), "1/A0000D8");
  EXPECT_TRUE(wal_.history({1})->empty());
  EXPECT_EQ(wal_.history({2}).error().kind, ErrorKind::not_found);
  ASSERT_EQ(wal_.histories()->size(), 1u);
  EXPECT_EQ(wal_.histories()->front().file.text, "00000003.history");
}

TEST(HistoryTest, malformed_histories_are_damaged) {
  EXPECT_TRUE(parse_history("h", "")->empty());
  EXPECT_TRUE(parse_history("h", "# a comment\n  \n")->empty());
  EXPECT_EQ(parse_history("h", "1 0/10")->size(), 1u);
  for (std::string_view text :
       {"1", "x\t0/1\tr", "0\t0/1\tr", "1\tzz\tr", "2\t0/1\tr\n1\t0/2\tr", "1\t0/1\tr\n1\t0/2\tr"}) {
    auto lines = parse_history("h", text);
    ASSERT_FALSE(lines) << text;
    EXPECT_EQ(lines.error().kind, ErrorKind::damaged);
  }
}

TEST(WalStoreEncryptedTest, names_do_not_tell_content_and_a_pusher_still_sees_equal_and_different) {
  TempDir dir = *TempDir::make();
  KeySource key{KeySourceKind::key_file, dir / "key"};
  ASSERT_TRUE(create_key_file(key.path));
  TinyRepo tiny(key);
  WalStore wal(tiny.repo);
  WalFileName name = segment_file(1, 0, 1);
  Bytes content = tiny_content(1, 100);
  ASSERT_TRUE(wal.push(name, WalSource::from_bytes(content)));
  auto object = *wal.find(name);
  EXPECT_NE(object->name_hash, Keyring().name_hash(name.text, codec::hash128(content)));
  EXPECT_EQ(*wal.push(name, WalSource::from_bytes(content)), PushOutcome::already_stored);
  EXPECT_EQ(wal.push(name, WalSource::from_bytes(tiny_content(2, 100))).error().kind, ErrorKind::conflict);
  EXPECT_EQ(*wal.get_small(name, 100), content);
}

}  // namespace
}  // namespace lifeboat::repo
