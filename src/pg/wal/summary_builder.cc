// Most records speak of a relation and a transaction that were spoken of just before, and WAL comes at
// several GB/s, so the tables here are flat: an index of hashes over vectors, and bitmaps for the blocks of a
// chunk once a few came. What the value needs (sorted sets) is made at the end.
#include "pg/wal/summary_builder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "pg/wal/heap_changes.h"
#include "pg/wal/wal_events.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

// The first so many rows of a transaction, unless they come at once, are not counted for it.
constexpr uint32_t kSmallTransactionRows = 16;

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t h = (a ^ std::rotl(b, 32)) * 0x9e3779b97f4a7c15;
  return h ^ h >> 29;
}

// Entries by their key; open addressing over indexes. Entries stay in order of arrival and move when the
// table grows.
template <typename Entry>
class Table {
 public:
  Entry& at(const typename Entry::Key& key) {
    if (!entries_.empty() && entries_[last_].key == key) return entries_[last_];
    if ((entries_.size() + 1) * 2 > slots_.size()) grow();
    size_t slot = find(key);
    if (slots_[slot] == kFree) {
      slots_[slot] = static_cast<uint32_t>(entries_.size());
      entries_.emplace_back().key = key;
    }
    last_ = slots_[slot];
    return entries_[last_];
  }
  // nullptr: nothing was ever said of it.
  Entry* look_up(const typename Entry::Key& key) {
    if (slots_.empty()) return nullptr;
    uint32_t index = slots_[find(key)];
    return index == kFree ? nullptr : &entries_[index];
  }
  std::vector<Entry>& entries() { return entries_; }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;

  size_t find(const typename Entry::Key& key) const {
    size_t mask = slots_.size() - 1;
    size_t slot = Entry::hash(key) & mask;
    while (slots_[slot] != kFree && !(entries_[slots_[slot]].key == key)) slot = (slot + 1) & mask;
    return slot;
  }
  void grow() {
    slots_.assign(std::max<size_t>(64, slots_.size() * 4), kFree);
    for (size_t i = 0; i < entries_.size(); ++i) slots_[find(entries_[i].key)] = static_cast<uint32_t>(i);
  }

  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;
  size_t last_ = 0;
};

// The blocks of one fork, in any order.
class BlockCollector {
 public:
  void add(uint32_t block) {
    if (any_ && block == last_block_) return;
    any_ = true;
    last_block_ = block;
    auto key = static_cast<uint16_t>(block >> 16);
    if (chunks_.empty() || chunks_[last_].key != key) last_ = position(key);
    Chunk& chunk = chunks_[last_];
    auto low = static_cast<uint16_t>(block);
    if (!chunk.bits.empty()) {
      chunk.bits[low / 64] |= uint64_t{1} << (low % 64);
    } else if (chunk.few.size() < kFew) {
      chunk.few.push_back(low);
    } else {
      chunk.bits.assign(65536 / 64, 0);
      for (uint16_t one : chunk.few) chunk.bits[one / 64] |= uint64_t{1} << (one % 64);
      chunk.few.clear();
      chunk.bits[low / 64] |= uint64_t{1} << (low % 64);
    }
  }
  bool empty() const { return !any_; }

  BlockSet take() {
    BlockSet set;
    for (Chunk& chunk : chunks_) {
      uint32_t base = uint32_t{chunk.key} << 16;
      std::ranges::sort(chunk.few);
      for (uint16_t low : chunk.few) set.add(base | low);
      for (uint32_t i = 0; i < chunk.bits.size(); ++i) {
        for (uint64_t word = chunk.bits[i]; word != 0; word &= word - 1) {
          set.add(base | (i * 64 + static_cast<uint32_t>(std::countr_zero(word))));
        }
      }
    }
    chunks_.clear();
    return set;
  }

 private:
  static constexpr size_t kFew = 128;
  struct Chunk {
    uint16_t key = 0;
    std::vector<uint16_t> few;   // in order of arrival, with repetitions
    std::vector<uint64_t> bits;  // instead, once there are more
  };
  size_t position(uint16_t key) {
    auto at = std::ranges::lower_bound(chunks_, key, {}, &Chunk::key);
    if (at == chunks_.end() || at->key != key) at = chunks_.insert(at, {.key = key, .few = {}, .bits = {}});
    return static_cast<size_t>(at - chunks_.begin());
  }

  std::vector<Chunk> chunks_;  // ascending by key
  size_t last_ = 0;
  bool any_ = false;
  uint32_t last_block_ = 0;
};

struct RelationEntry {
  using Key = RelationLocator;
  Key key;
  RowCounts rows;
  bool created = false;
  bool dropped = false;
  bool truncated = false;
  struct ForkEntry {
    BlockCollector blocks;
    std::optional<uint32_t> limit;
  };
  std::array<ForkEntry, 2> forks;  // main, init

  static uint64_t hash(const Key& key) {
    return mix(uint64_t{key.number} << 32 | key.database, key.tablespace);
  }
  // nullptr: a fork that the map says nothing of (T15).
  ForkEntry* fork(Fork which) {
    if (which == Fork::main) return forks.data();
    return which == Fork::init ? &forks[1] : nullptr;
  }
  void cut(Fork which, uint32_t blocks) {
    ForkEntry* entry = fork(which);
    if (entry != nullptr) entry->limit = std::min(entry->limit.value_or(blocks), blocks);
  }
};

struct TransactionEntry {
  struct Key {
    uint32_t xid = 0;
    RelationLocator relation;
    bool operator==(const Key&) const = default;
  };
  Key key;
  RowCounts rows;
  static uint64_t hash(const Key& key) {
    return mix(uint64_t{key.xid} << 32 | key.relation.number,
               uint64_t{key.relation.database} << 32 | key.relation.tablespace);
  }
};

// A transaction or subtransaction that wrote something in this segment before its end.
struct XidEntry {
  using Key = uint32_t;
  Key key = 0;
  bool large = false;
  bool ended = false;
  static uint64_t hash(Key key) { return mix(key, 0); }
};

void add(RowCounts& to, const RowCounts& rows) {
  to.inserted += rows.inserted;
  to.updated += rows.updated;
  to.deleted += rows.deleted;
}

// Takes records in and ends as a summary.
class Accumulator {
 public:
  explicit Accumulator(const VersionTraits& version) : version_(version) {}

  // The first record that contradicts itself although its CRC is right; empty: none.
  const std::string& damage() const { return damage_; }

  void record(const WalRecord& record) {
    if (!summary_.first.valid()) {
      summary_.first = record.lsn;
      summary_.first_prev = record.prev;
    }
    summary_.last = record.lsn;
    ++summary_.records;
    bool ends = record.rmgr == Rmgr::xact;
    if (record.xid != 0 && !ends) xids_.at(record.xid);
    for (const WalBlock& block : record.blocks) {
      if (block.fork == Fork::fsm || block.fork == Fork::vm) continue;
      relations_.at(block.relation).fork(block.fork)->blocks.add(block.block);
    }
    if ((record.rmgr == Rmgr::heap || record.rmgr == Rmgr::heap2) && !record.blocks.empty()) {
      count_rows(record);
    } else if (record.rmgr <= Rmgr::tblspc) {
      event(record);
    }
  }

  // Everything but the segment, its fragments and the first timeline.
  SegmentSummary take() {
    auto& relations = relations_.entries();
    std::ranges::sort(relations, {}, &RelationEntry::key);
    for (RelationEntry& entry : relations) {
      if (entry.rows.total() != 0 || entry.created || entry.dropped || entry.truncated) {
        summary_.relations.push_back({entry.key, entry.rows, entry.created, entry.dropped, entry.truncated});
      }
      for (Fork fork : {Fork::main, Fork::init}) {
        RelationEntry::ForkEntry& found = *entry.fork(fork);
        if (found.blocks.empty() && !found.limit) continue;
        summary_.changes.put({entry.key, fork}, {found.blocks.take(), found.limit});
      }
    }
    for (const TransactionEntry& entry : transactions_.entries()) {
      if (entry.rows.total() < kLargeTransactionRows && xids_.at(entry.key.xid).ended) continue;
      summary_.transactions.push_back({entry.key.xid, entry.key.relation, entry.rows});
    }
    std::ranges::sort(summary_.transactions, {},
                      [](const TransactionActivity& t) { return std::pair(t.xid, t.relation); });
    return std::move(summary_);
  }

 private:
  void count_rows(const WalRecord& record) {
    RowCounts rows = rows_changed(record);
    if (rows.total() == 0) return;
    const RelationLocator& relation = record.blocks.front().relation;
    add(relations_.at(relation).rows, rows);
    // Most transactions are small and are gone again after a few records.
    uint32_t& seen = rows_seen_[record.xid % rows_seen_.size()];
    if (seen < kSmallTransactionRows && rows.total() < kSmallTransactionRows) {
      seen += static_cast<uint32_t>(rows.total());
      return;
    }
    RowCounts& all = transactions_.at({record.xid, relation}).rows;
    add(all, rows);
    if (all.total() >= kLargeTransactionRows) xids_.at(record.xid).large = true;
  }

  template <typename T>
  bool read(const Result<T>& result) {
    if (!result && damage_.empty()) damage_ = result.error().to_string();
    return result.has_value();
  }

  void event(const WalRecord& record) {
    if (stated_wal_level(record, version_) == WalLevel::minimal) {
      if (!summary_.minimal_first.valid()) summary_.minimal_first = record.lsn;
      summary_.minimal_last = record.lsn;
    }
    switch (event_of(record, version_)) {
      case WalEvent::commit:
      case WalEvent::abort:
        return transaction_end(record);
      case WalEvent::relation_create: {
        auto create = read_relation_create(record);
        if (!read(create)) return;
        RelationEntry& entry = relations_.at(create->relation);
        entry.cut(create->fork, 0);
        if (create->fork == Fork::main) entry.created = true;
        return;
      }
      case WalEvent::relation_truncate: {
        auto truncate = read_relation_truncate(record);
        if (!read(truncate) || !truncate->heap) return;
        RelationEntry& entry = relations_.at(truncate->relation);
        entry.cut(Fork::main, truncate->blocks);
        entry.truncated = true;
        return;
      }
      case WalEvent::database_create: {
        auto create = read_database_create(record, version_);
        if (!read(create)) return;
        directory(record.lsn, SummaryEventKind::database_create, create->tablespace, create->database);
        return;
      }
      case WalEvent::database_drop: {
        auto drop = read_database_drop(record);
        if (!read(drop)) return;
        for (Oid tablespace : drop->tablespaces) {
          directory(record.lsn, SummaryEventKind::database_drop, tablespace, drop->database);
        }
        return;
      }
      case WalEvent::restore_point: {
        auto point = read_restore_point(record);
        if (!read(point)) return;
        note({.kind = SummaryEventKind::restore_point,
              .lsn = record.lsn,
              .time = point->time,
              .name = std::string(point->name)});
        return;
      }
      case WalEvent::end_of_recovery: {
        auto end = read_end_of_recovery(record, version_);
        if (!read(end)) return;
        note({.kind = SummaryEventKind::end_of_recovery, .lsn = record.lsn, .time = end->time});
        return;
      }
      case WalEvent::parameter_change:
        return note({.kind = SummaryEventKind::parameter_change, .lsn = record.lsn});
      case WalEvent::backup_end:
        return note({.kind = SummaryEventKind::backup_end, .lsn = record.lsn});
      case WalEvent::overwrite_contrecord: {
        auto overwrite = read_overwrite_contrecord(record);
        // Of one that began in this segment, the reader has taken care.
        if (read(overwrite) && summary_.records == 1) summary_.overwritten = overwrite->overwritten;
        return;
      }
      default:
        return;
    }
  }

  void transaction_end(const WalRecord& record) {
    auto end = read_transaction_end(record, version_);
    if (!read(end)) return;
    if (end->committed) {
      if (summary_.commits == 0 || end->time < summary_.first_commit) summary_.first_commit = end->time;
      if (summary_.commits == 0 || end->time > summary_.last_commit) summary_.last_commit = end->time;
      ++summary_.commits;
    } else {
      ++summary_.aborts;
    }
    // An abort drops what its transaction made.
    for (const RelationLocator& relation : end->dropped) {
      RelationEntry& entry = relations_.at(relation);
      entry.cut(Fork::main, 0);
      entry.cut(Fork::init, 0);
      if (end->committed) entry.dropped = true;
    }
    note_end(record.lsn, *end);
  }

  void note_end(Lsn lsn, const TransactionEnd& end) {
    bool seen = false;
    bool large = false;
    auto look = [&](uint32_t xid) {
      if (summary_.lowest_xid == 0 || xid < summary_.lowest_xid) summary_.lowest_xid = xid;
      summary_.highest_xid = std::max(summary_.highest_xid, xid);
      XidEntry* entry = xids_.look_up(xid);
      if (entry == nullptr) return;
      entry->ended = true;
      seen = true;
      large = large || entry->large;
    };
    look(end.xid);
    for (uint32_t xid : end.subxids) look(xid);
    bool drops = end.committed && !end.dropped.empty();
    if (seen && !large && !drops) return;
    NotedEnd noted{end.xid, end.committed, lsn, end.time, end.database, end.subxids, {}};
    if (end.committed) noted.dropped = end.dropped;
    summary_.ends.push_back(std::move(noted));
  }

  void directory(Lsn lsn, SummaryEventKind kind, Oid tablespace, Oid database) {
    summary_.changes.rewritten({tablespace, database});
    note({.kind = kind, .lsn = lsn, .database = database, .tablespace = tablespace});
  }

  void note(SummaryEvent event) { summary_.events.push_back(std::move(event)); }

  const VersionTraits& version_;
  SegmentSummary summary_;
  Table<RelationEntry> relations_;
  Table<TransactionEntry> transactions_;  // without the first rows of each
  Table<XidEntry> xids_;
  std::vector<uint32_t> rows_seen_ = std::vector<uint32_t>(16384);  // by xid, those that far apart together
  std::string damage_;
};

WalReaderOptions reader_options(const SummaryOptions& options) {
  CHECK(options.version != nullptr);
  WalReaderOptions result;
  result.version = options.version;
  result.segment_size = options.segment_size;
  result.page_size = options.page_size;
  result.system_id = options.system_id;
  result.timeline = options.segment.timeline;
  result.after_damage = AfterDamage::stop;
  return result;
}

// No record begins inside a page's header.
Lsn without_page_header(Lsn lsn, SegmentSize segment_size, uint32_t block_size) {
  uint64_t in_segment = lsn.value % segment_size.bytes;
  uint64_t in_page = lsn.value % block_size;
  if (in_segment <= kSegmentHeaderSize) return {lsn.value - in_segment};
  return in_page <= kWalPageHeaderSize ? Lsn{lsn.value - in_page} : lsn;
}

}  // namespace

class SummaryBuilder::Impl : public WalSink {
 public:
  explicit Impl(const SummaryOptions& options) : options_(options), accumulator_(*options.version) {}

  void feed(ByteView bytes) {
    fed_ += bytes.size();
    if (done()) return;
    if (!reader_) {
      head_.insert(head_.end(), bytes.begin(), bytes.end());
      if (head_.size() < kSegmentHeaderSize) return;
      if (auto opened = open(); !opened) {
        error_ = std::move(opened).error();
        return;
      }
      Bytes head = std::move(head_);
      return take(head);
    }
    take(bytes);
  }

  bool done() const { return reached_ || error_.has_value(); }

  Result<SegmentSummary> finish() {
    if (!error_ && !reader_) error_ = damaged(cat("has ", fed_, " bytes"));
    if (!error_ && !reached_ && fed_ != options_.segment_size.bytes) {
      error_ = damaged(cat("has ", fed_, " bytes, expected ", options_.segment_size.bytes));
    }
    if (!error_ && !accumulator_.damage().empty()) error_ = damaged(accumulator_.damage());
    if (error_) return std::move(*error_);
    auto unfinished = reached_ ? std::nullopt : reader_->unfinished();
    SegmentSummary summary = accumulator_.take();
    summary.segment = options_.segment;
    summary.segment_size = options_.segment_size;
    summary.first_timeline = first_timeline_;
    summary.continued = continued_;
    summary.leading = std::move(leading_);
    if (summary.overwritten >= summary.start()) summary.overwritten = {};
    if (unfinished && !(options_.until.valid() && unfinished->lsn >= until_)) {
      summary.trailing_lsn = unfinished->lsn;
      summary.trailing_timeline = unfinished->timeline;
      summary.trailing_record_length = unfinished->length;
      append(summary.trailing, unfinished->bytes);
    }
    return summary;
  }

  void record(const WalRecord& record) override {
    if (done()) return;
    if (options_.until.valid() && record.lsn >= until_) {
      reached_ = true;
      return;
    }
    accumulator_.record(record);
    if (options_.until.valid() && record.end >= until_) reached_ = true;
  }

  void damage(const WalDamage& damage) override {
    if (done()) return;
    if (reached_boundary()) {
      reached_ = true;
      return;
    }
    ErrorKind kind = damage.kind == WalDamageKind::foreign ? ErrorKind::foreign : ErrorKind::damaged;
    error_ = make_error(kind, options_.segment.to_string(),
                        cat(to_string(damage.kind), " at ", damage.lsn.to_string(), ": ", damage.text));
  }

  void continuation(ByteView bytes) override { append(leading_, bytes); }

 private:
  Error damaged(std::string text) const {
    return make_error(ErrorKind::damaged, options_.segment.to_string(), std::move(text));
  }

  Status open() {
    auto header = read_segment_header(head_);
    if (!header) {
      return make_error(header.error().kind, options_.segment.to_string(), header.error().message);
    }
    if (header->major != options_.version->major) {
      return make_error(ErrorKind::foreign, options_.segment.to_string(),
                        cat("written by PostgreSQL ", header->major, ", expected ", options_.version->major));
    }
    WalReaderOptions options = reader_options(options_);
    options.block_size = header->block_size;
    first_timeline_ = header->timeline;
    continued_ = header->remaining;
    if (options_.until.valid()) {
      until_ = without_page_header(options_.until, options_.segment_size, header->block_size);
    }
    WalSink& sink = *this;
    reader_ = std::make_unique<WalReader>(options, sink);
    return {};
  }

  void take(ByteView bytes) {
    Lsn start = options_.segment.start(options_.segment_size);
    reader_->feed(start + taken_, bytes);
    taken_ += bytes.size();
    if (reached_boundary()) reached_ = true;
  }

  // The rest of an earlier record may be all that stands before `until`.
  bool reached_boundary() const {
    return options_.until.valid() && reader_->boundary().valid() && reader_->boundary() >= until_;
  }

  void append(RecordFragment& fragment, ByteView bytes) const {
    fragment.length += bytes.size();
    if (fragment.length > options_.fragment_limit) {
      fragment.left_out = true;
      Bytes().swap(fragment.bytes);
    } else {
      fragment.bytes.insert(fragment.bytes.end(), bytes.begin(), bytes.end());
    }
  }

  SummaryOptions options_;
  Lsn until_;  // before a page's header where it stood behind one
  Accumulator accumulator_;
  std::unique_ptr<WalReader> reader_;
  Bytes head_;
  uint64_t fed_ = 0;
  uint64_t taken_ = 0;
  Timeline first_timeline_;
  uint64_t continued_ = 0;
  RecordFragment leading_;
  bool reached_ = false;
  std::optional<Error> error_;
};

SummaryBuilder::SummaryBuilder(const SummaryOptions& options) : impl_(std::make_unique<Impl>(options)) {}

SummaryBuilder::~SummaryBuilder() = default;

void SummaryBuilder::feed(ByteView bytes) {
  impl_->feed(bytes);
}

bool SummaryBuilder::done() const {
  return impl_->done();
}

Result<SegmentSummary> SummaryBuilder::finish() {
  return impl_->finish();
}

namespace {

class OneRecord : public WalSink {
 public:
  explicit OneRecord(Accumulator& accumulator) : accumulator_(accumulator) {}
  void record(const WalRecord& record) override { accumulator_.record(record); }
  void damage(const WalDamage&) override {}

 private:
  Accumulator& accumulator_;
};

}  // namespace

Result<SegmentSummary> summarize_record(const SummaryOptions& options, Lsn lsn, Timeline timeline,
                                        ByteView record) {
  Accumulator accumulator(*options.version);
  OneRecord sink(accumulator);
  TRY(read_record(reader_options(options), lsn, timeline, record, sink));
  if (!accumulator.damage().empty()) {
    return make_error(ErrorKind::damaged, cat("WAL record at ", lsn.to_string()), accumulator.damage());
  }
  SegmentSummary summary = accumulator.take();
  summary.segment = options.segment;
  summary.segment_size = options.segment_size;
  summary.first_timeline = timeline;
  return summary;
}

}  // namespace lifeboat::pg
