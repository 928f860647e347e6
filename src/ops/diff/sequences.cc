#include "ops/diff/sequences.h"

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kSequences =
    "select n.nspname, c.relname, pg_catalog.has_schema_privilege(n.oid, 'usage') and "
    "pg_catalog.has_sequence_privilege(c.oid, 'select'), s.seqincrement from pg_catalog.pg_class c join "
    "pg_catalog.pg_namespace n on n.oid = c.relnamespace join pg_catalog.pg_sequence s on s.seqrelid = c.oid "
    "where c.relpersistence <> 't' and ($1::boolean or c.relpersistence <> 'u') and n.nspname <> "
    "'information_schema' and n.nspname !~ '^pg_'";
constexpr std::string_view kOfTable =
    " and exists (select from pg_catalog.pg_depend d where d.classid = "
    "'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.refclassid = d.classid and "
    "d.refobjid = $2::pg_catalog.regclass and d.deptype in ('a', 'i'))";

Status read_into(pg::PgClient& client, const pg::Rows& sequences, SequenceStates& states) {
  for (int i = 0; i < sequences.size(); ++i) {
    const std::string name =
        cat(sql_identifier(sequences.text(i, 0)), ".", sql_identifier(sequences.text(i, 1)));
    if (!sequences.truth(i, 2)) {
      states.forbidden.push_back(name);
      continue;
    }
    TRY_ASSIGN(pg::Rows row, client.query(cat("select last_value, last_value + log_cnt * ",
                                              sequences.text(i, 3), "::numeric, is_called from ", name)));
    states.found[name] = {row.i64(0, 0).value_or(0), std::string(row.text(0, 1)), row.truth(0, 2)};
  }
  return {};
}

}  // namespace

Result<SequenceStates> read_sequences(pg::PgClient& client,
                                      const std::optional<std::vector<std::string>>& tables,
                                      Unlogged unlogged) {
  SequenceStates states;
  const std::string with_unlogged = unlogged == Unlogged::read ? "t" : "f";
  if (!tables) {
    TRY_ASSIGN(pg::Rows sequences, client.query(std::string(kSequences), {with_unlogged}));
    TRY(read_into(client, sequences, states));
    return states;
  }
  for (const std::string& table : *tables) {
    TRY_ASSIGN(pg::Rows sequences, client.query(cat(kSequences, kOfTable), {with_unlogged, table}));
    TRY(read_into(client, sequences, states));
  }
  return states;
}

std::vector<SequenceDiff> compare_sequences(const SequenceStates& before, const SequenceStates& after,
                                            SequenceForm form) {
  std::vector<SequenceDiff> found;
  for (const auto& [name, was] : before.found) {
    auto there = after.found.find(name);
    if (there == after.found.end()) continue;
    const SequenceState& is = there->second;
    const bool same_place =
        form == SequenceForm::as_logged ? was.logged == is.logged : was.last_value == is.last_value;
    if (!same_place || was.is_called != is.is_called) found.push_back({name, was, is});
  }
  return found;
}

}  // namespace lifeboat::ops
