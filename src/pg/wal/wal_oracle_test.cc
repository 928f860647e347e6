// Compares the readers of this folder with PostgreSQL's own tools on WAL and data files that a real server
// wrote: pg_waldump for records, block references, transaction ends and other events; pg_controldata for
// pg_control; a cluster with checksums for pages. Servers run as `postgres` when the test runs as root, in a
// temporary directory.
//
// LIFEBOAT_PG_BINS: colon-separated bin directories to use instead of the installed PostgreSQL 15.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "pg/format/backup_label.h"
#include "pg/format/control_file.h"
#include "pg/format/page.h"
#include "pg/format/timeline_history.h"
#include "pg/wal/wal_events.h"
#include "pg/wal/wal_reader.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultBin = "/usr/lib/postgresql/15/bin";

// Everything a server can be asked for that makes records of a kind of their own. $1 bin, $2 directory, $3
// segment size in MB, $4 major.
constexpr const char* kScript = R"script(
set -eu
bin=$1 dir=$2 segment=$3 major=$4
export TZ=UTC LC_ALL=C PGTZ=UTC PGHOST=$dir PGUSER=postgres PGDATABASE=postgres
stop() { [ ! -f "$dir/data/postmaster.pid" ] || "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null; }
trap stop EXIT
"$bin/initdb" -D "$dir/data" -U postgres -k --no-sync --wal-segsize="$segment" >"$dir/initdb.log" 2>&1
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
fsync = off
wal_level = logical
max_prepared_transactions = 10
max_wal_size = 10GB
wal_keep_size = 10GB
shared_buffers = 32MB
timezone = UTC
log_timezone = UTC
track_commit_timestamp = on
CONF
start() { "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w start >/dev/null; }
sql() { "$bin/psql" -X -q -v ON_ERROR_STOP=1 -f - >/dev/null; }
start

sql <<'SQL'
create table t (id serial primary key, v text, n int);
insert into t (v, n) select repeat(md5(i::text), 10), i from generate_series(1, 4000) i;
create index on t using hash (v);
create index on t using brin (n);
create index on t using spgist (v);
create table g (p point, a int[]);
insert into g select point(i, i * 2), array[i, i % 7] from generate_series(1, 1500) i;
create index on g using gist (p);
create index on g using gin (a);
update t set n = n + 1 where id % 3 = 0;
delete from t where id % 5 = 0;
vacuum t;
select pg_create_restore_point('first point');
begin; insert into t (v) values ('one'); savepoint a; insert into t (v) values ('two'); rollback to a;
insert into t (v) values ('three'); commit;
begin; insert into t (v) values ('gone'); rollback;
do $$ begin for i in 1..300 loop begin insert into t (v) values ('sub'); exception when others then null; end;
end loop; end $$;
begin; create table p1 (a int); insert into p1 values (1); savepoint s; insert into p1 values (2);
prepare transaction 'prepared one';
begin; create table p2 (a int); insert into t (v) values ('never'); prepare transaction 'prepared two';
commit prepared 'prepared one';
rollback prepared 'prepared two';
drop table p1;
select nextval('t_id_seq') from generate_series(1, 200);
select pg_logical_emit_message(true, 'lifeboat', repeat('x', 3000000));
select pg_logical_emit_message(false, 'other', 'small');
checkpoint;
update t set v = v || 'y' where id % 2 = 0;
set wal_consistency_checking = 'all';
update t set n = 0 where id < 200;
reset wal_consistency_checking;
vacuum full t;
create table big (a int);
insert into big select generate_series(1, 50000);
delete from big where a > 1000;
vacuum big;
truncate g;
create unlogged table u (a int);
insert into u values (1);
create materialized view m as select count(*) from t;
refresh materialized view m;
create database other;
alter database other set work_mem = '5MB';
SQL
[ "$major" -lt 15 ] || sql <<'SQL'
create database by_copy strategy file_copy;
create database by_wal strategy wal_log;
drop database by_copy;
SQL
sql <<'SQL'
drop database other;
select pg_switch_wal();
-- A commit record of several pages, and one of many dropped relations.
do $$ begin for i in 1..20000 loop begin insert into big values (i); exception when others then null; end;
end loop; end $$;
do $$ begin for i in 1..60 loop execute format('create table d%s (a int primary key)', i); end loop; end $$;
do $$ begin for i in 1..60 loop execute format('drop table d%s', i); end loop; end $$;
begin; create table lost (a int primary key); insert into lost select generate_series(1, 100); rollback;
SQL
# Every compression of page images that this server was built with.
for method in on pglz lz4 zstd; do
  # Of the session: how soon a reload is heard of depends on how busy this host is.
  PGOPTIONS="-c wal_compression=$method" "$bin/psql" -X -q -c "select 1" >/dev/null 2>&1 || continue
  PGOPTIONS="-c wal_compression=$method" "$bin/psql" -X -q -c "checkpoint" \
    -c "update big set a = a + 1 where a % 50 = 0" -c "update t set n = 1 where id % 20 = 0" >/dev/null
done
for i in $(seq 150); do echo "insert into t (v) values ('short $i');"; done | sql
if [ "$major" -lt 15 ]; then
  printf '%s\n' "select pg_start_backup('the label', true, false);" \
    "\\o $dir/backup_label" "select labelfile from pg_stop_backup(false, false);" >"$dir/backup.sql"
else
  printf '%s\n' "select pg_backup_start('the label', true);" \
    "\\o $dir/backup_label" "select labelfile from pg_backup_stop(false);" >"$dir/backup.sql"
fi
"$bin/psql" -X -q -A -t -f "$dir/backup.sql" >/dev/null

# A crash in the middle, a parameter change, a promotion.
sql <<'SQL'
insert into t (v) select 'before the crash' from generate_series(1, 500);
SQL
stop
echo "max_connections = 50" >>"$dir/data/postgresql.conf"
start
sql <<'SQL'
insert into t (v) select 'after the crash' from generate_series(1, 500);
SQL
"$bin/pg_ctl" -D "$dir/data" -m fast -w stop >/dev/null
touch "$dir/data/standby.signal"
start
"$bin/pg_ctl" -D "$dir/data" -w promote >/dev/null
sql <<'SQL'
insert into t (v) select 'on timeline 2' from generate_series(1, 500);
checkpoint;
SQL
"$bin/pg_ctl" -D "$dir/data" -m fast -w stop >/dev/null
"$bin/pg_controldata" -D "$dir/data" >"$dir/controldata"
)script";

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

int run(const std::string& command) {
  int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// One record, in the form that both sides are brought to.
struct Line {
  std::string lsn;
  std::string prev;
  std::string rmgr;
  uint64_t total = 0;
  uint64_t xid = 0;
  std::vector<std::string> blocks;  // "0 1663/5/1259 main 17 FPW"
  std::string description;          // pg_waldump's, up to the block references
};

std::string_view after(std::string_view text, std::string_view marker) {
  size_t at = text.find(marker);
  return at == std::string_view::npos ? std::string_view() : text.substr(at + marker.size());
}

std::string_view until(std::string_view text, std::string_view stops) {
  return text.substr(0, text.find_first_of(stops));
}

// "#0: rel 1663/5/1259 fork vm blk 0 FPW"
std::string normal_block(std::string_view text) {
  std::string_view id = until(text.substr(1), ":");
  std::string_view relation = until(after(text, "rel "), " ");
  std::string_view fork =
      text.find(" fork ") == std::string_view::npos ? "main" : until(after(text, " fork "), " ");
  std::string_view block = until(after(text, " blk "), " ,");
  std::string_view image;
  if (text.find("FPW for WAL verification") != std::string_view::npos) {
    image = " verification";
  } else if (text.find("FPW") != std::string_view::npos) {
    image = " FPW";
  }
  return cat(id, " ", relation, " ", fork, " ", block, image);
}

Line parse_waldump(std::string_view text) {
  Line line;
  line.rmgr = until(after(text, "rmgr: "), " ");
  line.total = parse_u64(trim(until(after(after(text, "len (rec/tot):"), "/"), ","))).value_or(0);
  line.xid = parse_u64(trim(until(after(text, "tx:"), ","))).value_or(UINT64_MAX);
  line.lsn = until(after(text, "lsn: "), ",");
  line.prev = until(after(text, "prev "), ",");
  std::string_view rest = after(text, "desc: ");
  size_t blocks = rest.find(", blkref #");
  line.description = rest.substr(0, blocks);
  while (blocks != std::string_view::npos) {
    rest = rest.substr(blocks + std::strlen(", blkref "));
    blocks = rest.find(", blkref #");
    line.blocks.push_back(normal_block(rest.substr(0, blocks)));
  }
  return line;
}

constexpr std::array<std::string_view, 22> kRmgrNames = {
    "XLOG",       "Transaction",   "Storage", "CLOG",     "Database",
    "Tablespace", "MultiXact",     "RelMap",  "Standby",  "Heap2",
    "Heap",       "Btree",         "Hash",    "Gin",      "Gist",
    "Sequence",   "SPGist",        "BRIN",    "CommitTs", "ReplicationOrigin",
    "Generic",    "LogicalMessage"};

std::string padded_lsn(Lsn lsn) {
  return cat(hex_number(lsn.value >> 32, 1), "/", hex_number(lsn.value & 0xffffffff, 8));
}

// pg_waldump prints LSNs as %X/%08X in `lsn:` and `prev`, and as %X/%X in descriptions of versions before 19.
std::string short_lsn(Lsn lsn) {
  return lsn.to_string();
}

std::string relation_path(const RelationLocator& relation) {
  return relation.tablespace == 1664 ? cat("global/", relation.number)
                                     : cat("base/", relation.database, "/", relation.number);
}

std::string time_text(Timestamp time) {
  std::string micros = cat(1'000'000 + ((time.unix_us % 1'000'000) + 1'000'000) % 1'000'000);
  return cat(time.to_string().substr(0, 19), ".", micros.substr(1), " UTC");
}

// Takes the events of each record apart and compares them with pg_waldump's description of the same record.
class Comparer : public WalSink {
 public:
  Comparer(const VersionTraits& version, std::vector<Line> expected)
      : version_(version), expected_(std::move(expected)) {}

  void record(const WalRecord& r) override {
    if (next_ >= expected_.size()) return wrong(r, "a record that pg_waldump does not have");
    const Line& line = expected_[next_++];
    if (padded_lsn(r.lsn) != line.lsn) return wrong(r, cat("pg_waldump has ", line.lsn));
    if (padded_lsn(r.prev) != line.prev) wrong(r, cat("prev: pg_waldump has ", line.prev));
    if (kRmgrNames[static_cast<size_t>(r.rmgr)] != line.rmgr)
      wrong(r, cat("rmgr: pg_waldump has ", line.rmgr));
    if (r.total_length != line.total) wrong(r, cat("length: pg_waldump has ", line.total));
    if (r.xid != line.xid) wrong(r, cat("xid: pg_waldump has ", line.xid));
    std::vector<std::string> blocks;
    for (const WalBlock& b : r.blocks) {
      constexpr std::array<std::string_view, 4> kForks = {"main", "fsm", "vm", "init"};
      std::string_view image = !b.has_image ? "" : b.image_applies ? " FPW" : " verification";
      blocks.push_back(cat(b.id, " ", b.relation.tablespace, "/", b.relation.database, "/", b.relation.number,
                           " ", kForks[static_cast<size_t>(b.fork)], " ", b.block, image));
      if (b.has_image) {
        ++images[static_cast<size_t>(b.compression)];
        if (b.compression == ImageCompression::none && b.image.size() + b.hole_length != 8192)
          wrong(r, "image size");
      }
    }
    if (blocks != line.blocks)
      wrong(r, cat("blocks: ", join(blocks, "; "), " pg_waldump: ", join(line.blocks, "; ")));
    event(r, line.description);
  }
  void damage(const WalDamage& d) override { damages.push_back(d); }

  bool complete() const { return next_ == expected_.size(); }
  size_t count() const { return next_; }

  std::vector<std::string> mismatches;
  std::vector<WalDamage> damages;
  std::array<size_t, 32> events{};
  std::array<size_t, 4> images{};
  size_t subxids = 0;
  size_t dropped = 0;

 private:
  void wrong(const WalRecord& r, std::string text) {
    if (mismatches.size() < 20) mismatches.push_back(cat(padded_lsn(r.lsn), ": ", text));
  }
  void expect(const WalRecord& r, std::string_view description, std::string_view part) {
    if (description.find(part) == std::string_view::npos) {
      wrong(r, cat("expected \"", part, "\" in \"", description.substr(0, 300), "\""));
    }
  }

  void event(const WalRecord& r, std::string_view text) {
    WalEvent kind = event_of(r, version_);
    ++events[static_cast<size_t>(kind)];
    switch (kind) {
      case WalEvent::commit:
      case WalEvent::abort:
        return transaction_end(r, text);
      case WalEvent::prepare: {
        auto prepared = read_prepare(r, version_);
        if (!prepared) return wrong(r, prepared.error().to_string());
        return expect(r, text, cat("gid ", prepared->gid, ": ", time_text(prepared->time)));
      }
      case WalEvent::checkpoint: {
        auto point = read_checkpoint(r);
        if (!point) return wrong(r, point.error().to_string());
        const Checkpoint& c = point->checkpoint;
        expect(r, text,
               cat("redo ", short_lsn(c.redo), "; tli ", c.timeline.value, "; prev tli ",
                   c.previous_timeline.value));
        expect(r, text,
               cat("xid ", c.next_xid >> 32, ":", c.next_xid & 0xffffffff, "; oid ", c.next_oid, "; multi ",
                   c.next_multi, "; offset ", c.next_multi_offset, "; oldest xid ", c.oldest_xid));
        expect(r, text, cat("oldest running xid ", c.oldest_active_xid));
        return expect(r, text, point->shutdown ? "shutdown" : "online");
      }
      case WalEvent::restore_point: {
        auto point = read_restore_point(r);
        if (!point) return wrong(r, point.error().to_string());
        return expect(r, text, cat("RESTORE_POINT ", point->name));
      }
      case WalEvent::parameter_change: {
        auto change = read_parameter_change(r);
        if (!change) return wrong(r, change.error().to_string());
        return expect(r, text,
                      cat("max_connections=", change->max_connections, " max_worker_processes=",
                          change->max_worker_processes, " max_wal_senders=", change->max_wal_senders,
                          " max_prepared_xacts=", change->max_prepared_transactions, " max_locks_per_xact=",
                          change->max_locks_per_transaction, " wal_level=", to_string(change->wal_level),
                          " wal_log_hints=", change->wal_log_hints ? "on" : "off",
                          " track_commit_timestamp=", change->track_commit_timestamp ? "on" : "off"));
      }
      case WalEvent::end_of_recovery: {
        auto end = read_end_of_recovery(r, version_);
        if (!end) return wrong(r, end.error().to_string());
        return expect(r, text,
                      cat("tli ", end->timeline.value, "; prev tli ", end->previous_timeline.value, "; time ",
                          time_text(end->time)));
      }
      case WalEvent::backup_end: {
        auto end = read_backup_end(r);
        if (!end) return wrong(r, end.error().to_string());
        return expect(r, text, cat("BACKUP_END ", short_lsn(end->start)));
      }
      case WalEvent::xlog_switch:
        return expect(r, text, "SWITCH");
      case WalEvent::logical_message: {
        auto message = read_logical_message(r);
        if (!message) return wrong(r, message.error().to_string());
        if (message->prefix != "lifeboat" && message->prefix != "other")
          wrong(r, "prefix of a logical message");
        expect(r, text, message->transactional ? " transactional" : "non");
        return expect(r, text, cat(message->content.size(), " bytes"));
      }
      case WalEvent::relation_create: {
        auto create = read_relation_create(r);
        if (!create) return wrong(r, create.error().to_string());
        return expect(r, text, relation_path(create->relation));
      }
      case WalEvent::relation_truncate: {
        auto truncate = read_relation_truncate(r);
        if (!truncate) return wrong(r, truncate.error().to_string());
        return expect(r, text,
                      cat(relation_path(truncate->relation), " to ", truncate->blocks, " blocks flags ",
                          (truncate->heap ? 1 : 0) + (truncate->vm ? 2 : 0) + (truncate->fsm ? 4 : 0)));
      }
      case WalEvent::database_create: {
        auto create = read_database_create(r, version_);
        if (!create) return wrong(r, create.error().to_string());
        if (!create->file_copy)
          return expect(r, text, cat("dir ", create->tablespace, "/", create->database));
        // 13 prints database/tablespace, later versions tablespace/database.
        bool old = text.find(cat(create->database, "/", create->tablespace)) != std::string_view::npos;
        return expect(r, text,
                      old ? cat("copy dir ", create->source_database, "/", create->source_tablespace, " to ",
                                create->database, "/", create->tablespace)
                          : cat("copy dir ", create->source_tablespace, "/", create->source_database, " to ",
                                create->tablespace, "/", create->database));
      }
      case WalEvent::database_drop: {
        auto drop = read_database_drop(r);
        if (!drop) return wrong(r, drop.error().to_string());
        if (drop->tablespaces != std::vector<Oid>{1663}) wrong(r, "tablespaces of a dropped database");
        return expect(r, text, cat(drop->database));
      }
      default:
        return;
    }
  }

  void transaction_end(const WalRecord& r, std::string_view text) {
    auto end = read_transaction_end(r, version_);
    if (!end) return wrong(r, end.error().to_string());
    std::string name = end->committed ? "COMMIT" : "ABORT";
    std::string head = end->prepared ? cat(name, "_PREPARED ", end->xid, ": ") : cat(name, " ");
    expect(r, text, cat(head, time_text(end->time)));
    std::vector<std::string> relations;
    for (const RelationLocator& relation : end->dropped) relations.push_back(relation_path(relation));
    std::vector<std::string> xids;
    for (uint32_t xid : end->subxids) xids.push_back(cat(xid));
    if (trim(until(after(text, "; rels:"), ";")) != join(relations, " ")) {
      wrong(r, cat("relations: ", join(relations, " "), " in ", text.substr(0, 300)));
    }
    if (trim(until(after(text, "; subxacts:"), ";")) != join(xids, " ")) {
      wrong(r, cat("subxacts: ", join(xids, " ").substr(0, 300)));
    }
    subxids += xids.size();
    dropped += relations.size();
  }

  const VersionTraits& version_;
  std::vector<Line> expected_;
  size_t next_ = 0;
};

class WalOracle : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = cat(fs::temp_directory_path().string(), "/lifeboat-oracle-XXXXXX");
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    ASSERT_EQ(chmod(pattern.c_str(), 0777), 0);
  }
  void TearDown() override {
    if (HasFailure()) {
      std::fprintf(stderr, "kept for inspection: %s\n", directory_.c_str());
    } else {
      fs::remove_all(directory_);
    }
  }

  static std::vector<std::string> bins() {
    const char* list = std::getenv("LIFEBOAT_PG_BINS");
    std::vector<std::string> found;
    for (std::string_view bin : split(list != nullptr && *list != 0 ? list : kDefaultBin, ':')) {
      if (fs::exists(fs::path(bin) / "pg_waldump") && fs::exists(fs::path(bin) / "initdb")) {
        found.emplace_back(bin);
      } else {
        std::fprintf(stderr, "no PostgreSQL tools in %s\n", std::string(bin).c_str());
      }
    }
    return found;
  }

  static int major_of(const std::string& bin) {
    std::string path = cat("'", bin, "/pg_waldump' --version");
    FILE* pipe = popen(path.c_str(), "r");
    char text[256] = {};
    if (pipe == nullptr) return 0;
    if (fgets(text, sizeof text, pipe) == nullptr) text[0] = 0;
    pclose(pipe);
    return static_cast<int>(parse_u64(until(after(text, "(PostgreSQL) "), ".\n ")).value_or(0));
  }

  static std::string as_postgres(const std::string& command) {
    return geteuid() == 0 ? cat("runuser -u postgres -- ", command) : command;
  }

  // Runs a server through kScript; its files are then in `place`.
  void make_history(const std::string& bin, int major, int segment_mb, const fs::path& place) {
    fs::create_directory(place);
    ASSERT_EQ(chmod(place.c_str(), 0777), 0);
    fs::path script = place / "script";
    std::ofstream(script) << kScript;
    ASSERT_EQ(chmod(script.c_str(), 0755), 0);
    ASSERT_EQ(run(as_postgres(cat("sh ", script.string(), " ", bin, " ", place.string(), " ", segment_mb, " ",
                                  major, " > ", place.string(), "/out 2>&1"))),
              0)
        << read_file(place / "out") << read_file(place / "log");
  }

  // Segments of `timeline` up to the one that holds `last`, in order.
  static std::vector<SegmentName> segments(const fs::path& wal, Timeline timeline, Lsn last,
                                           SegmentSize size) {
    std::vector<SegmentName> names;
    for (const auto& entry : fs::directory_iterator(wal)) {
      auto name = SegmentName::parse(entry.path().filename().string());
      if (name && name->timeline == timeline && name->start(size) <= last) names.push_back(*name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // Compares one timeline; returns the comparer for counts.
  std::unique_ptr<Comparer> compare(const std::string& bin, const VersionTraits& version,
                                    const fs::path& place, const std::vector<SegmentName>& names,
                                    const ControlFile& control) {
    fs::path wal = place / "data" / "pg_wal";
    fs::path dump = directory_ / "dump";
    // The exit code is that of the end of WAL, which is always met.
    run(cat("TZ=UTC LC_ALL=C ", bin, "/pg_waldump -p ", wal.string(), " ", names.front().to_string(), " ",
            names.back().to_string(), " > ", dump.string(), " 2> ", dump.string(), ".err"));
    std::vector<Line> lines;
    std::ifstream in(dump);
    for (std::string text; std::getline(in, text);) {
      if (text.starts_with("rmgr: ")) lines.push_back(parse_waldump(text));
    }
    EXPECT_GT(lines.size(), 100u) << read_file(cat(dump.string(), ".err"));

    SegmentSize size{control.wal_segment_size};
    auto comparer = std::make_unique<Comparer>(version, std::move(lines));
    WalReaderOptions options;
    options.version = &version;
    options.segment_size = size;
    options.system_id = control.system_id;
    options.timeline = names.front().timeline;
    WalReader reader(options, *comparer);
    for (const SegmentName& name : names) {
      std::string bytes = read_file(wal / name.to_string());
      auto header = read_segment_header(as_bytes(bytes));
      EXPECT_TRUE(header) << name.to_string();
      if (header) {
        EXPECT_EQ(header->start, name.start(size));
        EXPECT_EQ(header->major, version.major);
        EXPECT_LE(header->timeline, name.timeline);
      }
      reader.feed(name.start(size), as_bytes(bytes));
      check_valid_end(as_bytes(bytes), name, size, *comparer);
    }
    reader.finish();
    for (const std::string& mismatch : comparer->mismatches) ADD_FAILURE() << mismatch;
    EXPECT_TRUE(comparer->complete()) << comparer->count();
    return comparer;
  }

  static void check_valid_end(ByteView bytes, const SegmentName& name, SegmentSize size,
                              const Comparer& comparer) {
    auto end = valid_end(bytes);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->full, comparer.damages.empty()) << name.to_string();
    if (end->full) {
      EXPECT_EQ(end->end, name.end(size));
    } else {
      EXPECT_EQ(end->end, comparer.damages.front().lsn) << name.to_string();
    }
  }

  void compare_history(const std::string& bin, int segment_mb) {
    int major = major_of(bin);
    const VersionTraits* version = find_version(major);
    ASSERT_NE(version, nullptr) << bin;
    fs::path place = directory_ / cat(major, "-", segment_mb);
    ASSERT_NO_FATAL_FAILURE(make_history(bin, major, segment_mb, place));

    std::string raw = read_file(place / "data/global/pg_control");
    auto control = parse_control_file(as_bytes(raw));
    ASSERT_TRUE(control) << control.error().message;
    EXPECT_EQ(control->major, major);
    compare_control(*control, read_file(place / "controldata"));
    EXPECT_EQ(control->wal_segment_size, static_cast<uint32_t>(segment_mb) << 20);

    std::string history_text = read_file(place / "data/pg_wal/00000002.history");
    auto history = TimelineHistory::parse({2}, history_text);
    ASSERT_TRUE(history) << history.error().message;
    ASSERT_EQ(history->ancestors().size(), 1u);
    Lsn fork = history->ancestors()[0].end;
    auto label = parse_backup_label(read_file(place / "backup_label"));
    ASSERT_TRUE(label) << label.error().message;
    EXPECT_EQ(label->label, "the label");

    SegmentSize size{control->wal_segment_size};
    fs::path wal = place / "data/pg_wal";
    std::vector<SegmentName> first = segments(wal, {1}, {fork.value - 1}, size);
    // The segment in which the promotion happened is renamed at once.
    bool partial = fs::exists(wal / cat(SegmentName::containing({1}, fork, size).to_string(), ".partial"));
    ASSERT_FALSE(first.empty()) << partial;
    auto old = compare(bin, *version, place, first, *control);
    std::vector<SegmentName> second = segments(wal, {2}, control->checkpoint_lsn, size);
    ASSERT_FALSE(second.empty());
    auto now = compare(bin, *version, place, second, *control);

    // The workload did what it is for.
    auto count = [&](WalEvent event) {
      return old->events[static_cast<size_t>(event)] + now->events[static_cast<size_t>(event)];
    };
    EXPECT_GT(count(WalEvent::commit), 100u);
    EXPECT_GE(count(WalEvent::abort), 2u);
    EXPECT_EQ(count(WalEvent::restore_point), 1u);
    EXPECT_EQ(count(WalEvent::prepare), 2u);
    EXPECT_EQ(count(WalEvent::logical_message), 2u);
    EXPECT_EQ(count(WalEvent::backup_end), 1u);
    EXPECT_GE(count(WalEvent::parameter_change), 1u);
    EXPECT_EQ(count(WalEvent::end_of_recovery), 1u);
    EXPECT_GE(count(WalEvent::xlog_switch), 1u);
    EXPECT_GE(count(WalEvent::relation_truncate), 1u);
    EXPECT_GE(count(WalEvent::database_create), major >= 15 ? 3u : 1u);
    EXPECT_EQ(count(WalEvent::database_drop), major >= 15 ? 2u : 1u);
    EXPECT_GT(old->subxids, 20000u);
    EXPECT_GT(old->dropped, 100u);
    EXPECT_GT(old->images[0], 100u);
    EXPECT_GT(old->images[1], 0u) << "no pglz images";
    check_pages(place / "data");
    fs::remove_all(place);
  }

  static void compare_control(const ControlFile& control, const std::string& text) {
    auto value = [&](std::string_view key) {
      return std::string(trim(until(after(text, cat(key, ":")), "\n")));
    };
    EXPECT_EQ(value("Database system identifier"), cat(control.system_id.value));
    EXPECT_EQ(value("pg_control version number"), cat(control.control_version));
    EXPECT_EQ(value("Catalog version number"), cat(control.catalog_version));
    EXPECT_EQ(value("Database cluster state"), to_string(control.state));
    EXPECT_EQ(value("Latest checkpoint location"), short_lsn(control.checkpoint_lsn));
    EXPECT_EQ(value("Latest checkpoint's REDO location"), short_lsn(control.checkpoint.redo));
    EXPECT_EQ(value("Latest checkpoint's TimeLineID"), cat(control.checkpoint.timeline.value));
    EXPECT_EQ(value("Latest checkpoint's PrevTimeLineID"), cat(control.checkpoint.previous_timeline.value));
    EXPECT_EQ(value("Latest checkpoint's NextXID"),
              cat(control.checkpoint.next_xid >> 32, ":", control.checkpoint.next_xid & 0xffffffff));
    EXPECT_EQ(value("Latest checkpoint's NextOID"), cat(control.checkpoint.next_oid));
    EXPECT_EQ(value("Latest checkpoint's oldestActiveXID"), cat(control.checkpoint.oldest_active_xid));
    EXPECT_EQ(value("Minimum recovery ending location"), short_lsn(control.min_recovery_point));
    EXPECT_EQ(value("Min recovery ending loc's timeline"), cat(control.min_recovery_timeline.value));
    EXPECT_EQ(value("Backup start location"), short_lsn(control.backup_start));
    EXPECT_EQ(value("Backup end location"), short_lsn(control.backup_end));
    EXPECT_EQ(value("End-of-backup record required"), control.backup_end_required ? "yes" : "no");
    EXPECT_EQ(value("wal_level setting"), to_string(control.wal_level));
    EXPECT_EQ(value("wal_log_hints setting"), control.wal_log_hints ? "on" : "off");
    EXPECT_EQ(value("max_connections setting"), cat(control.max_connections));
    EXPECT_EQ(value("max_worker_processes setting"), cat(control.max_worker_processes));
    EXPECT_EQ(value("max_wal_senders setting"), cat(control.max_wal_senders));
    EXPECT_EQ(value("max_prepared_xacts setting"), cat(control.max_prepared_transactions));
    EXPECT_EQ(value("max_locks_per_xact setting"), cat(control.max_locks_per_transaction));
    EXPECT_EQ(value("track_commit_timestamp setting"), control.track_commit_timestamp ? "on" : "off");
    EXPECT_EQ(value("Database block size"), cat(control.block_size));
    EXPECT_EQ(value("Blocks per segment of large relation"), cat(control.relation_segment_blocks));
    EXPECT_EQ(value("WAL block size"), cat(control.wal_block_size));
    EXPECT_EQ(value("Bytes per WAL segment"), cat(control.wal_segment_size));
    EXPECT_EQ(value("Data page checksum version"), cat(control.data_checksum_version));
  }

  // Every page of a cleanly stopped cluster is ok or zero, and hardly any is with a bit flipped: the checksum
  // has 16 bits.
  static void check_pages(const fs::path& data) {
    size_t pages = 0;
    size_t missed = 0;
    for (const auto& entry : fs::recursive_directory_iterator(data / "base")) {
      std::string name = entry.path().filename().string();
      if (!entry.is_regular_file() || name.find_first_not_of("0123456789_fsmv") != std::string::npos)
        continue;
      std::string bytes = read_file(entry.path());
      for (uint32_t block = 0; (block + 1) * 8192ull <= bytes.size(); ++block) {
        ByteView page = as_bytes(bytes).subspan(block * 8192ull, 8192);
        PageState state = verify_page(page, block);
        ASSERT_TRUE(state == PageState::ok || state == PageState::zero) << entry.path() << " block " << block;
        if (state == PageState::zero) continue;
        ++pages;
        Bytes flipped(page.begin(), page.end());
        size_t bit = (pages * 7919) % (8192 * 8);
        flipped[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
        if (verify_page(flipped, block) == PageState::ok) ++missed;
      }
    }
    EXPECT_GT(pages, 1000u);
    EXPECT_LE(missed, 5u);
  }

  fs::path directory_;
};

TEST_F(WalOracle, agrees_with_pg_waldump_on_1_mb_segments) {
  std::vector<std::string> found = bins();
  if (found.empty()) GTEST_SKIP() << "SKIPPED: no pg_waldump and initdb found; set LIFEBOAT_PG_BINS";
  for (const std::string& bin : found) compare_history(bin, 1);
}

TEST_F(WalOracle, agrees_with_pg_waldump_on_64_mb_segments) {
  std::vector<std::string> found = bins();
  if (found.empty()) GTEST_SKIP() << "SKIPPED: no pg_waldump and initdb found; set LIFEBOAT_PG_BINS";
  for (const std::string& bin : found) compare_history(bin, 64);
}

}  // namespace
}  // namespace lifeboat::pg
