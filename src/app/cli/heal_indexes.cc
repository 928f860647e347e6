// lifeboat heal indexes: indexes that are invalid or sorted by another version of a collation.
#include "app/cli/heal_indexes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/reporter.h"
#include "util/strings.h"

namespace lifeboat::app {

using Json = nlohmann::ordered_json;

Json indexes_json(const std::vector<ops::DoubtfulIndex>& indexes) {
  Json list = Json::array();
  for (const ops::DoubtfulIndex& index : indexes) {
    list.push_back({{"database", index.database},
                    {"index", index.index},
                    {"table", index.table},
                    {"method", index.method},
                    {"bytes", index.bytes},
                    {"doubt", to_string(index.doubt)},
                    {"detail", index.detail},
                    {"rebuilt", index.rebuilt},
                    {"seconds", index.seconds},
                    {"problem", index.problem.empty() ? Json(nullptr) : Json(index.problem)}});
  }
  return list;
}

std::string indexes_text(const std::vector<ops::DoubtfulIndex>& indexes) {
  Table table(
      {{"database"}, {"index"}, {"table"}, {"method"}, {"size", Align::right}, {"doubt"}, {"result"}});
  for (const ops::DoubtfulIndex& index : indexes) {
    std::string doubt(to_string(index.doubt));
    if (!index.detail.empty()) doubt += cat(" ", index.detail);
    std::string result = !index.problem.empty() ? index.problem
                         : !index.rebuilt       ? ""
                         : index.doubt == ops::IndexDoubt::leftover
                             ? "dropped"
                             : cat("rebuilt in ", format_seconds(index.seconds));
    table.add(
        {index.database, index.index, index.table, index.method, format_bytes(index.bytes), doubt, result});
  }
  return table.empty() ? "" : table.to_string();
}

std::function<Status(pg::PgServer&)> look_at_restored_indexes(const Invocation& invocation,
                                                              std::vector<ops::DoubtfulIndex>& indexes) {
  return [&invocation, &indexes](pg::PgServer& server) -> Status {
    OutputReporter reporter(invocation.output());
    auto looked_at = [&]() -> Status {
      TRY_ASSIGN(indexes, ops::find_doubtful_indexes(server.conninfo(), invocation.stop()));
      if (!invocation.flag("rebuild-indexes")) return {};
      return ops::rebuild_indexes(server.conninfo(), indexes, reporter, invocation.stop());
    }();
    if (looked_at || looked_at.error().kind == ErrorKind::cancelled) return looked_at;
    invocation.output().note(LogLevel::warning, cat("the restored indexes: ", looked_at.error().to_string()));
    return {};
  };
}

std::string restored_indexes_text(const std::vector<ops::DoubtfulIndex>& indexes, int port,
                                  const std::string& socket_directory) {
  if (indexes.empty()) return "";
  std::string text = cat("indexes in doubt:\n", indexes_text(indexes));
  if (std::ranges::count(indexes, false, &ops::DoubtfulIndex::rebuilt) != 0)
    text += cat("rebuild them: lifeboat heal indexes --rebuild --pg ",
                shell_quote(cat("host=", socket_directory, " port=", port)), "\n");
  return text;
}

namespace {

Result<int> handle(const Invocation& invocation) {
  const std::string conninfo = invocation.conninfo();
  OutputReporter reporter(invocation.output());
  TRY_ASSIGN(auto indexes, ops::find_doubtful_indexes(conninfo, invocation.stop()));
  const bool rebuild = invocation.flag("rebuild");
  if (rebuild) TRY(ops::rebuild_indexes(conninfo, indexes, reporter, invocation.stop()));
  invocation.output().text(indexes.empty() ? "no index is in doubt\n" : indexes_text(indexes));
  invocation.output().document(to_json_text(Json{{"indexes", indexes_json(indexes)}}));
  const auto left = static_cast<size_t>(std::ranges::count(indexes, false, &ops::DoubtfulIndex::rebuilt));
  if (left == 0) return 0;
  Error error =
      make_error(ErrorKind::check_failed, "indexes", cat(left, left == 1 ? " is in doubt" : " are in doubt"));
  return rebuild ? std::move(error) : std::move(error).with_hint("rebuild them: heal indexes --rebuild");
}

constexpr Option kOwn[] = {
    {.name = "rebuild",
     .help =
         "rebuild them one by one with REINDEX CONCURRENTLY, drop what an earlier one left, and bring the "
         "recorded versions of collations up to date"},
};
constinit const OptionGroup kGroup = {"Heal", kOwn};

}  // namespace

extern const Command kHealIndexesCommand;
constinit const Command kHealIndexesCommand = {
    .path = "heal indexes",
    .summary = "find indexes that are invalid or sorted by another version of a collation; rebuild them",
    .description =
        "Looks at every database of the server (--pg): at indexes that PostgreSQL marks as invalid, and at "
        "those "
        "whose columns, expressions or predicates depend on a collation whose recorded version is not this "
        "host's. "
        "After a restore on a host with another C library or ICU such an index misses rows that are there, "
        "without "
        "an error. Indexes of every access method count, those of extensions too.\n\n"
        "With --rebuild each is rebuilt concurrently, so that reading and writing goes on, and its time is "
        "told; "
        "indexes of system catalogues are rebuilt with a lock. The version of the database's own collation "
        "is known "
        "from PostgreSQL 15 on.",
    .danger = Danger::write,
    .groups = {&kGroup, &kServerOptions, &kGeneralOptions},
    .examples =
        "lifeboat heal indexes --pg 'host=/var/run/postgresql port=5433'\n"
        "lifeboat heal indexes --pg 'host=/var/run/postgresql port=5433' --rebuild",
    .exit_notes = "17: indexes are in doubt, or could not all be rebuilt.",
    .schema = R"({
  "type": "object",
  "required": ["indexes"],
  "properties": {
    "indexes": {"type": "array", "items": {
      "type": "object",
      "required": ["database", "index", "table", "method", "bytes", "doubt", "detail", "rebuilt", "seconds", "problem"],
      "properties": {
        "database": {"type": "string"},
        "index": {"type": "string", "description": "quoted, with its schema"},
        "table": {"type": "string"},
        "method": {"type": "string", "description": "access method"},
        "bytes": {"type": "integer"},
        "doubt": {"enum": ["invalid", "leftover", "collation"], "description": "leftover: of a REINDEX CONCURRENTLY, dropped by --rebuild"},
        "detail": {"type": "string"},
        "rebuilt": {"type": "boolean"},
        "seconds": {"type": "number", "description": "that rebuilding took"},
        "problem": {"type": ["string", "null"]}
      }}}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
