// A small table of commands for the tests of parser and resolution, so that they do not change with the real
// one.
#pragma once

#include "app/invocation.h"
#include "app/options.h"

namespace lifeboat::app::testing_table {

inline Result<int> nothing(const Invocation&) {
  return 0;
}

inline constexpr Option kRestoreOptions[] = {
    {.name = "to", .kind = ValueKind::path, .placeholder = "DIR", .help = "where", .excludes = "replace"},
    {.name = "replace", .help = "replace"},
    {.name = "port",
     .kind = ValueKind::integer,
     .placeholder = "PORT",
     .help = "port",
     .min = 1,
     .max = 65535},
    {.name = "action",
     .kind = ValueKind::choice,
     .placeholder = "ACTION",
     .help = "then",
     .default_text = "pause",
     .choices = "pause|promote|shutdown"},
    {.name = "tablespace",
     .kind = ValueKind::mapping,
     .placeholder = "OLD=NEW",
     .help = "map",
     .repeatable = true},
    {.name = "wal-timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "wait",
     .default_text = "2min",
     .section = ConfigSection::cluster},
};
inline constexpr OptionGroup kRestoreGroup = {"Restore", kRestoreOptions};
inline constexpr Positional kPushPositionals[] = {{.name = "PATH", .kind = ValueKind::path, .help = "file"}};
inline constexpr Positional kGetPositionals[] = {{.name = "NAME", .help = "name"},
                                                 {.name = "PATH", .kind = ValueKind::path, .help = "file"}};
inline constexpr Positional kWordPositionals[] = {
    {.name = "COMMAND", .help = "words", .required = false, .repeatable = true}};
inline constexpr Option kGetOptions[] = {
    {.name = "standby", .help = "lenient"},
    {.name = "dropped", .kind = ValueKind::text, .placeholder = "TABLE", .help = "found", .bare = "*"}};
inline constexpr OptionGroup kGetGroup = {"Get", kGetOptions};
inline constexpr Option kNeedyOptions[] = {
    {.name = "name", .kind = ValueKind::text, .placeholder = "NAME", .help = "name", .required = true}};
inline constexpr OptionGroup kNeedyGroup = {"Needy", kNeedyOptions};

inline constinit const Command kRestore = {
    .path = "restore",
    .summary = "restore",
    .description = "Restores.",
    .groups = {&kRestoreGroup, &kTargetOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .schema = "{}",
    .handler = nothing};
inline constinit const Command kPush = {.path = "wal push",
                                        .summary = "push",
                                        .description = "Pushes.",
                                        .exit_rule = ExitRule::wal_push,
                                        .positionals = kPushPositionals,
                                        .groups = {&kRepoOptions, &kServerOptions, &kGeneralOptions},
                                        .schema = "{}",
                                        .handler = nothing};
inline constinit const Command kGet = {
    .path = "wal get",
    .summary = "get",
    .description = "Gets.",
    .exit_rule = ExitRule::wal_get,
    .positionals = kGetPositionals,
    .groups = {&kGetGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .schema = "{}",
    .handler = nothing};
inline constinit const Command kNeedy = {.path = "needy",
                                         .summary = "needs an option",
                                         .description = "Needs.",
                                         .groups = {&kNeedyGroup, &kGeneralOptions},
                                         .schema = "{}",
                                         .handler = nothing};
inline constinit const Command kHelp = {.path = "help",
                                        .summary = "help",
                                        .description = "Helps.",
                                        .positionals = kWordPositionals,
                                        .groups = {&kOutputOptions},
                                        .schema = "{}",
                                        .handler = nothing};
inline constinit const Command kVersion = {.path = "version",
                                           .summary = "version",
                                           .description = "Versions.",
                                           .groups = {&kOutputOptions},
                                           .schema = "{}",
                                           .handler = nothing};
inline constinit const Command* const kTable[] = {&kRestore, &kPush, &kGet, &kNeedy, &kHelp, &kVersion};

}  // namespace lifeboat::app::testing_table
