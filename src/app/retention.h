// The options of retention: `lifeboat expire` applies them, `lifeboat report` judges them.
#pragma once

#include "app/invocation.h"
#include "repo/retention.h"

namespace lifeboat::app {

// --keep-count --keep-days --pitr-days --dump-keep-count --dump-keep-days --compliance-days --legal-hold
extern const OptionGroup kRetentionOptions;

struct RetentionRules {
  repo::RetentionPolicy backups;
  repo::RetentionPolicy dumps;
  double compliance_days = 0;  // prescribed; 0: nothing is
  bool legal_hold = false;     // nothing expires
};
// `config` when the rules would let go what has to be kept (RT1). Where there are physical backups, it is
// them that have to be kept, and dumps are made for other ends.
Status check_compliance(const RetentionRules& rules, bool has_backups);
RetentionRules read_retention(const Invocation& invocation);

}  // namespace lifeboat::app
