#include "app/options.h"

namespace lifeboat::app {
namespace {

constexpr Option kRepo[] = {
    {.name = "repo",
     .kind = ValueKind::repository,
     .placeholder = "URL",
     .help = "repository: file:///dir, a directory, or the NAME of a [repo.NAME] section of the "
             "configuration file"},
    {.name = "cluster",
     .kind = ValueKind::cluster,
     .placeholder = "NAME",
     .help = "name of the cluster in the repository",
     .default_text = "main"},
    {.name = "key-file",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "file with the repository's key, for unattended commands",
     .excludes = "passphrase-file",
     .section = ConfigSection::repo},
    {.name = "passphrase-file",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "file with the repository's passphrase: all of it but the line end it may have",
     .section = ConfigSection::repo},
    {.name = "retry-time",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help =
         "how long to go on trying while the repository does not answer; 0: not at all (wal push, wal get "
         "--standby and doctor: at most 10s)",
     .default_text = "1min",
     .min = 0,
     .max = 86'400'000'000,
     .section = ConfigSection::repo},
    {.name = "jobs",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "parallel workers (default: half the cores)",
     .min = 1,
     .max = 1024,
     .section = ConfigSection::cluster},
};

constexpr Option kServer[] = {
    {.name = "pg",
     .kind = ValueKind::conninfo,
     .placeholder = "CONNINFO",
     .help =
         "connection string of the server (default: libpq's environment, PGHOST and so on, else the server "
         "that runs in --pgdata); passwords belong in a pass file or a service",
     .section = ConfigSection::cluster},
    {.name = "pgdata",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "data directory of the cluster (default: the environment's PGDATA)",
     .section = ConfigSection::cluster},
    {.name = "pg-bin",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "directory of PostgreSQL's programs (default: where distributions put that major version, then "
             "PATH)",
     .section = ConfigSection::cluster},
    {.name = "os-user",
     .kind = ValueKind::text,
     .placeholder = "USER",
     .help = "user to become when started as root (default: owner of the data directory or repository, else "
             "postgres)",
     .section = ConfigSection::cluster},
};

constexpr Option kOutputOption = {.name = "output",
                                  .kind = ValueKind::choice,
                                  .placeholder = "FORMAT",
                                  .help = "text for people, or one JSON document",
                                  .default_text = "text",
                                  .choices = "text|json"};
constexpr Option kHelpOption = {.name = "help", .help = "show this help"};

constexpr Option kGeneral[] = {
    {.name = "config",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "configuration file (default: /etc/lifeboat/lifeboat.toml when it exists)"},
    kOutputOption,
    {.name = "yes", .help = "do not ask before doing what deletes or replaces"},
    {.name = "quiet", .help = "no progress and no notes, only results, warnings and errors"},
    {.name = "progress",
     .kind = ValueKind::choice,
     .placeholder = "WHEN",
     .help = "show progress: auto means on a terminal and, as events, with JSON",
     .default_text = "auto",
     .choices = "auto|on|off"},
    {.name = "log-level",
     .kind = ValueKind::choice,
     .placeholder = "LEVEL",
     .help = "which notes are printed on standard error",
     .default_text = "info",
     .choices = "error|warning|info|debug"},
    kHelpOption,
};

constexpr Option kOutputOnly[] = {kOutputOption, kHelpOption};

constexpr Option kTarget[] = {
    {.name = "target-time",
     .kind = ValueKind::time,
     .placeholder = "TIME",
     .help =
         "recover to this time, which needs a zone: '2026-11-20 10:56:25.07+00', '2026-11-20T10:56:25Z' or "
         "'2026-11-20 11:56 Europe/Zurich'",
     .excludes = "target-lsn|target-xid|target-name|target"},
    {.name = "target-lsn",
     .kind = ValueKind::lsn,
     .placeholder = "LSN",
     .help = "recover to this WAL position",
     .excludes = "target-xid|target-name|target"},
    {.name = "target-xid",
     .kind = ValueKind::xid,
     .placeholder = "XID",
     .help = "recover to the commit of this transaction",
     .excludes = "target-name|target"},
    {.name = "target-name",
     .kind = ValueKind::text,
     .placeholder = "NAME",
     .help = "recover to this restore point (pg_create_restore_point)",
     .excludes = "target|exclusive"},
    {.name = "target",
     .kind = ValueKind::choice,
     .placeholder = "WHERE",
     .help = "latest: as far as WAL goes; immediate: as soon as the backup is consistent",
     .choices = "latest|immediate",
     .excludes = "exclusive"},
    {.name = "exclusive", .help = "stop just before the target instead of just after it"},
    {.name = "timeline",
     .kind = ValueKind::timeline,
     .placeholder = "TIMELINE",
     .help = "latest, current (the backup's) or a number",
     .default_text = "latest"},
};

}  // namespace

constinit const OptionGroup kRepoOptions = {"Repository", kRepo};
constinit const OptionGroup kServerOptions = {"Server", kServer};
constinit const OptionGroup kGeneralOptions = {"General", kGeneral};
constinit const OptionGroup kOutputOptions = {"General", kOutputOnly};
constinit const OptionGroup kTargetOptions = {"Recovery target", kTarget};

}  // namespace lifeboat::app
