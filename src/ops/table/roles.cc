#include "ops/table/roles.h"

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Every dependency on a role but on the one of initdb, which pg_shdepend leaves out because it cannot go.
constexpr std::string_view kRolesOfDatabase =
    "select pg_catalog.pg_get_userbyid(s.refobjid) as name, s.deptype = 'o' as owns, true as object from "
    "pg_catalog.pg_shdepend s where s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and s.dbid = "
    "(select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())";
constexpr std::string_view kOfSchema =
    " and (s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and s.objid in (select c.oid from "
    "pg_catalog.pg_class c where c.relnamespace = $1::pg_catalog.regnamespace) or s.classid = "
    "'pg_catalog.pg_namespace'::pg_catalog.regclass and s.objid = $1::pg_catalog.regnamespace or s.classid = "
    "'pg_catalog.pg_policy'::pg_catalog.regclass and s.objid in (select p.oid from pg_catalog.pg_policy p "
    "join pg_catalog.pg_class c on c.oid = p.polrelid where c.relnamespace = "
    "$1::pg_catalog.regnamespace))";
// Whether that one owns anything.
constexpr std::string_view kInitdbOwnsInDatabase =
    "exists (select from pg_catalog.pg_class where relowner = 10 and oid >= 16384) or exists (select from "
    "pg_catalog.pg_namespace where nspowner = 10 and oid >= 16384) or exists (select from pg_catalog.pg_proc "
    "where proowner = 10 and oid >= 16384)";
constexpr std::string_view kInitdbOwnsInSchema =
    "exists (select from pg_catalog.pg_class where relowner = 10 and relnamespace = "
    "$1::pg_catalog.regnamespace) or exists (select from pg_catalog.pg_namespace where nspowner = 10 and oid "
    "= $1::pg_catalog.regnamespace)";
constexpr std::string_view kOfDatabaseItself =
    " union select pg_catalog.pg_get_userbyid(d.datdba), true, false from pg_catalog.pg_database d where "
    "d.datname = pg_catalog.current_database() union select pg_catalog.pg_get_userbyid(s.refobjid), false, "
    "false from pg_catalog.pg_shdepend s join pg_catalog.pg_database d on d.oid = s.objid where s.dbid = 0 "
    "and s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass and s.refclassid = "
    "'pg_catalog.pg_authid'::pg_catalog.regclass and d.datname = pg_catalog.current_database() union select "
    "pg_catalog.pg_get_userbyid(t.setrole), false, false from pg_catalog.pg_db_role_setting t join "
    "pg_catalog.pg_database d on d.oid = t.setdatabase where t.setrole <> 0 and d.datname = "
    "pg_catalog.current_database()";

Result<pg::Rows> roles_named(pg::PgClient& source, const std::string& schema) {
  auto initdb = [](std::string_view owns) {
    return cat(" union select rolname, ", owns, ", true from pg_catalog.pg_roles where oid = 10");
  };
  if (schema.empty())
    return source.query(cat(kRolesOfDatabase, initdb(kInitdbOwnsInDatabase), kOfDatabaseItself));
  return source.query(cat(kRolesOfDatabase, kOfSchema, initdb(kInitdbOwnsInSchema)),
                      {sql_identifier(schema)});
}

}  // namespace

Result<RolesConcerned> look_at_roles(pg::PgClient& source, pg::PgClient& destination,
                                     const std::string& schema) {
  TRY_ASSIGN(pg::Rows named, roles_named(source, schema));
  TRY_ASSIGN(pg::Rows known, destination.query("select rolname, pg_catalog.pg_has_role(current_user, oid, "
                                               "'MEMBER') from pg_catalog.pg_roles"));
  std::set<std::string> there;
  std::set<std::string> ours;
  for (int i = 0; i < known.size(); ++i) {
    there.emplace(known.text(i, 0));
    if (known.truth(i, 1)) ours.emplace(known.text(i, 0));
  }
  RolesConcerned roles;
  for (int i = 0; i < named.size(); ++i) {
    const std::string name(named.text(i, 0));
    const bool owns = named.truth(i, 1);
    const bool of_object = named.truth(i, 2);
    if (!there.contains(name)) {
      roles.missing.insert(name);
      if (of_object) roles.objects_missing.insert(name);
    } else if (owns && !ours.contains(name)) {
      roles.not_ours.insert(name);
      roles.objects_not_ours = roles.objects_not_ours || of_object;
    }
  }
  return roles;
}

Result<std::vector<NeedsRole>> what_needs_roles(pg::PgClient& source, const std::set<std::string>& missing) {
  std::vector<NeedsRole> found;
  if (missing.empty()) return found;
  std::vector<std::string> names;
  for (const std::string& role : missing) names.push_back(sql_literal(role));
  const std::string list = join(names, ", ");
  TRY_ASSIGN(
      pg::Rows rows,
      source.query(cat(
          "select '3256 ' || p.oid, 'policy ' || pg_catalog.quote_ident(p.polname) || ' of ' || "
          "p.polrelid::pg_catalog.regclass from pg_catalog.pg_policy p where exists (select from "
          "pg_catalog.unnest(p.polroles) r where pg_catalog.pg_get_userbyid(r) in (",
          list,
          ")) union all select '1418 ' || u.umid, 'user mapping of ' || pg_catalog.quote_ident(u.usename) "
          "|| ' for server ' || pg_catalog.quote_ident(u.srvname) from pg_catalog.pg_user_mappings u where "
          "u.usename in (",
          list, ")")));
  for (int i = 0; i < rows.size(); ++i)
    found.push_back({std::string(rows.text(i, 0)), std::string(rows.text(i, 1))});
  return found;
}

}  // namespace lifeboat::ops
