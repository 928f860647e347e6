// Prints what the WAL of a repository says was changed between two positions, one fact a line, so that tests
// can compare it with PostgreSQL's own summaries:
//
//   change_map REPO CLUSTER TIMELINE FROM TO
//
//   1663 5 16384 main limit 0        cut to so many blocks, or made or dropped
//   1663 5 16384 main block 17
//   1663 5 directory                 a database made or dropped
//
// TIMELINE is the server's, FROM and TO are LSNs. The map is the one that an incremental backup would use
// (ops/wal/changes.h), from stored summaries where there are any; those that it had to make are stored.
// Standard error says how many. Exit code 1 with a line on standard error when there is no such map.
#include <cstdio>
#include <string>
#include <vector>

#include "ops/session.h"
#include "ops/wal/changes.h"
#include "repo/wal_store.h"
#include "util/strings.h"

namespace lifeboat {
namespace {

constexpr size_t kHistoryLimit = 1 << 20;

Result<pg::TimelineHistory> history_of(const repo::LineageRepo& repo, Timeline timeline) {
  if (timeline.value <= 1) return pg::TimelineHistory::root(timeline);
  auto name = WalFileName::parse(cat(timeline.to_hex(), ".history"));
  TRY_ASSIGN(Bytes text, repo::WalStore(repo).get_small(*name, kHistoryLimit));
  return pg::TimelineHistory::parse(timeline, as_text(text));
}

void print(const pg::ChangeMap& map) {
  for (const pg::DatabaseDirectory& directory : map.directories()) {
    std::printf("%u %u directory\n", directory.tablespace, directory.database);
  }
  for (const auto& [id, changes] : map.forks()) {
    std::string fork = cat(id.relation.tablespace, " ", id.relation.database, " ", id.relation.number,
                           id.fork == pg::Fork::main ? " main" : " init");
    if (changes.limit) std::printf("%s limit %u\n", fork.c_str(), *changes.limit);
    changes.blocks.each_run([&](uint32_t first, uint64_t count) {
      for (uint64_t i = 0; i < count; ++i)
        std::printf("%s block %u\n", fork.c_str(), static_cast<unsigned>(first + i));
    });
  }
}

Status run(const std::vector<std::string>& arguments) {
  if (arguments.size() != 5)
    return make_error(ErrorKind::usage, "", "change_map REPO CLUSTER TIMELINE FROM TO");
  auto timeline = parse_u64(arguments[2]);
  auto from = Lsn::parse(arguments[3]);
  auto to = Lsn::parse(arguments[4]);
  if (!timeline || *timeline > UINT32_MAX || !from || !to)
    return make_error(ErrorKind::usage, arguments[2], "not a position");
  ops::RepoLocation location;
  location.url = arguments[0];
  location.cluster = arguments[1];
  TRY_ASSIGN(repo::Repository repository, ops::open_repository(location));
  TRY_ASSIGN(ops::ChosenLineage lineage, ops::choose_lineage(repository, location.cluster));
  TRY_ASSIGN(pg::TimelineHistory history, history_of(lineage.repo, {static_cast<uint32_t>(*timeline)}));
  SilentReporter reporter;
  StopToken stop;
  ops::ChangesRequest request{&lineage, std::move(history), *from, *to, nullptr, true};
  TRY_ASSIGN(ops::WalChanges changes, ops::read_changes(request, reporter, stop));
  if (!changes.unusable.empty()) return make_error(ErrorKind::failed, "change map", changes.unusable);
  print(changes.map);
  std::fprintf(stderr, "%llu segments, %llu summaries\n", static_cast<unsigned long long>(changes.segments),
               static_cast<unsigned long long>(changes.summaries));
  return {};
}

}  // namespace
}  // namespace lifeboat

int main(int argc, char** argv) {
  auto done = lifeboat::run({argv + 1, argv + argc});
  if (done) return 0;
  std::fprintf(stderr, "%s\n", done.error().to_string().c_str());
  return 1;
}
