#include "ops/heal/amcheck.h"

#include <algorithm>
#include <set>

#include "ops/given_names.h"
#include "ops/same_server.h"
#include "pg/client/client.h"
#include "pg/client/facts.h"
#include "pg/server/postmaster.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr int kFirstWithVerifyHeapam = 14;
constexpr int64_t kLockTimeoutMs = 10'000;
constexpr size_t kMostFindings = 1000;
constexpr size_t kMostNotChecked = 1000;
constexpr std::string_view kExtensionHint =
    "make it in each database to be checked, as a superuser: CREATE EXTENSION amcheck (package "
    "postgresql-contrib); lifeboat makes nothing in a database that was not asked for";

// Class XX is an internal error or corrupted data, 58 the system's (src/backend/utils/errcodes.txt); all else
// is no answer.
bool tells_damage(std::string_view sqlstate) {
  return sqlstate.starts_with("XX") || sqlstate.starts_with("58");
}

struct Relation {
  std::string oid;
  std::string schema;
  std::string name;
  std::string owner_schema;  // the table that it belongs to, or itself
  std::string owner;
  std::string quoted;
  AmcheckKind kind = AmcheckKind::table;
  bool shared = false;
  bool catalogue = false;
  std::string file;
};

constexpr std::string_view kRelationsSql =
    "select c.oid, n.nspname, c.relname, o.nspname, coalesce(m.relname, t.relname),"
    " pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind, c.relisshared, t.oid < 16384 or"
    " coalesce(m.oid < 16384, false), pg_catalog.pg_relation_filepath(c.oid)"
    " from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    " left join pg_catalog.pg_index i on i.indexrelid = c.oid"
    " join pg_catalog.pg_class t on t.oid = coalesce(i.indrelid, c.oid)"
    " left join pg_catalog.pg_class m on t.relkind = 't' and m.reltoastrelid = t.oid"
    " join pg_catalog.pg_namespace o on o.oid = coalesce(m.relnamespace, t.relnamespace)"
    " left join pg_catalog.pg_am a on a.oid = c.relam where c.relpersistence = 'p'"
    " and (c.relkind = 'i' and a.amname = 'btree' and i.indisready and i.indisvalid"
    " or c.relkind in ('r', 'm', 't') and a.amname = 'heap') order by c.relkind = 'i', c.oid";

Relation relation_of(const pg::Rows& rows, int row) {
  Relation relation;
  relation.oid = rows.text(row, 0);
  relation.schema = rows.text(row, 1);
  relation.name = rows.text(row, 2);
  relation.owner_schema = rows.text(row, 3);
  relation.owner = rows.text(row, 4);
  relation.quoted = rows.text(row, 5);
  const std::string_view kind = rows.text(row, 6);
  relation.kind = kind == "i" ? AmcheckKind::index : kind == "t" ? AmcheckKind::toast : AmcheckKind::table;
  relation.shared = rows.truth(row, 7);
  relation.catalogue = rows.truth(row, 8);
  relation.file = rows.text(row, 9);
  return relation;
}

bool names(const GivenTable& given, std::string_view database, const Relation& relation) {
  auto is = [&](std::string_view schema, std::string_view name) {
    return given.table == name && (given.schema.empty() || given.schema == schema);
  };
  return (given.database.empty() || given.database == database) &&
         (is(relation.schema, relation.name) || is(relation.owner_schema, relation.owner));
}

class AmcheckScanner {
 public:
  AmcheckScanner(const AmcheckRequest& request, Reporter& reporter, const StopToken& stop)
      : request_(request), reporter_(reporter), stop_(stop) {
    options_.stop = &stop;
  }

  Result<AmcheckScan> run() {
    for (const std::string& text : request_.relations) {
      TRY_ASSIGN(GivenTable given, parse_given_table(text));
      wanted_.push_back(std::move(given));
    }
    met_.resize(wanted_.size());
    std::vector<std::string> databases;
    {
      TRY_ASSIGN(pg::PgClient client, pg::PgClient::connect(request_.conninfo, options_));
      TRY(check_same_server(client));
      TRY_ASSIGN(databases, list_databases(client));
    }
    for (const std::string& database : databases)
      if (may_hold_wanted(database)) TRY(look_at(database));
    return finish();
  }

 private:
  // What is found is looked for in the files of that directory.
  Status check_same_server(pg::PgClient& client) {
    const std::string& directory = request_.data_dir.path;
    TRY_ASSIGN(pg::ServerFacts facts, pg::read_facts(client, {}));
    TRY_ASSIGN(ServerTrace trace, trace_server(client, facts));
    TRY_ASSIGN(auto running, pg::running_server(directory));
    if (running && is_same_server(trace, running->pid_file, directory) == SameServer::yes) return {};
    return make_error(ErrorKind::precondition, directory,
                      running ? "another server works there than the one that --pg reaches"
                              : "no server works there, and amcheck is asked of the one that does")
        .with_hint("name the server of --pgdata with --pg");
  }

  bool may_hold_wanted(std::string_view database) const {
    return wanted_.empty() || std::ranges::any_of(wanted_, [&](const GivenTable& given) {
             return given.database.empty() || given.database == database;
           });
  }

  bool is_wanted(std::string_view database, const Relation& relation) {
    bool wanted = wanted_.empty();
    for (size_t i = 0; i < wanted_.size(); ++i) {
      if (!names(wanted_[i], database, relation)) continue;
      met_[i] = true;
      wanted = true;
    }
    return wanted;
  }

  Status look_at(const std::string& database) {
    TRY(stop_.check());
    auto connected = pg::PgClient::connect(pg::with_database(request_.conninfo, database), options_);
    if (!connected && connected.error().kind == ErrorKind::cancelled) return std::move(connected).error();
    if (!connected) {
      add_not_checked(database, "", connected.error().to_string());
      return {};
    }
    pg::PgClient& client = *connected;
    TRY(client.exec(cat("SET lock_timeout = ", kLockTimeoutMs, "; SET default_transaction_read_only = on")));
    TRY_ASSIGN(
        pg::Rows extension,
        client.query("select n.nspname, exists (select 1 from pg_catalog.pg_proc p where p.pronamespace"
                     " = n.oid and p.proname = 'verify_heapam') from pg_catalog.pg_extension e"
                     " join pg_catalog.pg_namespace n on n.oid = e.extnamespace"
                     " where e.extname = 'amcheck'"));
    if (extension.empty()) {
      scan_.without_extension.push_back(database);
      return {};
    }
    ++databases_;
    place_ = sql_identifier(extension.text(0, 0));
    const bool tables = extension.truth(0, 1);
    if (!tables) note_no_verify_heapam(database, client.major());
    TRY_ASSIGN(pg::Rows rows, client.query(std::string(kRelationsSql)));
    for (int i = 0; i < rows.size(); ++i) {
      reporter_.progress(cat("checking ", database), static_cast<uint64_t>(i),
                         static_cast<uint64_t>(rows.size()), ProgressUnit::items);
      TRY(stop_.check());
      const Relation relation = relation_of(rows, i);
      if (!is_wanted(database, relation)) continue;
      if (relation.kind != AmcheckKind::index && !tables) continue;
      // Of all databases, and the same files in each.
      if (relation.shared && !seen_shared_.insert(relation.file).second) continue;
      TRY(relation.kind == AmcheckKind::index ? check_index(client, database, relation)
                                              : check_table(client, database, relation));
    }
    return {};
  }

  void note_no_verify_heapam(const std::string& database, int major) {
    scan_.notes.push_back(major < kFirstWithVerifyHeapam
                              ? cat("PostgreSQL ", major, " has no verify_heapam: in database ", database,
                                    " only indexes are checked")
                              : cat("the extension amcheck of database ", database,
                                    " is of an older PostgreSQL and has no verify_heapam: only indexes are "
                                    "checked, until ALTER "
                                    "EXTENSION amcheck UPDATE"));
  }

  // A page that the server refuses to read ends the statement: what is before and behind it is asked for by
  // itself.
  Status check_table(pg::PgClient& client, const std::string& database, const Relation& relation) {
    ++scan_.tables;
    std::vector<std::pair<uint64_t, std::optional<uint64_t>>> parts = {{0, std::nullopt}};
    bool toast = true;
    for (size_t asked = 0; !parts.empty() && asked < kMostFindings; ++asked) {
      TRY(stop_.check());
      const auto [first, last] = parts.back();
      parts.pop_back();
      auto rows = client.query(
          cat("select blkno, about_toast, (array_agg(msg))[1], count(*) from (select blkno, msg,"
              " msg like 'toast value%' and (msg like '%chunk%' or msg like '%not found%') as about_toast "
              "from ",
              place_, ".verify_heapam($1::oid::regclass, check_toast => ", toast ? "true" : "false",
              ", startblock => $2::bigint, endblock => $3::bigint)) found"
              " group by 1, 2 order by 1 nulls first, 2 limit ",
              kMostFindings + 1),
          {relation.oid, first == 0 ? pg::Param() : pg::Param(cat(first)),
           last ? pg::Param(cat(*last)) : pg::Param()});
      if (rows) {
        for (int i = 0; i < rows->size(); ++i) add_row(database, relation, *rows, i);
        continue;
      }
      TRY(still_there(client, relation, rows.error()));
      // Behind the last block.
      if (client.last_sqlstate() == "22023" && first > 0) continue;
      const auto page = invalid_page_in(rows.error().cause);
      if (page) add_block(database, relation, page->file, page->block, rows.error().cause);
      if (page && page->file == relation.file && page->block >= first) {
        parts.emplace_back(uint64_t{page->block} + 1, last);
        if (page->block > first) parts.emplace_back(first, uint64_t{page->block} - 1);
      } else if (page && toast) {
        toast = false;
        parts.emplace_back(first, last);
      } else if (!page) {
        add_failure(client, database, relation, rows.error());
      }
    }
    return {};
  }

  void add_row(const std::string& database, const Relation& relation, const pg::Rows& rows, int row) {
    const std::string says(rows.text(row, 2));
    const auto block = rows.u64(row, 0);
    const uint64_t messages = rows.u64(row, 3).value_or(1);
    if (block && !rows.truth(row, 1)) {
      add_block(database, relation, relation.file, static_cast<uint32_t>(*block), says, messages);
      return;
    }
    // About a value in the TOAST table: the block is that of the row, and not where the value lacks something
    // (check_toasted_attribute in contrib/amcheck/verify_heapam.c).
    AmcheckFinding finding = finding_of(database, relation);
    finding.says = block ? cat("of a row in block ", *block, ": ", says) : says;
    finding.messages = messages;
    add(std::move(finding));
  }

  Status check_index(pg::PgClient& client, const std::string& database, const Relation& relation) {
    ++scan_.indexes;
    auto checked = client.query(
        cat("select ", place_, ".bt_index_check($1::oid::regclass, heapallindexed => true)"), {relation.oid});
    if (checked) return {};
    TRY(still_there(client, relation, checked.error()));
    const auto page = invalid_page_in(checked.error().cause);
    // It is the table that cannot be read.
    if (page && page->file != relation.file) {
      add_block(database, relation, page->file, page->block, checked.error().cause);
    } else {
      add_failure(client, database, relation, checked.error());
    }
    return {};
  }

  // Whoever lost the connection may have lost the server: it is not asked again.
  Status still_there(const pg::PgClient& client, const Relation& relation, const Error& error) const {
    if (error.kind == ErrorKind::cancelled) return error;
    if (client.alive() && error.kind != ErrorKind::unavailable) return {};
    return Error(error).within(cat("checking ", relation.quoted));
  }

  AmcheckFinding finding_of(const std::string& database, const Relation& relation) const {
    AmcheckFinding finding;
    finding.database = database;
    finding.relation = relation.quoted;
    finding.kind = relation.kind;
    finding.file = relation.file;
    return finding;
  }

  void add(AmcheckFinding finding) {
    if (scan_.findings.size() < kMostFindings) {
      scan_.findings.push_back(std::move(finding));
    } else {
      ++scan_.left_out;
    }
  }

  void add_block(const std::string& database, const Relation& relation, const std::string& file,
                 uint32_t block, const std::string& says, uint64_t messages = 1) {
    // An index says the same of a page of its table that the table said.
    if (!blocks_.insert({file, block}).second) return;
    AmcheckFinding finding = finding_of(database, relation);
    finding.file = file;
    finding.blocks.push_back(block);
    finding.says = says;
    finding.messages = messages;
    if (scan_.findings.size() < kMostFindings) {
      auto there = named_block(request_.data_dir, cat(file, ":", block));
      if (there) {
        scan_.blocks.push_back(std::move(*there));
      } else {
        scan_.notes.push_back(cat("block ", block, " of ", file,
                                  " is not in the file yet, or not any more: ", there.error().to_string()));
      }
    }
    add(std::move(finding));
  }

  void add_failure(const pg::PgClient& client, const std::string& database, const Relation& relation,
                   const Error& error) {
    if (!tells_damage(client.last_sqlstate())) {
      (relation.kind == AmcheckKind::index ? scan_.indexes : scan_.tables) -= 1;
      const bool refused = error.kind == ErrorKind::permission;
      add_not_checked(
          database, relation.quoted,
          cat(error.cause, refused ? "; a superuser may, or a role to which EXECUTE is granted on "
                                     "the functions of amcheck"
                                   : ""));
      return;
    }
    AmcheckFinding finding = finding_of(database, relation);
    finding.says = error.cause;
    if (relation.kind == AmcheckKind::index) {
      finding.blocks = index_blocks_in(error.cause);
      finding.repair = cat("REINDEX INDEX ", relation.catalogue ? "" : "CONCURRENTLY ", relation.quoted);
    }
    add(std::move(finding));
  }

  void add_not_checked(const std::string& database, const std::string& relation, std::string why) {
    if (scan_.not_checked.size() < kMostNotChecked)
      scan_.not_checked.push_back({database, relation, std::move(why)});
  }

  Result<AmcheckScan> finish() {
    if (databases_ == 0 && !scan_.without_extension.empty()) {
      return make_error(ErrorKind::precondition, "amcheck",
                        cat("no database has the extension: ", listed_names(scan_.without_extension)))
          .with_hint(std::string(kExtensionHint));
    }
    for (size_t i = 0; i < wanted_.size(); ++i) {
      if (met_[i]) continue;
      return make_error(ErrorKind::not_found, request_.relations[i],
                        "no table and no B-tree index that can be checked has this name")
          .with_hint(scan_.without_extension.empty()
                         ? "give TABLE, SCHEMA.TABLE or DATABASE.SCHEMA.TABLE"
                         : cat("database ", listed_names(scan_.without_extension),
                               " was not looked at: it has no extension amcheck"));
    }
    if (!scan_.without_extension.empty())
      scan_.notes.push_back(cat("not checked, because the extension amcheck is not there: database ",
                                listed_names(scan_.without_extension), "; ", kExtensionHint));
    if (scan_.left_out != 0)
      scan_.notes.push_back(cat("only the first ", kMostFindings, " findings are listed"));
    return std::move(scan_);
  }

  const AmcheckRequest& request_;
  Reporter& reporter_;
  const StopToken& stop_;
  pg::ConnectOptions options_;
  std::vector<GivenTable> wanted_;
  std::vector<bool> met_;  // of these, those that there are
  std::string place_;      // schema of the extension, quoted
  uint64_t databases_ = 0;
  std::set<std::string> seen_shared_;
  std::set<std::pair<std::string, uint32_t>> blocks_;
  AmcheckScan scan_;
};

// The number at the front of `text`; nullopt: none is there.
std::optional<uint32_t> leading_number(std::string_view text) {
  const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_u64(text.substr(0, end));
  return number && *number <= UINT32_MAX ? std::optional(static_cast<uint32_t>(*number)) : std::nullopt;
}

}  // namespace

std::string_view to_string(AmcheckKind kind) {
  switch (kind) {
    case AmcheckKind::table:
      return "table";
    case AmcheckKind::toast:
      return "toast";
    case AmcheckKind::index:
      return "index";
  }
  return "?";
}

Result<AmcheckScan> scan_with_amcheck(const AmcheckRequest& request, Reporter& reporter,
                                      const StopToken& stop) {
  return AmcheckScanner(request, reporter, stop).run();
}

std::vector<uint32_t> index_blocks_in(std::string_view message) {
  std::set<uint32_t> blocks;
  for (std::string_view before : {"ndex tid=(", "lock=", "lock "}) {
    for (size_t at = message.find(before); at != std::string_view::npos; at = message.find(before, at + 1))
      if (auto number = leading_number(message.substr(at + before.size()))) blocks.insert(*number);
  }
  return {blocks.begin(), blocks.end()};
}

std::optional<InvalidPage> invalid_page_in(std::string_view message) {
  constexpr std::string_view kBegin = "invalid page in block ";
  constexpr std::string_view kBetween = " of relation ";  // from 18 on with quotes around the file
  size_t at = message.find(kBegin);
  if (at == std::string_view::npos) return std::nullopt;
  message.remove_prefix(at + kBegin.size());
  const auto block = leading_number(message);
  at = message.find(kBetween);
  if (!block || at == std::string_view::npos) return std::nullopt;
  message.remove_prefix(at + kBetween.size());
  if (message.starts_with('"')) message.remove_prefix(1);
  return InvalidPage{std::string(message.substr(0, message.find_first_of(" \";,"))), *block};
}

}  // namespace lifeboat::ops
