#include "pg/wal/segment_summary.h"

#include <algorithm>
#include <array>

#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

constexpr uint8_t kVersion = 1;

// What is there at all.
constexpr uint8_t kHasRecords = 0x01;
constexpr uint8_t kHasLeading = 0x02;
constexpr uint8_t kLeadingLeftOut = 0x04;
constexpr uint8_t kHasOverwritten = 0x08;
constexpr uint8_t kHasTrailing = 0x10;
constexpr uint8_t kTrailingLeftOut = 0x20;
constexpr uint8_t kHasMinimal = 0x40;
constexpr uint8_t kAllParts = 0x7f;

// Of one relation.
constexpr uint8_t kHasRows = 0x01;
constexpr uint8_t kCreated = 0x02;
constexpr uint8_t kDropped = 0x04;
constexpr uint8_t kTruncated = 0x08;
constexpr uint8_t kHasMain = 0x10;
constexpr uint8_t kHasInit = 0x20;
constexpr uint8_t kAllOfRelation = 0x3f;

constexpr std::array<Fork, 2> kForks = {Fork::main, Fork::init};

// Of the end of a transaction.
constexpr uint8_t kCommitted = 0x01;

// A block reference takes at least so many bytes of WAL (XLogRecordBlockHeader and a block number).
constexpr uint64_t kSmallestReference = 8;

// --- block sets

Bytes encode_runs(const BlockSet& set) {
  Bytes items;
  ByteWriter out(items);
  uint64_t runs = 0;
  uint64_t expected = 0;
  set.each_run([&](uint32_t first, uint64_t count) {
    out.varint((first - expected) << 1 | (count > 1 ? 1 : 0));
    if (count > 1) out.varint(count - 2);
    expected = first + count + 1;  // two runs never touch
    ++runs;
  });
  Bytes encoded;
  ByteWriter head(encoded);
  head.varint(runs << 1);
  head.bytes(items);
  return encoded;
}

Bytes encode_bitmap(const BlockSet& set, uint32_t first, uint32_t last) {
  Bytes bits(last / 8 - first / 8 + 1);
  uint64_t base = first / 8 * uint64_t{8};
  set.each_run([&](uint32_t from, uint64_t count) {
    for (uint64_t bit = from - base; bit < from - base + count; ++bit) {
      bits[bit / 8] = static_cast<uint8_t>(bits[bit / 8] | 1u << bit % 8);
    }
  });
  Bytes encoded;
  ByteWriter out(encoded);
  out.varint(uint64_t{bits.size()} << 1 | 1);
  out.varint(first / 8);
  out.bytes(bits);
  return encoded;
}

void encode_blocks(ByteWriter& out, const BlockSet& set) {
  Bytes encoded = encode_runs(set);
  uint64_t first = 0;
  uint64_t last = 0;
  if (!set.empty()) {
    first = *set.next(0);
    set.each_run([&](uint32_t from, uint64_t count) { last = from + count - 1; });
  }
  if ((last - first) / 8 < encoded.size()) {
    Bytes bitmap = encode_bitmap(set, static_cast<uint32_t>(first), static_cast<uint32_t>(last));
    if (bitmap.size() < encoded.size()) encoded = std::move(bitmap);
  }
  out.bytes(encoded);
}

// `room` blocks may still come in this summary.
void decode_blocks(ByteReader& in, uint64_t& room, BlockSet& set) {
  uint64_t head = in.varint();
  auto take = [&](uint64_t first, uint64_t count) {
    if (first > UINT32_MAX || count > uint64_t{UINT32_MAX} - first + 1 || count > room) return in.fail();
    room -= count;
    set.add_run(static_cast<uint32_t>(first), count);
  };
  if ((head & 1) == 0) {
    uint64_t expected = 0;
    for (uint64_t left = head >> 1; left > 0 && in.ok(); --left) {
      uint64_t item = in.varint();
      uint64_t count = (item & 1) != 0 ? in.varint() : 0;
      if (count > UINT32_MAX) return in.fail();
      count = (item & 1) != 0 ? count + 2 : 1;
      uint64_t first = expected + (item >> 1);
      if (item >> 1 > UINT32_MAX || !in.ok()) return in.fail();
      take(first, count);
      expected = first + count + 1;
    }
    return;
  }
  uint64_t base = in.varint();
  ByteView bits = in.bytes(static_cast<size_t>(head >> 1));
  if (bits.empty() || base > UINT32_MAX / 8 || bits.size() > UINT32_MAX / 8 + 1 - base) return in.fail();
  for (size_t i = 0; i < bits.size() && in.ok(); ++i) {
    for (uint32_t bit = 0; bit < 8; ++bit) {
      if ((bits[i] >> bit & 1) != 0) take((base + i) * 8 + bit, 1);
    }
  }
}

// --- relations

struct RelationItem {
  RelationLocator relation;
  const RelationActivity* activity = nullptr;
  std::array<const ForkChanges*, kForks.size()> forks{};
};

// Everything that is said of a relation, brought together; ascending.
std::vector<RelationItem> relation_items(const SegmentSummary& summary) {
  std::vector<RelationItem> items;
  auto item = [&](const RelationLocator& relation) -> RelationItem& {
    if (items.empty() || items.back().relation != relation) items.push_back({relation});
    return items.back();
  };
  auto activity = summary.relations.begin();
  for (const auto& [fork, changes] : summary.changes.forks()) {
    for (; activity != summary.relations.end() && activity->relation <= fork.relation; ++activity) {
      item(activity->relation).activity = &*activity;
    }
    auto which = std::find(kForks.begin(), kForks.end(), fork.fork);
    CHECK(which != kForks.end());
    item(fork.relation).forks[static_cast<size_t>(which - kForks.begin())] = &changes;
  }
  for (; activity != summary.relations.end(); ++activity) item(activity->relation).activity = &*activity;
  return items;
}

void encode_rows(ByteWriter& out, const RowCounts& rows) {
  out.varint(rows.inserted);
  out.varint(rows.updated);
  out.varint(rows.deleted);
}

RowCounts decode_rows(ByteReader& in) {
  RowCounts rows;
  rows.inserted = in.varint();
  rows.updated = in.varint();
  rows.deleted = in.varint();
  return rows;
}

void encode_relation(ByteWriter& out, const RelationItem& item) {
  uint8_t flags = 0;
  if (item.activity != nullptr) {
    if (item.activity->rows.total() != 0) flags |= kHasRows;
    if (item.activity->created) flags |= kCreated;
    if (item.activity->dropped) flags |= kDropped;
    if (item.activity->truncated) flags |= kTruncated;
  }
  if (item.forks[0] != nullptr) flags |= kHasMain;
  if (item.forks[1] != nullptr) flags |= kHasInit;
  out.u8(flags);
  if ((flags & kHasRows) != 0) encode_rows(out, item.activity->rows);
  for (const ForkChanges* changes : item.forks) {
    if (changes == nullptr) continue;
    out.varint(changes->limit ? uint64_t{*changes->limit} + 1 : 0);
    encode_blocks(out, changes->blocks);
  }
}

void encode_relations(ByteWriter& out, const std::vector<RelationItem>& items) {
  auto same_directory = [](const RelationItem& a, const RelationItem& b) {
    return a.relation.tablespace == b.relation.tablespace && a.relation.database == b.relation.database;
  };
  uint64_t directories = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i == 0 || !same_directory(items[i - 1], items[i])) ++directories;
  }
  out.varint(directories);
  for (auto first = items.begin(); first != items.end();) {
    auto end =
        std::find_if(first, items.end(), [&](const RelationItem& i) { return !same_directory(*first, i); });
    out.varint(first->relation.tablespace);
    out.varint(first->relation.database);
    out.varint(static_cast<uint64_t>(end - first));
    uint64_t before = 0;
    for (; first != end; ++first) {
      out.varint(first->relation.number - before);
      before = first->relation.number;
      encode_relation(out, *first);
    }
  }
}

uint32_t decode_u32(ByteReader& in) {
  uint64_t value = in.varint();
  if (value > UINT32_MAX) in.fail();
  return in.ok() ? static_cast<uint32_t>(value) : 0;
}

void decode_relation(ByteReader& in, const RelationLocator& relation, uint64_t& room,
                     SegmentSummary& summary) {
  uint8_t flags = in.u8();
  if (flags == 0 || (flags & ~kAllOfRelation) != 0) return in.fail();
  constexpr uint8_t kActivity = kHasRows | kCreated | kDropped | kTruncated;
  if ((flags & kActivity) != 0) {
    RelationActivity activity;
    activity.relation = relation;
    if ((flags & kHasRows) != 0) {
      activity.rows = decode_rows(in);
      if (activity.rows.total() == 0) return in.fail();
    }
    activity.created = (flags & kCreated) != 0;
    activity.dropped = (flags & kDropped) != 0;
    activity.truncated = (flags & kTruncated) != 0;
    summary.relations.push_back(activity);
  }
  for (size_t i = 0; i < kForks.size(); ++i) {
    if ((flags & (i == 0 ? kHasMain : kHasInit)) == 0) continue;
    uint64_t limit = in.varint();
    if (limit > uint64_t{UINT32_MAX} + 1) return in.fail();
    ForkChanges changes;
    if (limit > 0) changes.limit = static_cast<uint32_t>(limit - 1);
    decode_blocks(in, room, changes.blocks);
    if (!in.ok()) return;
    summary.changes.put({relation, kForks[i]}, std::move(changes));
  }
}

void decode_relations(ByteReader& in, SegmentSummary& summary, std::vector<RelationLocator>& index) {
  uint64_t room = summary.segment_size.bytes / kSmallestReference;
  DatabaseDirectory before;
  uint64_t directories = in.varint();
  for (uint64_t i = 0; i < directories && in.ok(); ++i) {
    DatabaseDirectory directory{decode_u32(in), decode_u32(in)};
    if (i > 0 && directory <= before) return in.fail();
    before = directory;
    uint64_t count = in.varint();
    if (count == 0) return in.fail();
    uint64_t number = 0;
    for (uint64_t k = 0; k < count && in.ok(); ++k) {
      uint64_t step = in.varint();
      if (step > UINT32_MAX || (k > 0 && step == 0)) return in.fail();
      number += step;
      if (number > UINT32_MAX) return in.fail();
      RelationLocator relation{directory.tablespace, directory.database, static_cast<uint32_t>(number)};
      index.push_back(relation);
      decode_relation(in, relation, room, summary);
    }
  }
}

// --- the rest

void encode_fragment(ByteWriter& out, const RecordFragment& fragment) {
  out.varint(fragment.length);
  if (!fragment.left_out) out.bytes(fragment.bytes);
}

void decode_fragment(ByteReader& in, bool left_out, uint64_t limit, RecordFragment& fragment) {
  fragment.length = in.varint();
  if (fragment.length > limit) return in.fail();
  fragment.left_out = left_out;
  if (left_out) return;
  ByteView bytes = in.bytes(static_cast<size_t>(fragment.length));
  fragment.bytes.assign(bytes.begin(), bytes.end());
}

uint64_t place_of(const std::vector<RelationItem>& items, const RelationLocator& relation) {
  auto at = std::ranges::lower_bound(items, relation, {}, &RelationItem::relation);
  CHECK(at != items.end() && at->relation == relation);
  return static_cast<uint64_t>(at - items.begin());
}

void encode_transactions(ByteWriter& out, const std::vector<RelationItem>& items,
                         const std::vector<TransactionActivity>& transactions) {
  out.varint(transactions.size());
  uint32_t xid = 0;
  for (const TransactionActivity& transaction : transactions) {
    out.varint(transaction.xid - xid);
    xid = transaction.xid;
    out.varint(place_of(items, transaction.relation));
    encode_rows(out, transaction.rows);
  }
}

void encode_ends(ByteWriter& out, const std::vector<RelationItem>& items, uint64_t start,
                 const std::vector<NotedEnd>& ends) {
  out.varint(ends.size());
  uint64_t at = start;
  for (const NotedEnd& end : ends) {
    out.u8(end.committed ? kCommitted : 0);
    out.varint(end.lsn.value - at);
    at = end.lsn.value;
    out.varint(end.xid);
    out.u64(static_cast<uint64_t>(end.time.unix_us));
    out.varint(end.database);
    out.varint(end.subxids.size());
    for (uint32_t xid : end.subxids) out.varint(xid);
    out.varint(end.dropped.size());
    for (const RelationLocator& relation : end.dropped) out.varint(place_of(items, relation));
  }
}

void encode_event(ByteWriter& out, const SummaryEvent& event) {
  switch (event.kind) {
    case SummaryEventKind::restore_point:
      out.u64(static_cast<uint64_t>(event.time.unix_us));
      out.text(event.name);
      break;
    case SummaryEventKind::end_of_recovery:
      out.u64(static_cast<uint64_t>(event.time.unix_us));
      break;
    case SummaryEventKind::database_create:
    case SummaryEventKind::database_drop:
      out.varint(event.database);
      out.varint(event.tablespace);
      break;
    case SummaryEventKind::parameter_change:
    case SummaryEventKind::backup_end:
      break;
  }
}

void decode_event(ByteReader& in, SummaryEvent& event) {
  switch (event.kind) {
    case SummaryEventKind::restore_point:
      event.time = {static_cast<int64_t>(in.u64())};
      event.name = std::string(in.text());
      return;
    case SummaryEventKind::end_of_recovery:
      event.time = {static_cast<int64_t>(in.u64())};
      return;
    case SummaryEventKind::database_create:
    case SummaryEventKind::database_drop:
      event.database = decode_u32(in);
      event.tablespace = decode_u32(in);
      return;
    case SummaryEventKind::parameter_change:
    case SummaryEventKind::backup_end:
      return;
  }
  in.fail();
}

// A position in the segment, as a distance from `from`.
Lsn decode_position(ByteReader& in, const SegmentSummary& summary, Lsn from) {
  uint64_t distance = in.varint();
  if (distance >= summary.end().value - from.value) in.fail();
  return in.ok() ? from + distance : Lsn{};
}

void decode_segment(ByteReader& in, SegmentSummary& summary) {
  Timeline timeline{decode_u32(in)};
  uint64_t size = in.varint();
  uint64_t index = in.varint();
  if (!SegmentSize::valid(size) || timeline.value == 0) return in.fail();
  summary.segment_size = {static_cast<uint32_t>(size)};
  // Room for the segment's end, which is a position too.
  if (index >= UINT64_MAX / size) return in.fail();
  summary.segment = SegmentName::containing(timeline, {index * size}, summary.segment_size);
  summary.first_timeline = {decode_u32(in)};
}

void decode_chain(ByteReader& in, uint8_t parts, SegmentSummary& summary) {
  if ((parts & kHasRecords) != 0) {
    summary.first = decode_position(in, summary, summary.start());
    summary.first_prev = {in.varint()};
    if (in.ok()) summary.last = decode_position(in, summary, summary.first);
    summary.records = in.varint();
    if (summary.records == 0) in.fail();
  }
  if ((parts & kHasLeading) != 0) {
    summary.continued = in.varint();
    decode_fragment(in, (parts & kLeadingLeftOut) != 0, summary.continued, summary.leading);
    if (summary.continued == 0) in.fail();
  }
  if ((parts & kHasOverwritten) != 0) summary.overwritten = {in.varint()};
  if ((parts & kHasTrailing) != 0) {
    summary.trailing_lsn = decode_position(in, summary, summary.start());
    summary.trailing_timeline = {decode_u32(in)};
    summary.trailing_record_length = decode_u32(in);
    decode_fragment(in, (parts & kTrailingLeftOut) != 0, summary.trailing_record_length, summary.trailing);
  }
  if ((parts & kHasMinimal) != 0 && in.ok()) {
    summary.minimal_first = decode_position(in, summary, summary.start());
    if (in.ok()) summary.minimal_last = decode_position(in, summary, summary.minimal_first);
  }
}

void decode_transactions(ByteReader& in, const std::vector<RelationLocator>& index, SegmentSummary& summary) {
  uint64_t count = in.varint();
  uint64_t xid = 0;
  uint64_t before = 0;
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    uint64_t step = in.varint();
    uint64_t relation = in.varint();
    xid += std::min<uint64_t>(step, uint64_t{UINT32_MAX} + 1);
    bool ascends = i == 0 || step > 0 || relation > before;
    if (xid > UINT32_MAX || relation >= index.size() || !ascends) return in.fail();
    before = relation;
    summary.transactions.push_back({static_cast<uint32_t>(xid), index[relation], decode_rows(in)});
  }
}

void decode_ends(ByteReader& in, const std::vector<RelationLocator>& index, SegmentSummary& summary) {
  uint64_t count = in.varint();
  Lsn at = summary.start();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    NotedEnd end;
    uint8_t flags = in.u8();
    if ((flags & ~kCommitted) != 0) return in.fail();
    end.committed = flags == kCommitted;
    at = decode_position(in, summary, at);
    end.lsn = at;
    end.xid = decode_u32(in);
    end.time = {static_cast<int64_t>(in.u64())};
    end.database = decode_u32(in);
    for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) end.subxids.push_back(decode_u32(in));
    for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
      uint64_t relation = in.varint();
      if (relation >= index.size()) return in.fail();
      end.dropped.push_back(index[relation]);
    }
    summary.ends.push_back(std::move(end));
  }
}

void decode_events(ByteReader& in, SegmentSummary& summary) {
  uint64_t count = in.varint();
  Lsn at = summary.start();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    SummaryEvent event;
    event.kind = static_cast<SummaryEventKind>(in.u8());
    at = decode_position(in, summary, at);
    event.lsn = at;
    decode_event(in, event);
    summary.events.push_back(std::move(event));
  }
}

}  // namespace

Bytes encode_summary(const SegmentSummary& summary) {
  Bytes encoded;
  ByteWriter out(encoded);
  uint64_t start = summary.start().value;
  out.u8(kVersion);
  out.varint(summary.segment.timeline.value);
  out.varint(summary.segment_size.bytes);
  out.varint(summary.segment.index(summary.segment_size));
  out.varint(summary.first_timeline.value);

  uint8_t parts = 0;
  if (summary.first.valid()) parts |= kHasRecords;
  if (summary.continued != 0) parts |= kHasLeading;
  if (summary.leading.left_out) parts |= kLeadingLeftOut;
  if (summary.overwritten.valid()) parts |= kHasOverwritten;
  if (summary.trailing_lsn.valid()) parts |= kHasTrailing;
  if (summary.trailing.left_out) parts |= kTrailingLeftOut;
  if (summary.minimal_first.valid()) parts |= kHasMinimal;
  out.u8(parts);
  if ((parts & kHasRecords) != 0) {
    out.varint(summary.first.value - start);
    out.varint(summary.first_prev.value);
    out.varint(summary.last.value - summary.first.value);
    out.varint(summary.records);
  }
  if ((parts & kHasLeading) != 0) {
    out.varint(summary.continued);
    encode_fragment(out, summary.leading);
  }
  if ((parts & kHasOverwritten) != 0) out.varint(summary.overwritten.value);
  if ((parts & kHasTrailing) != 0) {
    out.varint(summary.trailing_lsn.value - start);
    out.varint(summary.trailing_timeline.value);
    out.varint(summary.trailing_record_length);
    encode_fragment(out, summary.trailing);
  }
  if ((parts & kHasMinimal) != 0) {
    out.varint(summary.minimal_first.value - start);
    out.varint(summary.minimal_last.value - summary.minimal_first.value);
  }

  out.varint(summary.commits);
  out.varint(summary.aborts);
  out.u64(static_cast<uint64_t>(summary.first_commit.unix_us));
  out.u64(static_cast<uint64_t>(summary.last_commit.unix_us));
  out.varint(summary.lowest_xid);
  out.varint(summary.highest_xid);

  out.varint(summary.changes.directories().size());
  for (const DatabaseDirectory& directory : summary.changes.directories()) {
    out.varint(directory.tablespace);
    out.varint(directory.database);
  }
  std::vector<RelationItem> items = relation_items(summary);
  encode_relations(out, items);

  encode_transactions(out, items, summary.transactions);
  encode_ends(out, items, start, summary.ends);

  out.varint(summary.events.size());
  uint64_t at = start;
  for (const SummaryEvent& event : summary.events) {
    out.u8(static_cast<uint8_t>(event.kind));
    out.varint(event.lsn.value - at);
    at = event.lsn.value;
    encode_event(out, event);
  }
  return encoded;
}

Result<SegmentSummary> decode_summary(ByteView bytes) {
  auto damaged = [](std::string_view what) {
    return make_error(ErrorKind::damaged, "", cat("change summary: ", what));
  };
  ByteReader in(bytes);
  uint8_t version = in.u8();
  if (in.ok() && version > kVersion) {
    return make_error(ErrorKind::unsupported, "", cat("change summary has version ", version))
        .with_hint("use the lifeboat release that wrote it, or a later one");
  }
  if (version == 0) return damaged("it is empty or has version 0");
  SegmentSummary summary;
  decode_segment(in, summary);
  if (!in.ok()) return damaged("it names no segment");
  uint8_t parts = in.u8();
  bool possible = (parts & ~kAllParts) == 0 &&
                  ((parts & kLeadingLeftOut) == 0 || (parts & kHasLeading) != 0) &&
                  ((parts & kTrailingLeftOut) == 0 || (parts & kHasTrailing) != 0);
  if (!in.ok() || !possible) return damaged("its flags are impossible");
  decode_chain(in, parts, summary);
  if (!in.ok()) return damaged("its positions are impossible");

  summary.commits = in.varint();
  summary.aborts = in.varint();
  summary.first_commit = {static_cast<int64_t>(in.u64())};
  summary.last_commit = {static_cast<int64_t>(in.u64())};
  summary.lowest_xid = decode_u32(in);
  summary.highest_xid = decode_u32(in);
  uint64_t directories = in.varint();
  for (uint64_t i = 0; i < directories && in.ok(); ++i) {
    DatabaseDirectory directory{decode_u32(in), decode_u32(in)};
    if (i > 0 && directory <= summary.changes.directories().back()) in.fail();
    summary.changes.rewritten(directory);
  }
  std::vector<RelationLocator> index;
  decode_relations(in, summary, index);
  if (!in.ok()) return damaged("its relations are impossible");
  decode_transactions(in, index, summary);
  decode_ends(in, index, summary);
  decode_events(in, summary);
  if (!in.ok() || !in.at_end()) return damaged("its end is impossible");
  return summary;
}

}  // namespace lifeboat::pg
