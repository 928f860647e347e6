#include "ready/recover/validate.h"

#include <algorithm>
#include <initializer_list>

#include "ops/archive_setting.h"
#include "pg/client/client.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr int64_t kStatementMs = 60'000;

Status look_into(const std::string& conninfo, const std::string& database, const pg::ConnectOptions& options,
                 Validation& validation) {
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(pg::with_database(conninfo, database), options));
  TRY_ASSIGN(auto relations, client.value("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'm', 'p')"));
  if (auto number = parse_i64(relations.value_or(""))) validation.relations += *number;
  TRY_ASSIGN(pg::Rows invalid, client.query("SELECT n.nspname || '.' || c.relname FROM pg_index i"
                                            " JOIN pg_class c ON c.oid = i.indexrelid"
                                            " JOIN pg_namespace n ON n.oid = c.relnamespace"
                                            " WHERE NOT i.indisvalid ORDER BY 1"));
  for (int row = 0; row < invalid.size(); ++row)
    validation.invalid_indexes.push_back(cat(database, ": ", invalid.text(row, 0)));
  return {};
}

// SQLSTATE classes XX and 58, and what a server says before the protocol knows one. Of a role that may not
// in, of a time-out and of a server that is full nothing follows for the data.
bool says_it_is_broken(const Error& error) {
  const std::string text = error.to_string();
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{"(XX", "(58", "could not open file", "could not read",
                                              "invalid page", "is missing", "cache lookup failed",
                                              "could not find"},
      [&](std::string_view phrase) { return text.find(phrase) != std::string::npos; });
}

Status ask(const std::string& conninfo, const pg::ConnectOptions& options, Validation& validation) {
  TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(conninfo, options));
  TRY_ASSIGN(pg::Rows rows, client.query("SELECT pg_is_in_recovery(), current_setting('archive_mode'),"
                                         " current_setting('archive_command')"));
  validation.answers = true;
  validation.in_recovery = rows.truth(0, 0);
  validation.archives = rows.text(0, 1) != "off" && !ops::stores_nothing(rows.text(0, 2));
  TRY_ASSIGN(pg::Rows databases,
             client.query("SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2"
                          " ORDER BY datname"));  // -2: a DROP DATABASE was interrupted
  validation.databases = databases.size();
  for (int row = 0; row < databases.size(); ++row) {
    const std::string name(databases.text(row, 0));
    auto looked = look_into(conninfo, name, options, validation);
    if (looked) continue;
    auto& told = says_it_is_broken(looked.error()) ? validation.broken : validation.not_looked_at;
    told.push_back(cat(name, ": ", looked.error().to_string()));
  }
  return {};
}

}  // namespace

Result<Validation> validate_server(const std::string& conninfo, const StopToken& stop) {
  const int64_t began_us = Clock::system().monotonic_us();
  Validation validation;
  pg::ConnectOptions options;
  options.application_name = "lifeboat recover";
  options.statement_timeout_ms = kStatementMs;
  options.stop = &stop;
  if (auto asked = ask(conninfo, options, validation); !asked) {
    if (asked.error().kind == ErrorKind::cancelled) return std::move(asked).error();
    validation.problem = asked.error().to_string();
  }
  validation.seconds = static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
  return validation;
}

Status validate_archiving(const ops::WalCheckRequest& request, Validation& validation, Reporter& reporter,
                          StopToken& stop) {
  auto checked = ops::check_wal(request, reporter, stop);
  if (!checked && checked.error().kind == ErrorKind::cancelled) return std::move(checked).error();
  if (!checked) {
    validation.archiving_problem = checked.error().to_string();
  } else if (checked->failure) {
    validation.archiving_problem = checked->failure->to_string();
  } else {
    validation.archived_seconds = checked->seconds;
  }
  return {};
}

}  // namespace lifeboat::ready
