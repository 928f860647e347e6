#include "ops/wal/segments_ahead.h"

#include <gtest/gtest.h>

#include <atomic>

#include "util/strings.h"

namespace lifeboat::ops {
namespace {

const SegmentSize kSize{16 << 20};

std::vector<SegmentName> row_of(uint64_t count) {
  std::vector<SegmentName> row;
  for (uint64_t i = 1; i <= count; ++i) {
    row.push_back(SegmentName::containing(Timeline{1}, Lsn{i * kSize.bytes}, kSize));
  }
  return row;
}

TEST(SegmentsAhead, GivesAllInOrderAndNeverMoreThanMayLieInMemory) {
  const auto row = row_of(50);
  std::atomic<int> read{0};
  std::atomic<int> taken{0};
  std::atomic<int> most{0};
  SegmentsAhead ahead(row, kSize, 3, [&](const SegmentName& name, const SegmentsAhead::Sink& sink) -> Status {
    most = std::max(most.load(), ++read - taken.load());
    TRY(sink(as_bytes(name.to_string().substr(0, 10))));
    return sink(as_bytes(name.to_string().substr(10)));
  });
  for (const SegmentName& name : row) {
    auto content = ahead.next();
    ASSERT_TRUE(content) << content.error().to_string();
    EXPECT_EQ(as_text(**content), name.to_string());
    ++taken;
  }
  EXPECT_LE(most, 3 + 1);  // one is taken before we can say so
}

TEST(SegmentsAhead, AnErrorComesInItsPlace) {
  const auto row = row_of(5);
  SegmentsAhead ahead(row, kSize, 4, [&](const SegmentName& name, const SegmentsAhead::Sink& sink) -> Status {
    if (name == row[2]) return make_error(ErrorKind::damaged, name.to_string(), "broken");
    return sink(as_bytes(name.to_string()));
  });
  EXPECT_TRUE(ahead.next());
  EXPECT_TRUE(ahead.next());
  auto third = ahead.next();
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().kind, ErrorKind::damaged);
}

TEST(SegmentsAhead, EndsWhenNobodyAsksAnyMore) {
  std::atomic<int> read{0};
  {
    SegmentsAhead ahead(row_of(1000), kSize, 2,
                        [&](const SegmentName&, const SegmentsAhead::Sink& sink) -> Status {
                          ++read;
                          return sink(as_bytes("x"));
                        });
    EXPECT_TRUE(ahead.next());
  }
  EXPECT_LE(read, 4);
}

TEST(SegmentsAhead, LargeSegmentsAreStreamed) {
  EXPECT_EQ(SegmentsAhead::room_for(kSize), 4u);
  EXPECT_EQ(SegmentsAhead::room_for({32 << 20}), 2u);
  EXPECT_EQ(SegmentsAhead::room_for({1 << 30}), 0u);
}

}  // namespace
}  // namespace lifeboat::ops
