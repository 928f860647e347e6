#include "ops/drill/row_compare.h"

#include <algorithm>

#include "pg/wal/wal_events.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// src/include/access/heapam_xlog.h, the same in 13 to 18.
constexpr uint8_t kHeapOperationMask = 0x70;
constexpr uint8_t kHeapInsert = 0x00;
constexpr uint8_t kHeapDelete = 0x10;
constexpr uint8_t kHeap2MultiInsert = 0x50;
// xl_heap_multi_insert: uint8 flags, (padding), uint16 ntuples.
constexpr size_t kMultiInsertCountOffset = 2;

class ChangeCounter {
 public:
  ChangeCounter(const pg::VersionTraits& version, RowChanges& changes)
      : version_(version), changes_(changes) {}

  void see(const pg::WalRecord& record) {
    if (pg::event_of(record, version_) == pg::WalEvent::commit) {
      auto end = pg::read_transaction_end(record, version_);
      if (end && end->xid != 0 &&
          (changes_.lowest_commit_xid == 0 || precedes(end->xid, changes_.lowest_commit_xid))) {
        changes_.lowest_commit_xid = end->xid;
      }
      return;
    }
    if (record.blocks.empty()) return;
    auto& change = changes_.by_file[{record.blocks[0].relation.database, record.blocks[0].relation.number}];
    uint8_t operation = record.info & kHeapOperationMask;
    if (record.rmgr == pg::Rmgr::heap && operation == kHeapInsert) ++change.inserts;
    if (record.rmgr == pg::Rmgr::heap && operation == kHeapDelete) ++change.deletes;
    if (record.rmgr == pg::Rmgr::heap2 && operation == kHeap2MultiInsert &&
        record.main_data.size() >= kMultiInsertCountOffset + 2) {
      change.inserts += load_le<uint16_t>(record.main_data.data() + kMultiInsertCountOffset);
    }
  }

  static bool precedes(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

 private:
  const pg::VersionTraits& version_;
  RowChanges& changes_;
};

std::string name_of(const RowCount& count) {
  return cat(count.database, ".", count.schema, ".", count.table);
}

}  // namespace

Result<RowChanges> read_row_changes(const ChosenLineage& lineage, const WalHistory& history,
                                    Timeline timeline, Lsn from, Lsn to, const pg::VersionTraits& version,
                                    const ScanOptions& options) {
  RowChanges changes;
  if (to <= from) {
    changes.complete = to == from;
    return changes;
  }
  if (history.find(timeline) == nullptr || !history.find(timeline)->history) return changes;
  WalPath path = history.path(timeline, from);
  if (path.end < to && path.tail) path.go_on_with(*path.tail);
  if (path.end < to) return changes;
  ChangeCounter counter(version, changes);
  TRY_ASSIGN(ScanResult scanned, scan_wal(
                                     lineage, path, from, to,
                                     [&](const pg::WalRecord& record) {
                                       counter.see(record);
                                       return ScanNext::more;
                                     },
                                     options));
  // Where an unfinished segment's records end is no damage.
  changes.complete = !scanned.damage && (!path.unfinished || scanned.end_of_records >= to);
  return changes;
}

DrillCheck compare_counts(const CountedRows& now, const std::optional<EarlierCounts>& earlier,
                          const std::optional<RowChanges>& changes) {
  DrillCheck check{"row_counts", CheckResult::passed, "", 0};
  std::string all = cat(counted(now.counts.size(), "table"), " counted");
  if (now.left_out != 0) all += cat(", ", now.left_out, " left out");
  if (!earlier) {
    check.detail = cat(
        all, "; no earlier drill counted these tables on the way here, so there is nothing to compare with");
    return check;
  }
  if (!changes || !changes->complete) {
    check.detail =
        cat(all, "; not comparable with drill ", earlier->evidence, ": the WAL in between is not all stored");
    return check;
  }
  bool spans = changes->lowest_commit_xid != 0 &&
               ChangeCounter::precedes(changes->lowest_commit_xid, static_cast<uint32_t>(earlier->next_xid));
  std::map<std::string, const RowCount*> before;
  for (const RowCount& count : earlier->counts) before[name_of(count)] = &count;
  size_t exact = 0;
  size_t bounded = 0;
  size_t not_comparable = 0;
  std::string wrong;
  for (const RowCount& count : now.counts) {
    auto found = before.find(name_of(count));
    if (found == before.end() || found->second->file_node != count.file_node || spans) {
      ++not_comparable;
      continue;
    }
    auto at = changes->by_file.find({count.database_oid, count.file_node});
    RowChanges::Change change = at == changes->by_file.end() ? RowChanges::Change{} : at->second;
    int64_t least = found->second->rows - static_cast<int64_t>(change.deletes);
    int64_t most = found->second->rows + static_cast<int64_t>(change.inserts);
    (least == most ? exact : bounded) += 1;
    if (count.rows < least || count.rows > most) {
      wrong += cat(wrong.empty() ? "" : ", ", name_of(count), " has ", count.rows, " rows, expected ",
                   least == most ? cat(least) : cat(least, " to ", most));
    }
  }
  check.detail = cat(all, "; against drill ", earlier->evidence, ": ", exact, " exact, ", bounded,
                     " bounded, ", not_comparable, " not comparable");
  if (!wrong.empty()) {
    check.result = CheckResult::failed;
    check.detail += cat("; wrong: ", wrong);
  }
  return check;
}

}  // namespace lifeboat::ops
