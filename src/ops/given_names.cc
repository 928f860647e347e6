#include "ops/given_names.h"

#include <algorithm>
#include <cctype>

#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kMostListed = 20;

std::string_view nearest_of(std::string_view typed, const std::vector<std::string>& known) {
  return nearest(typed, std::vector<std::string_view>(known.begin(), known.end()));
}

std::string sentences(std::string first, std::string_view second) {
  if (!first.empty() && !second.empty()) first += " ";
  return first + std::string(second);
}

std::string full_name(const KnownTable& table) {
  return cat(name_in_sql(table.schema), ".", name_in_sql(table.table));
}

// Tables of that name in other schemas first: who gives no schema means what search_path has.
std::vector<std::string> meant(std::string_view name, const std::vector<KnownTable>& known) {
  auto given = parse_given_table(name);
  if (!given) return {};
  std::vector<std::string> names;
  auto take = [&](std::string_view table) {
    for (const KnownTable& one : known) {
      if (one.table == table) names.push_back(full_name(one));
    }
  };
  take(given->table);
  if (!names.empty()) return names;
  std::vector<std::string> bare;
  std::vector<std::string> of_schema;
  for (const KnownTable& one : known) {
    bare.push_back(one.table);
    if (one.schema == given->schema) of_schema.push_back(one.table);
  }
  if (std::string_view near = nearest_of(given->table, of_schema); !near.empty())
    return {full_name({given->schema, std::string(near)})};
  take(nearest_of(given->table, bare));
  return names;
}

}  // namespace

Result<GivenTable> parse_given_table(std::string_view text) {
  auto bad = [&](std::string_view why) {
    return make_error(ErrorKind::usage, std::string(text), std::string(why))
        .with_hint(
            "TABLE or SCHEMA.TABLE, as SQL writes them: a name with capitals, dots or blanks in quotes");
  };
  std::vector<std::string> parts(1);
  bool quoted = false;
  bool was_quoted = false;  // the part that is read
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      const bool doubled = quoted && at + 1 < text.size() && text[at + 1] == '"';
      if (doubled) {
        parts.back() += text[++at];
      } else {
        quoted = !quoted;
        was_quoted = true;
      }
    } else if (quoted) {
      parts.back() += c;
    } else if (c == '.') {
      if (parts.back().empty()) return bad("a part of the name is empty");
      parts.emplace_back();
      was_quoted = false;
    } else if (was_quoted) {
      return bad("something follows a name in quotes");
    } else if (c == ' ' || c == '\t') {
      return bad("a blank stands outside of quotes");
    } else {
      parts.back() += to_lower(std::string_view(&c, 1));
    }
  }
  if (quoted) return bad("a quote that does not end");
  if (parts.back().empty()) return bad("a part of the name is empty");
  if (parts.size() > 3) return bad("has more than three parts");
  GivenTable given;
  given.table = std::move(parts.back());
  if (parts.size() >= 2) given.schema = std::move(parts[parts.size() - 2]);
  if (parts.size() == 3) given.database = std::move(parts.front());
  return given;
}

Result<GivenTables> read_given_tables(const std::vector<std::string>& tables,
                                      const std::optional<std::string>& database, std::string_view usual) {
  GivenTables given;
  std::optional<std::string> chosen = database;
  for (const std::string& text : tables) {
    TRY_ASSIGN(GivenTable table, parse_given_table(text));
    if (table.database.empty()) {
      given.tables.push_back(text);
      continue;
    }
    if (chosen && *chosen != table.database)
      return make_error(ErrorKind::usage, cat("--table ", text),
                        cat("is not in database ", *chosen, ", which was given too"))
          .with_hint("one command brings tables of one database");
    chosen = table.database;
    given.tables.push_back(cat(name_in_sql(table.schema), ".", name_in_sql(table.table)));
  }
  given.database = chosen.value_or(std::string(usual));
  return given;
}

std::string name_in_sql(std::string_view name) {
  auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  const bool begins = !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0;
  return begins && std::ranges::all_of(name, plain) ? std::string(name) : sql_identifier(name);
}

std::string listed_names(const std::vector<std::string>& names) {
  std::vector<std::string> some(names.begin(), names.begin() + std::min(names.size(), kMostListed));
  std::string text = join(some, ", ");
  if (names.size() > some.size()) text += cat(" and ", names.size() - some.size(), " more");
  return text;
}

Error no_such_database(std::string_view name, std::string_view where, std::vector<std::string> known,
                       std::string_view hint) {
  std::ranges::sort(known);
  const std::string_view near = nearest_of(name, known);
  return make_error(ErrorKind::not_found, cat("database \"", name, "\""),
                    cat("does not exist ", where, known.empty() ? "" : "; there are: ", listed_names(known)))
      .with_hint(sentences(near.empty() ? "" : cat("did you mean ", near, "?"), hint));
}

Error no_such_table(std::string_view name, std::string_view what, const std::vector<KnownTable>& known,
                    std::string_view hint) {
  const std::vector<std::string> near = meant(name, known);
  std::string there;
  if (near.empty() && known.size() <= kMostListed && !known.empty()) {
    std::vector<std::string> names;
    for (const KnownTable& one : known) names.push_back(full_name(one));
    std::ranges::sort(names);
    there = cat("; there are: ", join(names, ", "));
  }
  return make_error(ErrorKind::not_found, cat("table ", name), cat(what, there))
      .with_hint(sentences(near.empty() ? "" : cat("did you mean ", join(near, " or "), "?"), hint));
}

Result<std::vector<std::string>> list_databases(pg::PgClient& client) {
  TRY_ASSIGN(pg::Rows rows, client.query("select datname from pg_catalog.pg_database where datallowconn and "
                                         "not datistemplate order by datname"));
  std::vector<std::string> names;
  for (int i = 0; i < rows.size(); ++i) names.emplace_back(rows.text(i, 0));
  return names;
}

Result<std::vector<KnownTable>> list_tables(pg::PgClient& client) {
  TRY_ASSIGN(
      pg::Rows rows,
      client.query("select n.nspname, c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n "
                   "on n.oid = c.relnamespace where c.relkind in ('r', 'p') and c.relpersistence <> 't' and "
                   "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_' order by "
                   "1, 2"));
  std::vector<KnownTable> tables;
  for (int i = 0; i < rows.size(); ++i)
    tables.push_back({std::string(rows.text(i, 0)), std::string(rows.text(i, 1))});
  return tables;
}

Result<pg::PgClient> connect_to_database(const std::string& conninfo, const std::string& database,
                                         std::string_view where, const pg::ConnectOptions& options,
                                         std::string_view hint) {
  auto connected = pg::PgClient::connect(pg::with_database(conninfo, database), options);
  if (connected) return connected;
  // Before authentication a server answers in words only, in its own language; the name is among them.
  const Error& error = connected.error();
  const bool answered = error.kind == ErrorKind::server || error.cause.find(database) != std::string::npos;
  if (!answered || error.kind == ErrorKind::cancelled) return connected;
  auto asked = pg::PgClient::connect(pg::with_database(conninfo, "postgres"), options);
  if (!asked) return connected;
  auto there = asked->value("select count(*) from pg_catalog.pg_database where datname = $1", {database});
  if (!there || *there != "0") return connected;
  TRY_ASSIGN(std::vector<std::string> known, list_databases(*asked));
  return no_such_database(database, where, std::move(known), hint);
}

}  // namespace lifeboat::ops
