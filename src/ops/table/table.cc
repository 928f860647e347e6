#include "ops/table/table.h"

#include "ops/scratch/for_tables.h"
#include "ops/table/destination.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

double since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

class TableRestore {
 public:
  TableRestore(const TableRestoreOptions& options, Reporter& reporter, StopToken& stop)
      : options_(options), reporter_(reporter), stop_(stop), whole_(options.tables.empty()) {}

  Result<TableRestoreOutcome> run() {
    const int64_t began_us = Clock::system().monotonic_us();
    name_destination();
    TRY(check_bring_destination(options_.destination, outcome_.database, outcome_.schema, stop_));
    if (options_.merge == TableMerge::missing_rows)
      TRY(check_merge_destination(options_.destination, outcome_.database, options_.tables, stop_));
    TRY(recover());
    outcome_.recovered_seconds = since(began_us);
    Bringer bringer(bring_options(copy()), reporter_, stop_);
    TRY(bringer.choose());
    TRY(bringer.bring());
    if (options_.merge == TableMerge::missing_rows) TRY(bringer.merge());
    outcome_.tables = bringer.tables();
    outcome_.cut = bringer.cut();
    outcome_.notes.insert(outcome_.notes.end(), bringer.notes().begin(), bringer.notes().end());
    TRY(copy().stop_server());
    TRY_ASSIGN(outcome_.fetched_bytes, copy().end());
    outcome_.notes.insert(outcome_.notes.end(), copy().notes().begin(), copy().notes().end());
    outcome_.seconds = since(began_us);
    return std::move(outcome_);
  }

 private:
  // --- before anything is restored
  void name_destination() {
    outcome_.database = options_.into_database;
    if (outcome_.database.empty())
      outcome_.database = whole_ ? cat(options_.database, "_restored") : options_.database;
    if (whole_) return;
    outcome_.schema = options_.schema.empty() ? default_restore_schema() : options_.schema;
  }

  Status recover() {
    auto chosen = [this](Scratch& copy) -> Result<std::vector<TableName>> {
      Bringer bringer(bring_options(copy), reporter_, stop_);
      TRY(bringer.choose());
      std::vector<TableName> tables;
      for (const Bringer::Chosen& one : bringer.chosen()) tables.push_back({one.schema, one.table});
      return tables;
    };
    TRY_ASSIGN(made_, copy_for_tables(options_.scratch, {options_.database, options_.tables}, chosen,
                                      reporter_, stop_));
    outcome_.plan = copy().plan();
    outcome_.notes = copy().plan().reach.notes;
    outcome_.medium = copy().medium();
    outcome_.left_out = copy().left_out();
    return {};
  }

  Scratch& copy() { return *made_.copy; }

  BringOptions bring_options(Scratch& copy) {
    BringOptions bring;
    bring.source = copy.server().conninfo(options_.database);
    bring.tables = options_.tables;
    bring.original = options_.database;
    bring.destination = options_.destination;
    bring.into_database = outcome_.database;
    bring.schema = outcome_.schema;
    bring.client = *copy.plan().pg_bin;
    bring.work_directory = copy.work_directory();
    bring.where = "at the target";
    for (const repo::DatabaseInfo& one : copy.manifest().databases) {
      if (!one.name.starts_with("template")) bring.databases.push_back(one.name);
    }
    bring.missing_hint =
        "wal find --dropped tells when a table was dropped; --before-drop goes to before that.";
    return bring;
  }

  const TableRestoreOptions& options_;
  Reporter& reporter_;
  StopToken& stop_;
  const bool whole_;
  TableRestoreOutcome outcome_;
  CopyForTables made_;
};

}  // namespace

Result<TableRestoreOutcome> restore_tables(const TableRestoreOptions& options, Reporter& reporter,
                                           StopToken& stop) {
  return TableRestore(options, reporter, stop).run();
}

}  // namespace lifeboat::ops
