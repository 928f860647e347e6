// Databases and tables as somebody named them on a command line. One that is not there is told in one line,
// with what there is and what was probably meant.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pg/client/client.h"
#include "util/result.h"

namespace lifeboat::ops {

// Parts are as SQL reads them: without quotes, in lower case where they had none. Empty: not given.
struct GivenTable {
  std::string database;
  std::string schema;
  std::string table;
};
// TABLE, SCHEMA.TABLE or DATABASE.SCHEMA.TABLE. Errors: usage.
Result<GivenTable> parse_given_table(std::string_view text);

// What `--database` and names of tables that begin with a database say together.
struct GivenTables {
  std::string database;
  std::vector<std::string> tables;  // TABLE or SCHEMA.TABLE
};
// `database`: as it was given by itself; none: that of the tables, else `usual`. Errors: usage (a name that
// SQL could not read, two databases).
Result<GivenTables> read_given_tables(const std::vector<std::string>& tables,
                                      const std::optional<std::string>& database, std::string_view usual);

// As SQL needs it: orders, "Orders".
std::string name_in_sql(std::string_view name);

// The first twenty, and how many more: app, shop and 3 more.
std::string listed_names(const std::vector<std::string>& names);

// not_found: `database "shpo": does not exist at the target; there are: app, shop`. The hint is what was
// probably meant, and `hint`.
Error no_such_database(std::string_view name, std::string_view where, std::vector<std::string> known,
                       std::string_view hint = "");
// A table of those that there are.
struct KnownTable {
  std::string schema;
  std::string table;
};
// not_found: `table odrers: does not exist in database shop`, or what `what` says of it.
Error no_such_table(std::string_view name, std::string_view what, const std::vector<KnownTable>& known,
                    std::string_view hint = "");

// Databases of a server that can be connected to, but for templates.
Result<std::vector<std::string>> list_databases(pg::PgClient& client);
// Tables of the database that `client` is connected to, not those of the system.
Result<std::vector<KnownTable>> list_tables(pg::PgClient& client);
// Connects to `database` of the server of `conninfo`. Errors: not_found when it is not there; `where` and
// `hint` as above; else those of connecting.
Result<pg::PgClient> connect_to_database(const std::string& conninfo, const std::string& database,
                                         std::string_view where, const pg::ConnectOptions& options,
                                         std::string_view hint = "");

}  // namespace lifeboat::ops
