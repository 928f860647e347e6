#include "ops/backup/primary.h"

#include "ops/backup/source.h"
#include "pg/client/facts.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

Result<pg::PgClient> connect_to_primary(const std::string& conninfo, const Lineage& lineage,
                                        const StopToken& stop) {
  auto client = pg::PgClient::connect(conninfo, connect_options(stop));
  if (!client) return std::move(client).error().within("--primary");
  TRY_ASSIGN(pg::ServerFacts facts, pg::read_facts(*client, {}));
  if (facts.system_id != lineage.system_id || facts.major != lineage.major) {
    return make_error(ErrorKind::foreign, client->where(),
                      cat("--primary has system identifier ", facts.system_id.to_string(), ", expected ",
                          lineage.system_id.to_string()));
  }
  if (facts.in_recovery)
    return make_error(ErrorKind::precondition, client->where(),
                      "--primary is a standby too, and cannot switch WAL");
  if (!facts.role.switch_wal) {
    return make_error(ErrorKind::permission, client->where(), "--primary: this role may not switch WAL")
        .with_hint(cat("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ", facts.role.name));
  }
  return client;
}

}  // namespace

Status check_primary(const std::string& conninfo, const Lineage& lineage, const StopToken& stop) {
  TRY(connect_to_primary(conninfo, lineage, stop));
  return {};
}

Status switch_wal_on_primary(const std::string& conninfo, const Lineage& lineage, const StopToken& stop) {
  TRY_ASSIGN(pg::PgClient client, connect_to_primary(conninfo, lineage, stop));
  return client.exec("SELECT pg_switch_wal()");
}

}  // namespace lifeboat::ops
