#include "ops/wal/push_ahead.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "storage/file/file_store.h"
#include "storage/wrap/fault_store.h"
#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using repo::PushOutcome;
using testing::at;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

// A directory that stands for pg_wal, with segments 1 to 9, and a repository whose objects get their names
// one after the other.
class PushAheadTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    ASSERT_TRUE(create_dirs(pg_wal_ / "archive_status"));
    while (wal_.last_index() < 10) wal_.fill(300'000);
    for (uint64_t index = 1; index <= 9; ++index) write(index, wal_.segment(index));
  }

  static WalFileName file(uint64_t index) { return *WalFileName::parse(name_of(1, index).to_string()); }
  std::string path(uint64_t index) const { return pg_wal_ / file(index).text; }
  std::string ready_file(uint64_t index) const {
    return pg_wal_ / cat("archive_status/", file(index).text, ".ready");
  }
  void write(uint64_t index, ByteView content) {
    ASSERT_TRUE(write_file_durable(path(index), content, 0600));
  }
  void ready(uint64_t first, uint64_t last) {
    for (uint64_t index = first; index <= last; ++index)
      ASSERT_TRUE(write_file_durable(ready_file(index), {}, 0600));
  }
  // Other content under this segment's name, stored by somebody else.
  void store_other(uint64_t index) {
    Bytes other = wal_.segment(index);
    other[other.size() - 9] ^= 1;
    store_file(file(index).text, other);
  }
  AheadPusher pusher(int ahead, PusherLife life = PusherLife::one_call) {
    return AheadPusher(lineage(), pg_wal_.path(), {.ahead = ahead, .life = life, .stop = &stop_});
  }
  Bytes content_of(uint64_t index) const {
    Bytes content;
    EXPECT_TRUE(wal_store().get(file(index), [&](ByteView piece) -> Status {
      content.insert(content.end(), piece.begin(), piece.end());
      return {};
    }));
    return content;
  }
  Result<PushOutcome> push(uint64_t index, int ahead = 4) { return pusher(ahead).push(file(index)); }
  std::vector<uint64_t> stored() const {
    std::vector<uint64_t> found;
    EXPECT_TRUE(wal_store().list_segments({1}, {}, [&](const SegmentName& name, int) -> Status {
      found.push_back(name.index({kSegment}));
      return {};
    }));
    return found;
  }

  TempDir pg_wal_ = TempDir::make("lifeboat-ahead-test").value();
  Wal wal_;
  StopToken stop_;
};

TEST_F(PushAheadTest, segments_that_wait_behind_are_stored_with_the_one_asked_for) {
  ready(1, 9);
  EXPECT_EQ(push(1).value(), PushOutcome::stored);
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(push(2).value(), PushOutcome::already_stored);
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4, 5)) << "its call is answered at once";
  for (uint64_t index = 3; index <= 5; ++index) EXPECT_EQ(push(index).value(), PushOutcome::already_stored);
  EXPECT_EQ(push(6).value(), PushOutcome::stored);
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
  for (uint64_t index = 1; index <= 9; ++index) {
    Bytes content;
    ASSERT_TRUE(wal_store().get(file(index), [&](ByteView piece) -> Status {
      content.insert(content.end(), piece.begin(), piece.end());
      return {};
    }));
    EXPECT_EQ(content, wal_.segment(index));
  }
}

TEST_F(PushAheadTest, a_segment_that_does_not_wait_ends_the_row) {
  ready(1, 3);
  ready(5, 9);
  ASSERT_TRUE(push(1));
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3));
}

TEST_F(PushAheadTest, nothing_is_stored_ahead_when_it_is_turned_off) {
  ready(1, 9);
  ASSERT_TRUE(push(1, 0));
  EXPECT_THAT(stored(), ElementsAre(1));
}

TEST_F(PushAheadTest, a_conflict_of_the_one_asked_for_leaves_nothing_behind_it_published) {  // T46
  ready(1, 9);
  store_other(3);
  EXPECT_EQ(push(3).error().kind, ErrorKind::conflict);
  EXPECT_THAT(stored(), ElementsAre(3));
}

TEST_F(PushAheadTest, a_failure_ahead_ends_the_row_and_is_told_by_its_own_call) {
  ready(1, 9);
  store_other(4);
  EXPECT_EQ(push(2).value(), PushOutcome::stored);
  EXPECT_THAT(stored(), ElementsAre(2, 3, 4));
  EXPECT_EQ(push(4).error().kind, ErrorKind::conflict);
  EXPECT_THAT(stored(), ElementsAre(2, 3, 4));

  write(6, Bytes(kSegment));
  EXPECT_EQ(push(5).value(), PushOutcome::stored);
  EXPECT_EQ(push(6).error().kind, ErrorKind::damaged);
  EXPECT_THAT(stored(), ElementsAre(2, 3, 4, 5));
}

TEST_F(PushAheadTest, a_file_of_another_cluster_is_not_stored_ahead) {  // T26
  ready(1, 9);
  Bytes other = wal_.segment(2);
  other[24] ^= 1;  // xlp_sysid
  write(2, other);
  ASSERT_TRUE(push(1));
  EXPECT_THAT(stored(), ElementsAre(1));
}

TEST_F(PushAheadTest, who_stays_answers_without_reading_again) {
  ready(1, 5);
  AheadPusher pusher = this->pusher(4);
  EXPECT_EQ(pusher.push(file(1)).value(), PushOutcome::stored);
  // The answer comes from memory, or this would be damage: permissions do not hinder root.
  struct stat before{};
  ASSERT_EQ(::stat(path(2).c_str(), &before), 0);
  Fd fd = open_file(path(2), O_WRONLY).value();
  ASSERT_TRUE(pwrite_all(fd.get(), 0, Bytes(100), path(2)));
  timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::futimens(fd.get(), times), 0);
  EXPECT_EQ(pusher.push(file(2)).value(), PushOutcome::already_stored);
  // Once only: the second call is looked at.
  EXPECT_EQ(pusher.push(file(2)).error().kind, ErrorKind::damaged);
}

TEST_F(PushAheadTest, who_stays_reads_a_file_that_changed) {
  ready(1, 5);
  AheadPusher pusher = this->pusher(4);
  ASSERT_TRUE(pusher.push(file(1)));
  Bytes other = wal_.segment(2);
  other[other.size() - 9] ^= 1;
  write(2, other);
  EXPECT_EQ(pusher.push(file(2)).error().kind, ErrorKind::conflict);
  EXPECT_EQ(pusher.push(file(3)).value(), PushOutcome::already_stored);
}

TEST_F(PushAheadTest, who_stays_stages_the_next_row_and_nobody_sees_it_before_its_call) {
  ready(1, 9);
  AheadPusher pusher = this->pusher(3, PusherLife::resident);
  EXPECT_EQ(pusher.push(file(1)).value(), PushOutcome::stored);
  for (uint64_t index = 2; index <= 4; ++index) {
    EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4));
    EXPECT_EQ(pusher.push(file(index)).value(), PushOutcome::already_stored);
  }
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(pusher.push(file(5)).value(), PushOutcome::stored);
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  for (uint64_t index = 6; index <= 8; ++index)
    EXPECT_EQ(pusher.push(file(index)).value(), PushOutcome::already_stored);
  EXPECT_EQ(pusher.push(file(9)).value(), PushOutcome::stored);
  for (uint64_t index = 1; index <= 9; ++index) EXPECT_EQ(content_of(index), wal_.segment(index));
}

TEST_F(PushAheadTest, what_was_staged_and_changed_is_read_again) {
  ready(1, 9);
  AheadPusher pusher = this->pusher(3, PusherLife::resident);
  EXPECT_EQ(pusher.push(file(1)).value(), PushOutcome::stored);
  Bytes other = wal_.segment(5);
  other[other.size() - 9] ^= 1;
  write(5, other);
  EXPECT_EQ(pusher.push(file(5)).value(), PushOutcome::stored);
  EXPECT_EQ(content_of(5), other);
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(PushAheadTest, a_conflict_of_what_was_staged_is_told_by_its_own_call) {  // T46
  ready(1, 9);
  AheadPusher pusher = this->pusher(3, PusherLife::resident);
  store_other(6);
  EXPECT_EQ(pusher.push(file(1)).value(), PushOutcome::stored);
  EXPECT_EQ(pusher.push(file(5)).value(), PushOutcome::stored);
  EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(pusher.push(file(6)).error().kind, ErrorKind::conflict);
  // Another order than the expected one, too.
  EXPECT_EQ(pusher.push(file(8)).value(), PushOutcome::stored);
  EXPECT_EQ(pusher.push(file(7)).value(), PushOutcome::stored);
}

TEST_F(PushAheadTest, nothing_new_is_begun_after_a_stop) {
  ready(1, 9);
  stop_.request();
  ASSERT_TRUE(push(1)) << "the one asked for is finished all the same";
  EXPECT_THAT(stored(), ElementsAre(1));
}

TEST_F(PushAheadTest, other_files_do_not_look_ahead) {
  ready(1, 9);
  std::string label = cat(file(1).text, ".00000028.backup");
  ASSERT_TRUE(write_file_durable(pg_wal_ / label, as_bytes("START WAL LOCATION"), 0600));
  ASSERT_TRUE(pusher(4).push(*WalFileName::parse(label)));
  EXPECT_THAT(stored(), IsEmpty());
}

// A store that fails at any single point, and one that dies there: what has a name is whole and in order, and
// a later call stores the rest.
class PushAheadFaults : public PushAheadTest {
 protected:
  // The names in the order in which they were committed must ascend without a hole.
  void expect_in_order() const {
    auto found = stored();
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], i + 1);
  }
};

TEST_F(PushAheadFaults, at_every_point_nothing_is_published_out_of_order) {
  using Action = storage::FaultPlan::Action;
  for (Action action : {Action::fail, Action::fail_after, Action::crash_before, Action::crash_after}) {
    for (uint64_t point = 1;; ++point) {
      TempDir directory = TempDir::make("lifeboat-ahead-test").value();
      auto inner = storage::FileStore::open_root(directory / "repo", storage::StoreMode::create_missing);
      ASSERT_TRUE(inner);
      auto fault = std::make_unique<storage::FaultStore>(**inner);
      storage::FaultStore& faults = *fault;
      make_repository(std::move(fault));
      ready(1, 4);
      faults.set_plan({.action = action, .at = point});
      auto outcome = push(1, 2);
      uint64_t passed = faults.write_points();
      faults.set_plan({});
      expect_in_order();
      if (outcome) {
        EXPECT_FALSE(stored().empty());
      }
      for (uint64_t index = 1; index <= 4; ++index) EXPECT_TRUE(push(index, 2));
      EXPECT_THAT(stored(), ElementsAre(1, 2, 3, 4));
      if (passed < point) break;
      ASSERT_LT(point, 500u);
    }
  }
}

}  // namespace
}  // namespace lifeboat::ops
