// The options of commands that make a directory out of a backup: where its parts go and how it is reached.
#pragma once

#include "app/invocation.h"
#include "ops/restore/options.h"

namespace lifeboat::app {

extern const OptionGroup kRestoredOptions;  // --tablespace --port --socket-dir --spool

// Reads them, and what such a command needs besides: the path of this program, --pg-bin and --jobs.
Status read_restored_options(const Invocation& invocation, ops::RestoreOptions& options);

}  // namespace lifeboat::app
