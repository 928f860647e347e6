#include "ops/dump/load.h"

#include <fcntl.h>

#include <algorithm>
#include <set>

#include "ops/dump/database_itself.h"
#include "ops/dump/refresh_filter.h"
#include "ops/dump/snapshot.h"
#include "ops/dump/stream_store.h"
#include "ops/given_names.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kShown = 10;  // tables that differ
constexpr uint64_t kMostContents = 256 << 20;

// Of a line of pg_restore --list, "3340; 0 16385 TABLE DATA public orders postgres", what stands behind the
// numbers: the kind of the entry, of one word or more, its schema, name and owner. Empty: no entry.
std::string_view entry_in(std::string_view line) {
  for (int number = 0; number < 3; ++number) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return {};
    line.remove_prefix(space + 1);
  }
  return line;
}

// A name with a space may take a line more than was meant, which is rows too many in a throw-away database.
std::string rows_in(const std::string& contents, const std::vector<repo::CountedTable>& tables) {
  std::string lines;
  for (std::string_view line : split(contents, '\n')) {
    const std::string_view entry = entry_in(line);
    bool wanted = entry.starts_with("SEQUENCE SET ");
    for (const repo::CountedTable& table : tables)
      wanted = wanted || entry.starts_with(cat("TABLE DATA ", table.schema, " ", table.table, " "));
    if (wanted) lines += cat(line, "\n");
  }
  return lines.empty() ? std::string(";\n") : lines;
}

std::string harmless_in(const std::string& contents) {
  static constexpr std::string_view kLeftOut[] = {"FK CONSTRAINT ", "EVENT TRIGGER ",          "PUBLICATION ",
                                                  "SUBSCRIPTION ",  "MATERIALIZED VIEW DATA ", "COMMENT ",
                                                  "SECURITY LABEL "};
  std::string lines;
  for (std::string_view line : split(contents, '\n')) {
    const std::string_view entry = entry_in(line);
    auto is = [&](std::string_view kind) { return entry.starts_with(kind); };
    if (!std::ranges::any_of(kLeftOut, is)) lines += cat(line, "\n");
  }
  return lines;
}

}  // namespace

// --- DumpReader

Result<const repo::DumpedDatabase*> DumpReader::database(const std::string& name) const {
  std::vector<std::string> known;
  for (const repo::DumpedDatabase& database : record().databases) {
    if (database.name == name) return &database;
    known.push_back(database.name);
  }
  return no_such_database(name, cat("in dump ", manifest.card.id.text), std::move(known));
}

Result<std::string> DumpReader::text(const std::string& path, const StopToken& stop) const {
  repo::TreeReader tree(repo);
  TRY_ASSIGN(repo::Entry entry, tree.find(manifest.root, path));
  return read_small(repo, manifest.block_size, entry, stop);
}

Status DumpReader::write_out(const std::string& path, const std::string& to, const StopToken& stop) const {
  auto write_file = [&](const repo::Entry& entry, const std::string& file) -> Status {
    TRY_ASSIGN(Fd fd, open_file(file, O_WRONLY | O_CREAT | O_EXCL, 0600));
    TRY(read_stream(repo, manifest.block_size, entry, stop,
                    [&](ByteView bytes) { return write_all(fd.get(), bytes, file); }));
    return fd.close(file);
  };
  repo::TreeReader tree(repo);
  TRY_ASSIGN(repo::Entry entry, tree.find(manifest.root, path));
  if (entry.type == repo::EntryType::file) return write_file(entry, to);
  TRY(create_dirs(to, 0700));
  return tree.list(entry.directory, [&](const repo::Entry& file) -> Status {
    if (file.type != repo::EntryType::file)
      return make_error(ErrorKind::damaged, cat(path, "/", file.name), "is no file");
    return write_file(file, join_path(to, file.name));
  });
}

// --- Loader

Status refuse_older_server(const pg::PgClient& server, const repo::Card& dump) {
  const int major = dump.server_version_num / 10000;
  if (server.major() >= major) return {};
  return make_error(ErrorKind::unsupported, cat("dump ", dump.id.text),
                    cat("is of PostgreSQL ", major, ", and the server is older: ", server.major()))
      .with_hint(cat("restore into a server of PostgreSQL ", major, " or later; nothing was made"));
}

std::string Loader::destination(const std::string& database) const {
  return pg::with_database(options_.destination, database);
}

Result<pg::PgClient> Loader::connect(const std::string& database) const {
  pg::ConnectOptions connect;
  connect.stop = &stop_;
  return pg::PgClient::connect(destination(database), connect);
}

Result<std::vector<SqlStatement>> Loader::about_itself() const {
  TRY_ASSIGN(std::string script, dump_.text(cat("databases/", database_.oid, "/database.sql"), stop_));
  TRY_ASSIGN(std::vector<SqlStatement> statements, split_sql("database.sql", script));
  for (SqlStatement& statement : statements)
    statement = rename_database(statement, database_.name, options_.target);
  if (options_.portable)
    std::erase_if(statements, [](const SqlStatement& one) { return !role_concerned(one).empty(); });
  return statements;
}

Status Loader::create() {
  bool made = false;
  Status done = create_or_not(made);
  if (done) mark();
  if (done || !made) return done;
  StopToken anyway;
  if (auto dropped = Loader(dump_, database_, options_, anyway).drop(); !dropped)
    return std::move(done).error().with_hint(cat(
        "database ", options_.target, " was made and could not be dropped: ", dropped.error().to_string()));
  return done;
}

void Loader::mark() {
  auto client = connect("postgres");
  marked_ = client && client->exec(cat("COMMENT ON DATABASE ", sql_identifier(options_.target), " IS ",
                                       sql_literal(kHalfRestored)));
}

Status Loader::create_or_not(bool& made) {
  TRY_ASSIGN(std::vector<SqlStatement> statements, about_itself());
  TRY_ASSIGN(pg::PgClient client, connect("postgres"));
  for (const SqlStatement& statement : statements) {
    if (!comes_first(statement)) continue;
    auto done = client.exec(options_.tablespaces ? statement.text : without_tablespace(statement).text);
    // The first of them is CREATE DATABASE.
    if (done) made = true;
    if (done) continue;
    if (done.error().kind == ErrorKind::permission)
      return std::move(done)
          .error()
          .within(cat("making database ", options_.target))
          .with_hint(
              "that takes CREATEDB and, for another owner, to be a member of that role or a superuser; "
              "--portable leaves owners away");
    if (made || client.last_sqlstate() != "42P04") return done;
    return make_error(ErrorKind::conflict, options_.target, "is a database of that server already")
        .with_hint(cat("--database ", shell_quote(cat(database_.name, "=NEW")),
                       " restores under a name that is not there"));
  }
  return {};
}

Status Loader::finish() {
  TRY_ASSIGN(std::vector<SqlStatement> statements, about_itself());
  TRY_ASSIGN(pg::PgClient client, connect("postgres"));
  // All or nothing, as the mark goes with it.
  TRY(client.exec("BEGIN"));
  if (marked_) TRY(client.exec(cat("COMMENT ON DATABASE ", sql_identifier(options_.target), " IS NULL")));
  for (const SqlStatement& statement : statements) {
    if (!comes_first(statement)) TRY(client.exec(statement.text));
  }
  return client.exec("COMMIT");
}

Status Loader::drop() {
  if (auto inside = connect(options_.target)) {
    TRY_ASSIGN(
        pg::Rows rows,
        inside->query(
            "select s.subname from pg_catalog.pg_subscription s join pg_catalog.pg_database d on d.oid = "
            "s.subdbid where d.datname = pg_catalog.current_database()"));
    for (int i = 0; i < rows.size(); ++i) {
      const std::string name = sql_identifier(rows.text(i, 0));
      TRY(inside->exec(cat("alter subscription ", name, " disable")));
      TRY(inside->exec(cat("alter subscription ", name, " set (slot_name = none)")));
      TRY(inside->exec(cat("drop subscription ", name)));
    }
  }
  TRY_ASSIGN(pg::PgClient client, connect("postgres"));
  return client.exec(cat("drop database if exists ", sql_identifier(options_.target), " with (force)"));
}

Status Loader::load() {
  if (dump_.manifest.card.dump->chosen_tables) TRY(make_schemas());
  if (options_.cut_off && dump_.manifest.card.dump->format != repo::DumpFormat::plain) return load_cut_off();
  switch (dump_.manifest.card.dump->format) {
    case repo::DumpFormat::plain:
      return load_plain();
    case repo::DumpFormat::custom:
      return options_.jobs == 1 ? load_piped() : load_spooled();
    case repo::DumpFormat::directory:
      return load_spooled();
  }
  return {};
}

// pg_dump of chosen tables does not dump the schemas that they stand in.
Status Loader::make_schemas() {
  std::set<std::string> schemas;
  for (const repo::CountedTable& table : database_.tables) schemas.insert(table.schema);
  TRY_ASSIGN(pg::PgClient client, connect(options_.target));
  for (const std::string& schema : schemas)
    TRY(client.exec(cat("create schema if not exists ", sql_identifier(schema))));
  return {};
}

Status Loader::load_plain() {
  repo::TreeReader tree(dump_.repo);
  TRY_ASSIGN(repo::Entry file,
             tree.find(dump_.manifest.root, cat("databases/", database_.oid, "/plain.sql")));
  // Without ON_ERROR_STOP psql ends with 0 whatever failed; terse, it does not show the line, which may hold
  // a password.
  TRY_ASSIGN(Program program,
             Program::start({options_.client.program("psql"), "--no-psqlrc", "--quiet", "--no-password",
                             "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse", "--output=/dev/null",
                             cat("--dbname=", destination(options_.target))},
                            Program::Pipe::to));
  RefreshFilter filter;
  TRY(read_stream(dump_.repo, dump_.manifest.block_size, file, stop_, [&](ByteView bytes) -> Status {
    return options_.cut_off ? program.write(as_bytes(filter.pass(as_text(bytes))), stop_)
                            : program.write(bytes, stop_);
  }));
  if (options_.cut_off) TRY(program.write(as_bytes(filter.rest()), stop_));
  TRY(program.finish(stop_));
  return refresh(filter.taken());
}

std::vector<std::string> Loader::pg_restore() const {
  std::vector<std::string> argv = {options_.client.program("pg_restore"), "--exit-on-error", "--no-password",
                                   cat("--dbname=", destination(options_.target))};
  if (options_.portable) argv.insert(argv.end(), {"--no-owner", "--no-privileges"});
  if (!options_.tablespaces) argv.emplace_back("--no-tablespaces");
  return argv;
}

Status Loader::load_piped() {
  repo::TreeReader tree(dump_.repo);
  TRY_ASSIGN(repo::Entry file, tree.find(dump_.manifest.root, cat("databases/", database_.oid, "/archive")));
  std::vector<std::string> argv = pg_restore();
  argv.emplace_back("--format=custom");
  TRY_ASSIGN(Program program, Program::start(std::move(argv), Program::Pipe::to));
  TRY(read_stream(dump_.repo, dump_.manifest.block_size, file, stop_,
                  [&](ByteView bytes) { return program.write(bytes, stop_); }));
  return program.finish(stop_);
}

Result<std::string> Loader::spool_archive(const Spool& spool) {
  TRY(spool.require(database_.bytes));
  const bool directory = dump_.manifest.card.dump->format == repo::DumpFormat::directory;
  std::string place = join_path(spool.path(), "archive");
  TRY(dump_.write_out(cat("databases/", database_.oid, directory ? "/directory" : "/archive"), place, stop_));
  return place;
}

Status Loader::load_spooled() {
  TRY_ASSIGN(Spool spool, Spool::make(options_.spool));
  TRY_ASSIGN(std::string place, spool_archive(spool));
  std::vector<std::string> argv = pg_restore();
  argv.push_back(cat("--jobs=", options_.jobs));
  argv.push_back(std::move(place));
  return run_program(std::move(argv), stop_);
}

// Views are filled one by one at the end, so that it is known which of them cannot be.
Status Loader::load_cut_off() {
  TRY_ASSIGN(Spool spool, Spool::make(options_.spool));
  TRY_ASSIGN(std::string place, spool_archive(spool));
  TRY_ASSIGN(std::string contents,
             program_output({options_.client.program("pg_restore"), "--list", place}, kMostContents, stop_));
  std::string views;
  std::string others;
  for (std::string_view line : split(contents, '\n')) {
    const bool fills = line.find(" MATERIALIZED VIEW DATA ") != std::string_view::npos;
    (fills ? views : others) += cat(line, "\n");
  }
  const std::string list = join_path(spool.path(), "list");
  TRY(write_file_durable(list, as_bytes(others), 0600));
  std::vector<std::string> argv = pg_restore();
  argv.insert(argv.end(), {cat("--jobs=", options_.jobs), cat("--use-list=", list), place});
  TRY(run_program(std::move(argv), stop_));
  if (views.empty()) return {};
  TRY(write_file_durable(list, as_bytes(views), 0600));
  TRY_ASSIGN(std::string script, program_output({options_.client.program("pg_restore"), "--file=-",
                                                 cat("--use-list=", list), place},
                                                kMostContents, stop_));
  TRY_ASSIGN(std::vector<SqlStatement> statements, split_sql("pg_restore", script));
  std::vector<std::string> refreshes;
  for (const SqlStatement& statement : statements)
    if (statement.begins({"refresh"})) refreshes.push_back(statement.text);
  return refresh(refreshes);
}

Status Loader::refresh(const std::vector<std::string>& statements) {
  if (statements.empty()) return {};
  TRY_ASSIGN(pg::PgClient client, connect(options_.target));
  for (const std::string& statement : statements) {
    auto done = client.exec(statement);
    if (done) continue;
    // Connection exceptions, those of foreign-data wrappers, and a view on one that was left empty.
    const std::string state(client.last_sqlstate());
    const bool needs_others =
        state.starts_with("08") || state.starts_with("HV") || (state == "55000" && !left_out_.empty());
    if (!needs_others || !client.alive()) return done;
    left_out_.push_back(cat(statement, ": ", done.error().to_string()));
  }
  return {};
}

Status Loader::load_tables(const ChooseTables& choose) {
  if (dump_.manifest.card.dump->chosen_tables) TRY(make_schemas());
  if (dump_.manifest.card.dump->format == repo::DumpFormat::plain) {
    TRY(load_plain());
    TRY(choose());
    return {};
  }
  TRY_ASSIGN(Spool spool, Spool::make(options_.spool));
  TRY_ASSIGN(std::string place, spool_archive(spool));
  const std::string list = join_path(spool.path(), "list");
  auto restore = [&](std::string_view section, const std::string& use) -> Status {
    std::vector<std::string> argv = pg_restore();
    argv.push_back(cat("--section=", section));
    if (!use.empty()) {
      TRY(write_file_durable(list, as_bytes(use), 0600));
      argv.push_back(cat("--use-list=", list));
    }
    argv.push_back(place);
    return run_program(std::move(argv), stop_);
  };
  TRY_ASSIGN(std::string contents,
             program_output({options_.client.program("pg_restore"), "--list", place}, kMostContents, stop_));
  TRY(restore("pre-data", ""));
  TRY_ASSIGN(std::vector<repo::CountedTable> tables, choose());
  TRY(restore("data", rows_in(contents, tables)));
  return restore("post-data", harmless_in(contents));
}

Status Loader::analyze() {
  TRY_ASSIGN(pg::PgClient client, connect(options_.target));
  if (!options_.cut_off) return client.exec("analyze");
  // Of a partitioned table the foreign partitions would be asked too.
  TRY_ASSIGN(
      pg::Rows rows,
      client.query("select n.nspname, c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n "
                   "on n.oid = c.relnamespace where c.relkind in ('r', 'm') and c.relispopulated and "
                   "c.relpersistence <> 't' and not exists (select from pg_catalog.pg_inherits i where "
                   "i.inhparent = c.oid)"));
  for (int i = 0; i < rows.size(); ++i)
    TRY(client.exec(cat("analyze ", sql_identifier(rows.text(i, 0)), ".", sql_identifier(rows.text(i, 1)))));
  return {};
}

Status Loader::compare(RestoredDatabase& restored) {
  TRY_ASSIGN(pg::PgClient client, connect(options_.target));
  std::vector<std::string> different;
  for (const repo::CountedTable& table : database_.tables) {
    TRY_ASSIGN(int64_t rows, count_rows(client, table));
    restored.rows += rows;
    ++restored.tables;
    if (rows != table.rows)
      different.push_back(cat(qualified_name(table), " has ", rows, " rows, expected ", table.rows));
  }
  if (different.empty()) return {};
  const size_t count = different.size();
  different.resize(std::min(count, kShown));
  return make_error(ErrorKind::check_failed, options_.target,
                    cat(counted(count, "table"), " differ from the dump: ", join(different, "; ")));
}

}  // namespace lifeboat::ops
