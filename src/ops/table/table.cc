#include "ops/table/table.h"

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
    TRY(recover());
    outcome_.recovered_seconds = since(began_us);
    Bringer bringer(bring_options(), reporter_, stop_);
    TRY(bringer.choose());
    TRY(bringer.bring());
    TRY(bringer.compare());
    if (options_.merge == TableMerge::missing_rows) TRY(bringer.merge());
    outcome_.tables = bringer.tables();
    outcome_.notes.insert(outcome_.notes.end(), bringer.notes().begin(), bringer.notes().end());
    TRY(scratch_->stop_server());
    TRY_ASSIGN(outcome_.fetched_bytes, scratch_->end());
    outcome_.notes.insert(outcome_.notes.end(), scratch_->notes().begin(), scratch_->notes().end());
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

  // Only what is wanted is replayed; or everything, where that does not do.
  Status recover() {
    ScratchOptions scratch = options_.scratch;
    scratch.wanted = WantedTables{options_.database, options_.tables};
    std::string why = "what is wanted was not all known from the backup";
    Status recovered = make_scratch(scratch);
    if (recovered) {
      auto lacking = lacks_something();
      if (lacking && !*lacking) return {};
      // Its catalogues have everything.
      if (!lacking && ends(lacking.error().kind)) return std::move(lacking).error();
      if (!lacking) why = lacking.error().to_string();
    } else {
      if (!scratch_ || !mends(recovered.error().kind)) return recovered;
      why = recovered.error().to_string();
    }
    reporter_.note(NoteLevel::info, cat("recovering once more, with all WAL: ", why));
    scratch_.reset();
    outcome_.notes.clear();
    scratch.wanted.reset();
    return make_scratch(scratch);
  }

  // What another recovery, whose WAL is read beforehand and whole, may do better.
  static bool mends(ErrorKind kind) {
    return kind == ErrorKind::check_failed || kind == ErrorKind::unsupported ||
           kind == ErrorKind::precondition;
  }

  static bool ends(ErrorKind kind) { return kind == ErrorKind::not_found || kind == ErrorKind::cancelled; }

  Result<bool> lacks_something() {
    if (scratch_->left_out() == 0) return false;
    Bringer bringer(bring_options(), reporter_, stop_);
    TRY(bringer.choose());
    std::vector<TableName> tables;
    for (const Bringer::Chosen& one : bringer.chosen()) tables.push_back({one.schema, one.table});
    pg::ConnectOptions connect;
    connect.stop = &stop_;
    TRY_ASSIGN(pg::PgClient client,
               pg::PgClient::connect(scratch_->server().conninfo(options_.database), connect));
    return scratch_->lacks(client, tables);
  }

  Status make_scratch(const ScratchOptions& options) {
    TRY_ASSIGN(scratch_, Scratch::make(options));
    TRY_ASSIGN(source_, open_restore(scratch_->restore()));
    TRY_ASSIGN(RestorePlan plan, plan_restore(source_, scratch_->restore(), reporter_, stop_));
    for (const std::string& note : plan.reach.notes) outcome_.notes.push_back(note);
    TRY(scratch_->start(source_, std::move(plan), reporter_, stop_));
    outcome_.plan = scratch_->plan();
    outcome_.medium = scratch_->medium();
    outcome_.left_out = scratch_->left_out();
    return {};
  }

  BringOptions bring_options() {
    BringOptions bring;
    bring.source = scratch_->server().conninfo(options_.database);
    bring.tables = options_.tables;
    bring.original = options_.database;
    bring.destination = options_.destination;
    bring.into_database = outcome_.database;
    bring.schema = outcome_.schema;
    bring.client = *scratch_->plan().pg_bin;
    bring.work_directory = scratch_->work_directory();
    bring.missing_hint =
        "wal find --dropped tells when a table, or a database, was dropped; --before-drop goes to before "
        "that";
    return bring;
  }

  const TableRestoreOptions& options_;
  Reporter& reporter_;
  StopToken& stop_;
  const bool whole_;
  TableRestoreOutcome outcome_;
  RestoreSource source_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace

Result<TableRestoreOutcome> restore_tables(const TableRestoreOptions& options, Reporter& reporter,
                                           StopToken& stop) {
  return TableRestore(options, reporter, stop).run();
}

}  // namespace lifeboat::ops
