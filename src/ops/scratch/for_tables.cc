#include "ops/scratch/for_tables.h"

#include <utility>

#include "ops/scratch/named_database.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kGoneHint =
    "It was there when the backup was made: wal find --dropped tells when it was dropped; a target before "
    "that brings it back.";

enum class Opening : uint8_t { planned, begun };

// `why`: this is done again. `reached` tells how far it came.
Status open_copy(CopyForTables& made, const ScratchOptions& options, const std::string& database,
                 std::string_view why, Opening& reached, Reporter& reporter, StopToken& stop) {
  reached = Opening::planned;
  TRY_ASSIGN(made.copy, Scratch::make(options));
  TRY_ASSIGN(made.source, open_restore(made.copy->restore()));
  TRY_ASSIGN(RestorePlan plan, plan_restore(made.source, made.copy->restore(), reporter, stop));
  TRY_ASSIGN(DatabaseRecord record, look_for_database(made.source, plan, database, reporter, stop));
  if (!why.empty()) reporter.note(NoteLevel::info, cat("recovering once more, with all WAL: ", why));
  reached = Opening::begun;
  TRY(made.copy->start(made.source, std::move(plan), reporter, stop));
  return require_database(made.copy->server(), database,
                          record == DatabaseRecord::in_backup ? kGoneHint : std::string_view());
}

// What a recovery, whose WAL is read beforehand and whole, may do better.
bool is_mended_by_all_wal(ErrorKind kind) {
  return kind == ErrorKind::check_failed || kind == ErrorKind::unsupported ||
         kind == ErrorKind::precondition || kind == ErrorKind::server || kind == ErrorKind::unavailable ||
         kind == ErrorKind::unreachable;
}

// The copy's catalogues have everything.
bool is_certain(ErrorKind kind) {
  return kind == ErrorKind::not_found || kind == ErrorKind::usage || kind == ErrorKind::cancelled;
}

Result<bool> lacks_something(Scratch& copy, const std::string& database, const TablesInUse& in_use) {
  if (copy.left_out() == 0) return false;
  TRY_ASSIGN(pg::PgClient client, copy.server().connect(database));
  // Of a database that was left out nothing can be asked.
  TRY_ASSIGN(bool whole, copy.lacks(client, {}));
  if (whole) return true;
  TRY_ASSIGN(std::vector<TableName> tables, in_use(copy));
  return copy.lacks(client, tables);
}

}  // namespace

Result<CopyForTables> copy_for_tables(const ScratchOptions& options, const WantedTables& wanted,
                                      const TablesInUse& in_use, Reporter& reporter, StopToken& stop) {
  CopyForTables made;
  ScratchOptions scratch = options;
  scratch.wanted = wanted;
  std::string why = "what is wanted was not all known from the backup";
  Opening reached = Opening::planned;
  if (Status opened = open_copy(made, scratch, wanted.database, "", reached, reporter, stop); opened) {
    auto lacking = lacks_something(*made.copy, wanted.database, in_use);
    if (lacking && !*lacking) return made;
    if (!lacking && is_certain(lacking.error().kind)) return std::move(lacking).error();
    if (!lacking) why = lacking.error().to_string();
  } else {
    if (reached == Opening::planned || !is_mended_by_all_wal(opened.error().kind))
      return std::move(opened).error();
    why = opened.error().to_string();
  }
  made.copy.reset();
  made = CopyForTables();
  scratch.wanted.reset();
  TRY(open_copy(made, scratch, wanted.database, why, reached, reporter, stop));
  return made;
}

}  // namespace lifeboat::ops
