// The options of retention: `lifeboat expire` applies them, `lifeboat report` judges them.
#pragma once

#include "app/invocation.h"
#include "repo/retention.h"

namespace lifeboat::app {

extern const OptionGroup
    kRetentionOptions;  // --keep-count --keep-days --pitr-days --dump-keep-count --dump-keep-days

struct RetentionRules {
  repo::RetentionPolicy backups;
  repo::RetentionPolicy dumps;
};
RetentionRules read_retention(const Invocation& invocation);

}  // namespace lifeboat::app
