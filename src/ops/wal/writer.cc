#include "ops/wal/writer.h"

#include <utility>

#include "util/strings.h"

namespace lifeboat::ops {

Result<WalWriter> open_writer(const RepoLocation& where, const std::string& conninfo, const StopToken& stop) {
  TRY_ASSIGN(repo::Repository opened, open_repository(where));
  auto repository = std::make_unique<repo::Repository>(std::move(opened));
  pg::ConnectOptions options;
  options.stop = &stop;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(conninfo, options));
  pg::FactsRequest wanted;
  wanted.settings = {"archive_mode", "archive_command", "archive_library"};
  wanted.tablespaces = false;
  TRY_ASSIGN(pg::ServerFacts facts, pg::read_facts(client, wanted));
  TRY_ASSIGN(ChosenLineage lineage,
             lineage_of(*repository, where.cluster, Lineage{facts.system_id, facts.major}));
  if (facts.in_recovery) {
    return make_error(ErrorKind::precondition, client.where(), "is a standby, which cannot write WAL")
        .with_hint("name its primary with --pg");
  }
  return WalWriter{std::move(repository), std::move(lineage), std::move(client), std::move(facts)};
}

}  // namespace lifeboat::ops
