#include "ops/backup/change_names.h"

#include <map>
#include <vector>

#include "ops/backup/catalog.h"
#include "ops/backup/source.h"
#include "pg/client/client.h"
#include "pg/files/entry.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kTree = "pgdata/";
constexpr int64_t kStatementTimeoutMs =
    5'000;  // a name is not worth more: somebody may hold a lock on pg_class

// A table's toast relation is named after the table.
constexpr std::string_view kNamesSql =
    "select f.i, coalesce(o.relnamespace::regnamespace::text || '.' || o.relname || ' (toast)',"
    " c.relnamespace::regnamespace::text || '.' || c.relname)"
    " from unnest($1::oid[], $2::oid[]) with ordinality f(space, node, i)"
    " join pg_catalog.pg_class c on c.oid = pg_catalog.pg_filenode_relation(f.space, f.node)"
    " left join pg_catalog.pg_class o on o.reltoastrelid = c.oid";

struct Unnamed {
  repo::ChangeCount* count;
  Oid tablespace;
  std::string node;
};

Status ask(const std::string& conninfo, const std::string& database, const std::vector<Unnamed>& unnamed,
           const StopToken& stop) {
  pg::ConnectOptions connect = connect_options(stop);
  connect.statement_timeout_ms = kStatementTimeoutMs;
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(pg::with_database(conninfo, database), connect));
  std::vector<std::string> spaces;
  std::vector<std::string> nodes;
  for (const Unnamed& one : unnamed) {
    spaces.push_back(cat(one.tablespace));
    nodes.push_back(one.node);
  }
  TRY_ASSIGN(pg::Rows rows, client.query(std::string(kNamesSql), {cat("{", join(spaces, ","), "}"),
                                                                  cat("{", join(nodes, ","), "}")}));
  for (int row = 0; row < rows.size(); ++row) {
    uint64_t number = rows.u64(row, 0).value_or(0);
    if (number >= 1 && number <= unnamed.size())
      unnamed[number - 1].count->name = cat(database, ".", rows.text(row, 1));
  }
  return {};
}

std::optional<pg::RelationDirectory> place_of(std::string_view path) {
  if (!path.starts_with(kTree)) return std::nullopt;
  return pg::RelationDirectory::parse(path.substr(kTree.size()));
}

}  // namespace

void name_changes(const std::string& conninfo, repo::Manifest& manifest, const StopToken& stop) {
  std::map<Oid, std::string> databases;
  for (const repo::DatabaseInfo& database : manifest.databases) databases[database.oid] = database.name;
  for (repo::ChangeCount& directory : manifest.changed_directories) {
    auto place = place_of(directory.path);
    if (place && databases.contains(place->database)) directory.name = databases[place->database];
  }
  std::map<std::string, std::vector<Unnamed>> asked;
  for (repo::ChangeCount& relation : manifest.changed_relations) {
    size_t slash = relation.path.rfind('/');
    auto place = place_of(std::string_view(relation.path).substr(0, slash));
    if (!place) continue;
    // Shared catalogues are known in every database; whichever can be asked will do.
    std::string database = databases.contains(place->database) ? databases[place->database] : "postgres";
    asked[database].push_back({&relation, place->tablespace, relation.path.substr(slash + 1)});
  }
  for (const auto& [database, unnamed] : asked) {
    if (!ask(conninfo, database, unnamed, stop)) continue;
  }
}

}  // namespace lifeboat::ops
