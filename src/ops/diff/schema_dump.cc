#include "ops/diff/schema_dump.h"

#include <algorithm>

#include "ops/dump/program.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kReadBytes = 256 << 10;
constexpr size_t kMostTables = 5000;  // a command line holds 2 MiB, a name up to 130 bytes and more in quotes
constexpr int kLockWaitMs = 30'000;
constexpr int kFirstWithStatistics = 18;

Result<std::vector<std::string>> command_line(pg::PgClient& client, const SchemaDumpOptions& options) {
  TRY_ASSIGN(auto snapshot, client.value("select pg_catalog.pg_export_snapshot()"));
  std::vector<std::string> argv = {options.client.program("pg_dump"),
                                   "--schema-only",
                                   "--no-password",
                                   "--encoding=UTF8",
                                   cat("--lock-wait-timeout=", kLockWaitMs),
                                   cat("--snapshot=", snapshot.value_or(""))};
  if (options.whole) argv.emplace_back("--create");
  if (!options.subscriptions) argv.emplace_back("--no-subscriptions");
  if (options.client.major >= kFirstWithStatistics) argv.emplace_back("--no-statistics");
  for (const std::string& table : options.tables) argv.push_back(cat("--table=", table));
  argv.push_back(cat("--dbname=", options.conninfo));
  return argv;
}

}  // namespace

Result<SchemaText::Objects> dump_schema(pg::PgClient& client, const SchemaDumpOptions& options,
                                        std::vector<std::string>& notes, const StopToken& stop) {
  if (!options.whole && options.tables.empty()) return SchemaText::Objects();
  if (options.tables.size() > kMostTables)
    return make_error(ErrorKind::unsupported, "schema",
                      cat(options.tables.size(), " tables are more than pg_dump can be asked for by name"));
  TRY_ASSIGN(std::vector<std::string> argv, command_line(client, options));
  TRY_ASSIGN(Program program, Program::start(std::move(argv), Program::Pipe::from));
  SchemaText text;
  Bytes buffer(kReadBytes);
  while (true) {
    TRY_ASSIGN(size_t got, program.read(buffer, stop));
    TRY(text.feed(as_text(ByteView(buffer.data(), got))));
    if (got < buffer.size()) break;
  }
  TRY(program.finish(stop));
  if (std::string words = program.said(); !words.empty() && std::ranges::find(notes, words) == notes.end())
    notes.push_back(std::move(words));
  TRY(text.finish());
  return std::move(text).take();
}

}  // namespace lifeboat::ops
