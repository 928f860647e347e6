#include "ready/report/item.h"

#include <algorithm>

#include "ready/report/looks.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr ItemInfo kItems[] = {
    {ItemList::quality, "targets_stated",
     "RPO and RTO come from a stated source, or a decision record is open", false, look_at_targets_stated},
    {ItemList::quality, "pitr_from_wal",
     "point-in-time recovery rests on a physical backup and continuous WAL, never on dumps", false,
     look_at_pitr_from_wal},
    {ItemList::quality, "targets_delivered", "delivered RPO and RTO are computed and within the targets",
     false, look_at_targets_delivered},
    {ItemList::quality, "drill_automated", "a scheduled drill into isolation measures the RTO", false,
     look_at_drill_automated},
    {ItemList::quality, "retention_stated",
     "retention states the recovery window, how things expire, and the compliance minimum", false,
     look_at_retention_stated},
    {ItemList::quality, "encryption",
     "encrypted at rest and in transit, and a restore needs no secret that lives only on the lost host",
     false, look_at_encryption},
    {ItemList::quality, "wraparound_watched",
     "transaction-id and multixact age are watched well before the emergency, with a runbook", false,
     look_at_wraparound_watched},
    {ItemList::quality, "connections_watched", "connection saturation is watched, with a runbook", false,
     look_at_connections_watched},
    {ItemList::quality, "signals_owned", "every signal has threshold, action and owner", false,
     look_at_signals_owned},
    {ItemList::quality, "runbooks_cover",
     "runbooks cover restore, archive failure, wraparound, bloat, storage and connections", false,
     look_at_runbooks_cover},
    {ItemList::quality, "topology_elsewhere",
     "replication topology and failover are taken from where they are owned", true, look_at_topology},

    {ItemList::production, "daily_logical_backup", "a logical backup every day", true,
     look_at_daily_logical_backup},
    {ItemList::production, "weekly_physical_backup", "a physical backup every week at least", false,
     look_at_weekly_physical_backup},
    {ItemList::production, "wal_archiving", "WAL archiving is on and works", false, look_at_wal_archiving},
    {ItemList::production, "offsite_copy", "a copy away from the database's host", false,
     look_at_offsite_copy},
    {ItemList::production, "age_watched", "the age of the newest backup is watched (26 h)", false,
     look_at_age_watched},
    {ItemList::production, "monthly_restore_test", "a restore is tested every month at least", false,
     look_at_monthly_restore_test},
    {ItemList::production, "retention_set", "retention is set: 30 days of WAL, 90 days of dumps", false,
     look_at_retention_set},
    {ItemList::production, "recovery_runbook", "the recovery runbook is written", false,
     look_at_recovery_runbook},
    {ItemList::production, "targets_validated", "RTO and RPO are validated by a drill", false,
     look_at_targets_validated},

    {ItemList::done, "strategy", "a strategy with RPO and RTO", false, look_at_strategy},
    {ItemList::done, "automated_backups", "backups are automated", false, look_at_automated_backups},
    {ItemList::done, "encrypted", "backups are encrypted", false, look_at_encrypted},
    {ItemList::done, "offsite", "backups are off-site", false, look_at_offsite_copy},
    {ItemList::done, "automatic_verification", "backups are verified automatically", false,
     look_at_automatic_verification},
    {ItemList::done, "replication_tested", "replication is tested", true, look_at_replication_tested},
    {ItemList::done, "pitr_validated", "point-in-time recovery is validated (every quarter)", false,
     look_at_pitr_validated},
    {ItemList::done, "recovery_documented", "recovery is documented", false, look_at_recovery_documented},
    {ItemList::done, "restore_tested", "restore is tested", false, look_at_monthly_restore_test},
    {ItemList::done, "monitoring", "monitoring is on", false, look_at_monitoring},
    {ItemList::done, "alerts", "alerts reach somebody", false, look_at_alerts},
    {ItemList::done, "runbooks_reviewed", "runbooks are reviewed", false, look_at_runbooks_reviewed},
};

// What these ask lies in the repository.
constexpr std::string_view kFromRepository[] = {"pitr_from_wal",
                                                "drill_automated",
                                                "encryption",
                                                "daily_logical_backup",
                                                "weekly_physical_backup",
                                                "monthly_restore_test",
                                                "targets_validated",
                                                "strategy",
                                                "automated_backups",
                                                "encrypted",
                                                "automatic_verification",
                                                "pitr_validated",
                                                "restore_tested"};

void look_at(const ItemInfo& info, const ReportFacts& facts, ItemAnswer& answer) {
  const ops::RepositoryFacts& known = facts.doctor().repository;
  const std::optional<Error>& problem = known.problem ? known.problem : known.catalogue_problem;
  if (problem && std::ranges::find(kFromRepository, info.id) != std::end(kFromRepository))
    return answer.lacks(cat("the repository cannot be read: ", problem->to_string()), our(facts, "doctor"));
  info.look(facts, answer);
}

}  // namespace

std::string_view to_string(ItemList list) {
  switch (list) {
    case ItemList::quality:
      return "quality";
    case ItemList::production:
      return "production";
    case ItemList::done:
      return "done";
  }
  return "?";
}

std::string_view title_of(ItemList list) {
  switch (list) {
    case ItemList::quality:
      return "Quality checks";
    case ItemList::production:
      return "Production checklist";
    case ItemList::done:
      return "Definition of done";
  }
  return "?";
}

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::pass:
      return "pass";
    case Outcome::fail:
      return "fail";
    case Outcome::not_applicable:
      return "not_applicable";
  }
  return "?";
}

void ItemAnswer::shows(std::string says, std::vector<std::string> evidence) {
  says_.push_back(std::move(says));
  for (std::string& one : evidence)
    if (std::ranges::find(evidence_, one) == evidence_.end()) evidence_.push_back(std::move(one));
}

void ItemAnswer::lacks(std::string what, std::string fix) {
  missing_.push_back({std::move(what), std::move(fix)});
}

void ItemAnswer::does_not_apply(std::string reason) {
  not_applicable_ = std::move(reason);
}

Outcome ItemAnswer::outcome() const {
  if (!not_applicable_.empty()) return Outcome::not_applicable;
  return missing_.empty() && !evidence_.empty() ? Outcome::pass : Outcome::fail;
}

std::string ItemAnswer::says() const {
  if (!not_applicable_.empty()) return not_applicable_;
  if (says_.empty() && missing_.empty()) return "nothing proves it";
  return join(says_, "; ");
}

std::span<const ItemInfo> items() {
  return kItems;
}

const ItemInfo* find_item(std::string_view id) {
  auto found = std::ranges::find(kItems, id, &ItemInfo::id);
  return found == std::end(kItems) ? nullptr : found;
}

std::vector<JudgedItem> judge_items(const ReportFacts& facts) {
  std::vector<JudgedItem> judged;
  for (const ItemInfo& info : kItems) {
    JudgedItem item{&info, {}};
    look_at(info, facts, item.answer);
    auto waiver = std::ranges::find(facts.settings.waivers, info.id, &Waiver::item);
    if (info.waivable && waiver != facts.settings.waivers.end() && item.answer.outcome() == Outcome::fail)
      item.answer.does_not_apply(cat(waiver->reason, " (says ",
                                     facts.settings.owner.empty() ? "the operator" : facts.settings.owner,
                                     ")"));
    judged.push_back(std::move(item));
  }
  return judged;
}

bool ready(const std::vector<JudgedItem>& judged) {
  return count(judged, Outcome::fail) == 0;
}

size_t count(const std::vector<JudgedItem>& judged, Outcome outcome) {
  return static_cast<size_t>(std::ranges::count_if(
      judged, [&](const JudgedItem& item) { return item.answer.outcome() == outcome; }));
}

}  // namespace lifeboat::ready
