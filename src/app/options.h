// Option groups that several commands share; part of the command table (command.h). A command lists the
// groups that it accepts. Every command that works on a repository or a cluster takes kRepoOptions and
// kServerOptions whole, so that nobody has to remember which takes what.
#pragma once

#include "app/command.h"

namespace lifeboat::app {

extern const OptionGroup kRepoOptions;     // --repo --cluster --key-file --passphrase-file --jobs
extern const OptionGroup kServerOptions;   // --pg --pgdata --pg-bin --os-user
extern const OptionGroup kGeneralOptions;  // --config --output --yes --quiet --progress --log-level --help
extern const OptionGroup kOutputOptions;   // --output --help, for commands that touch nothing
extern const OptionGroup kTargetOptions;   // --target-* --target --exclusive --timeline

}  // namespace lifeboat::app
