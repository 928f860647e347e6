// The options of commands that recover: which backup, which lineage, how far.
#pragma once

#include <optional>

#include "app/invocation.h"
#include "model/names.h"
#include "ops/wal/reach.h"

namespace lifeboat::app {

extern const OptionGroup kBackupChoiceOptions;  // --backup --lineage; used with kTargetOptions

struct TargetOptions {
  std::optional<Lineage> lineage;
  std::optional<BackupId> backup;  // none: the newest that fits
  ops::RecoveryTarget target;
  ops::TimelineChoice choice = ops::TimelineChoice::unset;
  Timeline timeline;
};
// Whether one of --target-* and --target was given.
bool has_target(const Invocation& invocation);
// Reads --target-*, --target, --exclusive, --timeline, --backup and --lineage. Errors: usage.
Result<TargetOptions> target_options(const Invocation& invocation);

}  // namespace lifeboat::app
