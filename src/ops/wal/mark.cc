#include "ops/wal/mark.h"

#include <algorithm>

#include "ops/wal/writer.h"
#include "util/strings.h"

namespace lifeboat::ops {

Status check_mark_name(std::string_view name) {
  auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (name.empty()) return make_error(ErrorKind::usage, "NAME", "is empty");
  if (std::ranges::any_of(name, control))
    return make_error(ErrorKind::usage, "NAME", "has control characters in it");
  if (name.size() > kLongestMark) {
    return make_error(ErrorKind::usage, "NAME",
                      cat("has ", name.size(), " bytes, PostgreSQL keeps at most ", kLongestMark));
  }
  return {};
}

Result<Mark> make_mark(const MarkRequest& request, const StopToken& stop) {
  TRY(check_mark_name(request.name));
  TRY_ASSIGN(WalWriter writer, open_writer(request.where, request.conninfo, stop));
  if (!writer.facts.role.restore_point) {
    return make_error(ErrorKind::permission, writer.client.where(), "this role may not make restore points")
        .with_hint(cat("GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO ",
                       sql_identifier(writer.facts.role.name)));
  }
  TRY_ASSIGN(pg::Rows rows, writer.client.query("SELECT pg_catalog.pg_create_restore_point($1), "
                                                "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
                                                {request.name}));
  auto lsn = Lsn::parse(rows.text(0, 0));
  if (!lsn) return make_error(ErrorKind::server, "pg_create_restore_point", "gave no position");
  Mark mark{request.name, *lsn, {rows.i64(0, 1).value_or(0)}, writer.facts.current_timeline, {}};
  // In place (13 has none): a path without a slash in front.
  TRY_ASSIGN(
      pg::Rows tablespaces,
      writer.client.query("SELECT spcname, pg_catalog.pg_tablespace_location(oid) FROM "
                          "pg_catalog.pg_tablespace WHERE pg_catalog.pg_tablespace_location(oid) LIKE '/%'"
                          " ORDER BY spcname"));
  for (int i = 0; i < tablespaces.size(); ++i)
    mark.tablespaces.push_back({std::string(tablespaces.text(i, 0)), std::string(tablespaces.text(i, 1))});
  return mark;
}

}  // namespace lifeboat::ops
