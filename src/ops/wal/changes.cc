#include "ops/wal/changes.h"

#include "ops/wal/history.h"
#include "pg/wal/wal_events.h"
#include "pg/wal/wal_reader.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

class Collector : public pg::WalSink {
 public:
  Collector(const pg::VersionTraits& version, WalChanges& changes) : version_(version), changes_(changes) {}
  void record(const pg::WalRecord& record) override {
    for (const pg::WalBlock& block : record.blocks) {
      if (block.fork == pg::Fork::main || block.fork == pg::Fork::init)
        changes_.map.changed({block.relation, block.fork}, block.block);
    }
    switch (pg::event_of(record, version_)) {
      case pg::WalEvent::relation_create:
        if (auto made = pg::read_relation_create(record)) changes_.map.cut({made->relation, made->fork}, 0);
        break;
      case pg::WalEvent::relation_truncate:
        if (auto cut = pg::read_relation_truncate(record); cut && cut->heap)
          changes_.map.cut({cut->relation, pg::Fork::main}, cut->blocks);
        break;
      case pg::WalEvent::commit:
      case pg::WalEvent::abort:
        if (auto end = pg::read_transaction_end(record, version_)) {
          for (const auto& relation : end->dropped) {
            changes_.map.cut({relation, pg::Fork::main}, 0);
            changes_.map.cut({relation, pg::Fork::init}, 0);
          }
        }
        break;
      case pg::WalEvent::database_create:
        if (auto made = pg::read_database_create(record, version_)) changes_.map.rewritten({made->tablespace, made->database});
        break;
      case pg::WalEvent::database_drop:
        if (auto gone = pg::read_database_drop(record)) {
          for (Oid tablespace : gone->tablespaces) changes_.map.rewritten({tablespace, gone->database});
        }
        break;
      case pg::WalEvent::parameter_change:
        if (auto change = pg::read_parameter_change(record); change && change->wal_level == pg::WalLevel::minimal)
          changes_.unusable = cat("wal_level was minimal at ", record.lsn.to_string());
        break;
      default:
        break;
    }
  }
  void damage(const pg::WalDamage& damage) override {
    if (damage_.empty()) damage_ = cat(pg::to_string(damage.kind), " at ", damage.lsn.to_string(), ": ", damage.text);
  }
  std::string damage_;

 private:
  const pg::VersionTraits& version_;
  WalChanges& changes_;
};

}  // namespace

Result<WalChanges> read_changes(const ChangesRequest& request, Reporter&, StopToken& stop) {
  WalChanges changes;
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(request.lineage->record.lineage.major));
  Collector collector(*version, changes);
  SegmentSize size = request.lineage->record.segment_size;
  pg::WalReaderOptions options;
  options.version = version;
  options.segment_size = size;
  options.start = request.from;
  options.after_damage = pg::AfterDamage::stop;
  pg::WalReader reader(options, collector);
  repo::WalStore store(request.lineage->repo);
  for (uint64_t index = request.from.value / size.bytes; index * size.bytes < request.to.value; ++index) {
    TRY(stop.check());
    Lsn begin{index * size.bytes};
    SegmentName name = SegmentName::containing(request.history.owner(std::min(Lsn{begin.value + size.bytes - 1}, request.to)), begin, size);
    ++changes.segments;
    Bytes content;
    auto sink = [&](ByteView piece) -> Status {
      content.insert(content.end(), piece.begin(), piece.end());
      return {};
    };
    TRY_ASSIGN(bool there, request.server_wal->read(name, sink));
    if (there) {
      auto header = pg::read_segment_header(content);
      there = header && header->start == begin;
    }
    if (!there) {
      content.clear();
      auto got = store.get(*WalFileName::parse(name.to_string()), sink);
      if (!got) {
        changes.unusable = cat("WAL segment ", name.to_string(), " is neither in pg_wal nor in the repository");
        return changes;
      }
    }
    changes.wal_bytes += content.size();
    reader.feed(begin, content);
  }
  if (changes.unusable.empty() && reader.end_of_records() < request.to)
    changes.unusable = cat("WAL ends at ", reader.end_of_records().to_string(), ": ", collector.damage_);
  return changes;
}

}  // namespace lifeboat::ops
