// Tests only: a repository with a registered lineage, and WAL that is made record by record.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ops/session.h"
#include "pg/format/timeline_history.h"
#include "repo/wal_store.h"
#include "storage/store.h"
#include "tests/support/wal_builder.h"
#include "util/strings.h"

namespace lifeboat::ops::testing {

inline constexpr uint32_t kSegment = 1 << 20;
inline constexpr int kMajor = 15;

inline Lineage test_lineage() {
  return {{pg::testing::WalBuilder::kSystemId}, kMajor};
}

// Second `s` of the test's day.
inline Timestamp at(double s) {
  return Timestamp::from_seconds(1'790'000'000).plus_us(static_cast<int64_t>(s * 1e6));
}

inline void append_u64(Bytes& out, uint64_t value) {
  ByteWriter(out).u64(value);
}

// WAL of one timeline that grows; a copy of it is what a promoted server continues.
class Wal {
 public:
  explicit Wal(Lsn start = {kSegment}) : builder_(kMajor, start, kSegment), first_(start.value / kSegment) {}

  // Records return where they begin.
  Lsn commit(uint32_t xid, Timestamp time) { return transaction(0x00, xid, time); }
  Lsn abort(uint32_t xid, Timestamp time) { return transaction(0x20, xid, time); }
  Lsn restore_point(std::string_view name, Timestamp time) {
    Bytes data;
    append_u64(data, static_cast<uint64_t>(time.to_postgres()));
    data.insert(data.end(), name.begin(), name.end());
    data.resize(8 + 64);
    return builder_.add({.rmgr = 0, .info = 0x70, .xid = 0, .body = pg::testing::main_data(data)});
  }
  Lsn checkpoint(Timestamp time) {
    Bytes data(88);
    store_le(data.data() + 64, time.unix_us / 1'000'000);
    return builder_.add({.rmgr = 0, .info = 0x10, .xid = 0, .body = pg::testing::main_data(data)});
  }
  Lsn fill(size_t size) { return builder_.add(pg::testing::filler(size)); }
  // Ends the segment; the next record begins the next one.
  void end_segment() { builder_.add_switch(); }
  Lsn end() const { return builder_.position(); }
  void promote(Timeline timeline) { builder_.set_timeline(timeline.value); }
  pg::testing::WalBuilder& builder() { return builder_; }

  // The segment with this index, whole.
  Bytes segment(uint64_t index) const {
    Bytes all = builder_.padded();
    uint64_t from = (index - first_) * kSegment;
    return {all.begin() + static_cast<ptrdiff_t>(from),
            all.begin() + static_cast<ptrdiff_t>(from + kSegment)};
  }
  uint64_t last_index() const { return (end().value - 1) / kSegment; }

 private:
  Lsn transaction(uint8_t info, uint32_t xid, Timestamp time) {
    Bytes data;
    append_u64(data, static_cast<uint64_t>(time.to_postgres()));
    return builder_.add({.rmgr = 1, .info = info, .xid = xid, .body = pg::testing::main_data(data)});
  }
  pg::testing::WalBuilder builder_;
  uint64_t first_;
};

inline SegmentName name_of(uint32_t timeline, uint64_t index) {
  return SegmentName::containing({timeline}, {index * kSegment}, {kSegment});
}

class WalFixture : public ::testing::Test {
 protected:
  void make_repository(const std::string& url, storage::StoreMode mode = storage::StoreMode::existing) {
    auto store = storage::open_store(url, mode);
    ASSERT_TRUE(store) << store.error().to_string();
    make_repository(std::move(*store));
  }
  void make_repository(std::unique_ptr<storage::Store> store) {
    auto repository = repo::Repository::create(std::move(store), {}, {});
    ASSERT_TRUE(repository) << repository.error().to_string();
    repository_ = std::make_unique<repo::Repository>(std::move(*repository));
    repo::LineageRecord record;
    record.lineage = test_lineage();
    record.segment_size = {kSegment};
    record.registered = at(0);
    ASSERT_TRUE(repo::register_lineage(repo::LineageRepo(*repository_, "main", record.lineage), record));
    lineage_.emplace(ChosenLineage{repo::LineageRepo(*repository_, "main", record.lineage), record, 0});
  }
  void SetUp() override { make_repository("memory:"); }

  const ChosenLineage& lineage() const { return *lineage_; }
  repo::WalStore wal_store() const { return repo::WalStore(lineage_->repo); }

  void store_file(const std::string& name, ByteView content) {
    auto stored = wal_store().push(*WalFileName::parse(name), repo::WalSource::from_bytes(content));
    ASSERT_TRUE(stored) << stored.error().to_string();
  }
  void store_segment(uint32_t timeline, uint64_t index, const Wal& wal) {
    store_file(name_of(timeline, index).to_string(), wal.segment(index));
  }
  void store_segments(uint32_t timeline, uint64_t first, uint64_t last, const Wal& wal) {
    for (uint64_t index = first; index <= last; ++index) store_segment(timeline, index, wal);
  }
  void store_history(const pg::TimelineHistory& history) {
    store_file(cat(history.target().to_hex(), ".history"), as_bytes(history.to_text()));
  }
  // A second content under the same name, as two servers that raced would leave it.
  void store_conflict(uint32_t timeline, uint64_t index, const Wal& wal) {
    Bytes other = wal.segment(index);
    other[other.size() - 1] ^= 1;
    auto file = *WalFileName::parse(name_of(timeline, index).to_string());
    auto stored = repo::WalStore(lineage_->repo, {.conflict_check = false})
                      .push(file, repo::WalSource::from_bytes(other));
    ASSERT_TRUE(stored) << stored.error().to_string();
  }

 private:
  std::unique_ptr<repo::Repository> repository_;
  std::optional<ChosenLineage> lineage_;
};

}  // namespace lifeboat::ops::testing
