#include "app/restored.h"

#include "app/options.h"
#include "ops/wal/commands.h"

namespace lifeboat::app {

namespace {

constexpr Option kRestored[] = {
    {.name = "tablespace",
     .kind = ValueKind::mapping,
     .placeholder = "OLD=NEW",
     .help = "put the tablespace that was at OLD to NEW",
     .repeatable = true},
    {.name = "port",
     .kind = ValueKind::integer,
     .placeholder = "PORT",
     .help = "port in the settings of the restored cluster (default: as they are)",
     .min = 1,
     .max = 65535},
    {.name = "socket-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "socket directory in its settings (default: as they are)"},
    {.name = "spool",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where its restore_command keeps WAL that it fetched ahead, outside of any data directory "
             "(default: /var/lib/lifeboat/spool, or, where its owner may not write there, a directory of "
             "that owner's below /var/tmp); what an earlier recovery left of this cluster is removed",
     .section = ConfigSection::cluster},
};

}  // namespace

constinit const OptionGroup kRestoredOptions = {"Restored cluster", kRestored};

Status read_restored_options(const Invocation& invocation, ops::RestoreOptions& options) {
  TRY_ASSIGN(options.program, ops::own_program_path());
  options.tablespaces = invocation.mappings("tablespace");
  options.spool = invocation.text("spool").value_or("");
  options.pg_bin = invocation.pg_bin().value_or("");
  options.jobs = invocation.jobs();
  if (auto port = invocation.integer("port")) options.port = static_cast<int>(*port);
  options.socket_directory = invocation.text("socket-dir");
  return {};
}

}  // namespace lifeboat::app
