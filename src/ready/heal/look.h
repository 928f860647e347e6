// The detectors: each looks at the facts and adds what it finds. Internal to this folder.
#pragma once

#include <string>
#include <vector>

#include "ready/heal/heal.h"

namespace lifeboat::ready {

struct HealLook {
  const HealFacts& facts;
  const HealPolicy& policy;
  std::vector<HealFinding>& findings;
  const std::vector<ops::HealRecord>& trail;  // oldest first

  const ops::DoctorFacts& doctor() const { return facts.signals.doctor; }
  // Null: it is disabled.
  const Reading* reading(std::string_view signal) const;
  // "signal wal_gaps: …", for HealFinding::cites; with `check`, that of doctor's.
  std::string cite(std::string_view signal) const;
  std::string cite_check(std::string_view check) const;
  bool found(std::string_view id) const;
  // The newest attempt of this action was cut off or failed.
  bool unfinished(HealAction action) const;
  HealFinding& add(std::string id, std::string object, Rank rank, std::string found);
};

void look_at_server(HealLook& look);
void look_at_daemon(HealLook& look);
void look_at_archiver(HealLook& look);
void look_at_repository(HealLook& look);
void look_at_slot(HealLook& look);
void look_at_receiver(HealLook& look);
void look_at_gaps(HealLook& look);
void look_at_standby(HealLook& look);
void look_at_spool(HealLook& look);
void look_at_disks(HealLook& look);
void look_at_corruption(HealLook& look);

}  // namespace lifeboat::ready
