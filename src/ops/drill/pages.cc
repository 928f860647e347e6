#include "ops/drill/pages.h"

#include <algorithm>

#include "ops/heal/blocks.h"
#include "pg/client/client.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kMostNamed = 10;

}  // namespace

Result<RelationFiles> relation_files(pg::PgServer& server, const DrillScope& scope, const StopToken& stop) {
  RelationFiles files;
  TRY_ASSIGN(auto databases, connectable_databases(server));
  for (const std::string& database : databases) {
    TRY(stop.check());
    TRY_ASSIGN(pg::PgClient client, server.connect(database));
    TRY_ASSIGN(pg::Rows rows,
               client.query("select pg_catalog.pg_relation_filepath(c.oid), n.nspname, t.relname from"
                            " pg_catalog.pg_class c left join pg_catalog.pg_index i on i.indexrelid = c.oid"
                            " join pg_catalog.pg_class t on t.oid = coalesce(i.indrelid, c.oid) join"
                            " pg_catalog.pg_namespace n on n.oid = t.relnamespace where c.relkind in ('r',"
                            " 'm', 'i', 't', 'S') and c.relpersistence = 'p'"));
    for (int i = 0; i < rows.size(); ++i)
      if (!rows.null(i, 0) && scope.has(database, rows.text(i, 1), rows.text(i, 2)))
        files.emplace(rows.text(i, 0));
  }
  return files;
}

Result<DrillCheck> check_pages_of(const RelationFiles& files, const DrillScope& scope,
                                  const std::string& directory, Reporter& reporter, const StopToken& stop) {
  const int64_t began_us = Clock::system().monotonic_us();
  DrillCheck check{"page_checksums", CheckResult::skipped, "the cluster has no data checksums", 0};
  TRY_ASSIGN(const DataDirFacts data_dir, read_data_dir(directory));
  if (!data_dir.control.checksums()) return check;
  auto has_its_turn = [&](const std::string& relation) { return files.contains(relation); };
  TRY_ASSIGN(const BlockScan scan, scan_blocks(data_dir, reporter, stop, has_its_turn));
  check.seconds = static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
  check.result = scan.damaged.empty() ? CheckResult::passed : CheckResult::failed;
  check.detail = cat(scope.to_string(), ": ", counted(scan.blocks, "page"), " of ",
                     counted(scan.files, "file"), ", of every kind of index");
  if (scan.damaged.empty()) return check;
  check.detail += cat(", ", scan.damaged.size(), " damaged:");
  for (size_t i = 0; i < std::min(scan.damaged.size(), kMostNamed); ++i) {
    const DamagedBlock& block = scan.damaged[i];
    check.detail += cat(" ", block.path, ":", block.block, " (", pg::to_string(block.state), ")");
  }
  if (scan.damaged.size() > kMostNamed) check.detail += " …";
  return check;
}

}  // namespace lifeboat::ops
