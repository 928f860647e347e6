#include "ops/drill/loss.h"

#include <gtest/gtest.h>

#include "model/wal_name.h"
#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using testing::at;
using testing::kSegment;

// A data directory of a source whose server is gone, or not.
class Loss : public ::testing::Test {
 protected:
  Loss() {
    source_.path = directory_.path();
    source_.version = pg::find_version(testing::kMajor);
    source_.control.system_id = {pg::testing::WalBuilder::kSystemId};
    source_.control.wal_segment_size = kSegment;
    wal_.commit(700, at(1));
    recovered_ = wal_.end();
    wal_.commit(701, at(5));
    wal_.end_segment();
    source_.control.checkpoint_lsn = wal_.checkpoint(at(6));
    wal_.commit(702, at(9));
    const Bytes all = wal_.builder().padded();
    for (size_t i = 0; i < all.size() / kSegment; ++i)
      write(path_of(i), ByteView(all).subspan(i * kSegment, kSegment));
  }
  std::string path_of(uint64_t nth) {
    const Lsn lsn{(nth + 1) * kSegment};
    return directory_.path() + "/pg_wal/" +
           SegmentName::containing(Timeline{1}, lsn, SegmentSize{kSegment}).to_string();
  }
  void write(const std::string& path, ByteView bytes) {
    ASSERT_TRUE(create_dirs(parent_path(path)));
    ASSERT_TRUE(write_file_durable(path, bytes, 0600));
  }
  MeasuredLoss measure(std::optional<Lsn> flushed = std::nullopt) {
    std::optional<SourcePosition> until;
    if (flushed) until = SourcePosition{Timeline{1}, *flushed, at(10)};
    auto loss = measure_loss(source_, until, Timeline{1}, recovered_, at(1), stop_);
    if (loss) return *loss;
    ADD_FAILURE() << loss.error().to_string();
    return {};
  }

  TempDir directory_ = std::move(*TempDir::make());
  DataDirFacts source_;
  testing::Wal wal_;
  Lsn recovered_;
  StopToken stop_;
};

TEST_F(Loss, is_measured_to_the_last_commit_of_the_source) {
  for (const auto& flushed : {std::optional<Lsn>(), std::optional<Lsn>(wal_.end())}) {
    const MeasuredLoss loss = measure(flushed);
    EXPECT_EQ(loss.lost_commits, 2u);
    EXPECT_EQ(loss.seconds, 8.0) << loss.how;
  }
}

TEST_F(Loss, is_measured_where_the_source_flushed_the_beginning_of_a_record) {
  wal_.fill(20'000);
  const Lsn page{wal_.end().value / 8192 * 8192};
  Bytes all = wal_.builder().padded();
  std::fill(all.begin() + static_cast<ptrdiff_t>(wal_.builder().offset(page)), all.end(), 0);
  write(path_of(1), ByteView(all).subspan(kSegment, kSegment));
  EXPECT_EQ(measure(page).seconds, 8.0) << measure(page).how;
}

TEST_F(Loss, is_not_measured_where_wal_of_the_source_is_missing) {
  ASSERT_TRUE(remove_file(path_of(1)));
  for (const auto& flushed : {std::optional<Lsn>(), std::optional<Lsn>(wal_.end())}) {
    const MeasuredLoss loss = measure(flushed);
    EXPECT_FALSE(loss.seconds) << *loss.seconds;
    EXPECT_NE(loss.how.find("not measured"), std::string::npos) << loss.how;
  }
}

TEST_F(Loss, is_not_measured_where_a_segment_has_been_reused) {
  Bytes other(kSegment);
  write(path_of(1), other);
  EXPECT_FALSE(measure(wal_.end()).seconds);
  EXPECT_FALSE(measure().seconds);
}

TEST_F(Loss, is_not_measured_past_damage) {
  Bytes all = wal_.builder().padded();
  all[wal_.builder().offset(source_.control.checkpoint_lsn) + 30] ^= 1;
  write(path_of(1), ByteView(all).subspan(kSegment, kSegment));
  EXPECT_FALSE(measure(wal_.end()).seconds);
  EXPECT_FALSE(measure().seconds);
}

TEST_F(Loss, nothing_is_lost_of_a_source_that_was_recovered_whole) {
  recovered_ = wal_.end();
  for (const auto& flushed : {std::optional<Lsn>(), std::optional<Lsn>(wal_.end())}) {
    EXPECT_EQ(measure(flushed).seconds, 0.0);
    EXPECT_EQ(measure(flushed).lost_commits, 0u);
  }
}

}  // namespace
}  // namespace lifeboat::ops
