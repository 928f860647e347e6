// Retention with the window that it gives, and what it costs (RT1-RT3).
#include <algorithm>

#include "ready/plan/steps.h"
#include "ready/plan/storage_class.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kPitrDays = 30;
constexpr double kStandardDays = 90;
constexpr double kDevelopmentDays = 7;
constexpr double kDaysPerMonth = 365.0 / 12;

void check_class(Planning& planning) {
  const StorageTerms& terms = planning.demands.storage;
  if (terms.storage_class.empty()) return;
  const ClassTerms* known = find_class(terms.storage_class);
  const double retrieval = terms.retrieval_seconds.value_or(known != nullptr ? known->retrieval_seconds : 0);
  if (retrieval <= planning.demands.rto_seconds) return;
  planning.gap(
      GapWeight::blocking, "storage_class",
      cat("storage class ", terms.storage_class,
          ": before an object can be read it has to be retrieved, which takes up to ",
          seconds_text(retrieval), "; the RTO is ", seconds_text(planning.demands.rto_seconds)),
      "keep what the RTO needs in a class that is read at once",
      DecisionRecord{
          cat("Backups in ", terms.storage_class, " cannot be read within the RTO"),
          "An archive class is for copies that nobody waits for.",
          {"the repository in a class that is read at once, only its second copy in an archive class",
           "the owner states an RTO that includes the retrieval"}});
}

void check_minimum(Planning& planning, double keep_days) {
  const Requirements& demands = planning.demands;
  if (!demands.compliance_days || keep_days >= *demands.compliance_days) return;
  planning.gap(
      GapWeight::blocking, "compliance_minimum",
      cat("a retention of ", days_text(keep_days), " is below the compliance minimum of ",
          days_text(*demands.compliance_days)),
      cat("set retention_days to at least ", number_text(*demands.compliance_days), ", or leave it out"),
      DecisionRecord{"Retention below the compliance minimum",
                     cat(days_text(keep_days), " are demanded, ", days_text(*demands.compliance_days),
                         " are prescribed."),
                     {"retention as long as the compliance minimum",
                      "who owns the compliance rule states that it does not apply to this cluster"}});
}

enum class Bound : uint8_t { measured, at_most };
void add(StorageNeed& need, std::string name, double bytes, Bound bound, std::string how) {
  need.items.push_back({std::move(name), bytes, std::move(how), bound == Bound::at_most});
  need.bytes = need.bytes.value_or(0) + bytes;
}

// Stored bytes a day that each further backup adds.
double change_per_day(const Planning& planning, std::string& how) {
  const auto& repository = planning.facts.repository;
  if (repository && repository->stored_change_bytes_per_day) {
    how = "measured: what backups after the first have added";
    return *repository->stored_change_bytes_per_day;
  }
  const bool known = planning.volumes.wal_per_day && !planning.volumes.wal_weak;
  const double wal = known ? *planning.volumes.wal_per_day : *planning.volumes.size;
  how = known ? "at most: no more can have changed than was written to WAL, or than there is"
              : "at most: everything, every day";
  return std::min(*planning.volumes.size, wal) * compression_ratio(planning);
}

void add_wal(Planning& planning) {
  StorageNeed& need = planning.plan.storage;
  const RetentionChoice& retention = planning.plan.retention;
  if (!retention.pitr_days) return;
  const double days = *retention.pitr_days + planning.plan.cadence.every_seconds / kDay;
  const std::string span = cat(" × (", days_text(*retention.pitr_days), " + one interval of backups)");
  const auto& known = planning.facts.repository;
  if (known && known->stored_wal_bytes_per_day)
    return add(need, "WAL of the window", *known->stored_wal_bytes_per_day * days, Bound::measured,
               cat(bytes_text(*known->stored_wal_bytes_per_day),
                   " a day (measured: what it took in the repository in the last days)", span));
  if (!planning.volumes.wal_per_day || planning.volumes.wal_weak) {
    need.statements.push_back(cat("WAL of the window: not in the sum, because the WAL a day is ",
                                  planning.volumes.wal_weak ? "extrapolated" : "not known"));
    return;
  }
  add(need, "WAL of the window", *planning.volumes.wal_per_day * days, Bound::at_most,
      cat(bytes_text(*planning.volumes.wal_per_day), " a day (", planning.volumes.wal_how, ")", span,
          ", compression not counted"));
}

void add_physical(Planning& planning) {
  StorageNeed& need = planning.plan.storage;
  const RetentionChoice& retention = planning.plan.retention;
  const double ratio = compression_ratio(planning);
  const std::string compressed = ratio == 1 ? std::string(", compression not measured and not counted")
                                            : cat(" × ", number_text(ratio * 100), " % stored");
  const auto& known = planning.facts.repository;
  const Bound first = known && known->stored_ratio ? Bound::measured : Bound::at_most;
  const Bound changes = known && known->stored_change_bytes_per_day ? Bound::measured : Bound::at_most;
  add(need, "first backup", *planning.volumes.size * ratio, first,
      cat(bytes_text(*planning.volumes.size), compressed));
  std::string how;
  const double change = change_per_day(planning, how);
  add(need, "changes of the backups kept", change * retention.keep_days, changes,
      cat(bytes_text(change), " a day (", how, ") × ", days_text(retention.keep_days)));
  add_wal(planning);
}

void add_dumps(Planning& planning) {
  if (planning.plan.dump_cron.empty()) return;
  const double a_day = planning.physical() ? 1 : kDay / planning.plan.cadence.every_seconds;
  const double days = planning.plan.retention.dump_days.value_or(planning.plan.retention.keep_days);
  const double ratio = compression_ratio(planning);
  add(planning.plan.storage, "dumps", *planning.volumes.size * ratio * a_day * days, Bound::at_most,
      cat("at most ", bytes_text(*planning.volumes.size * ratio), " each, ", number_text(a_day), " a day, ",
          days_text(days), "; equal blocks are stored once"));
}

void compute_cost(Planning& planning) {
  StorageNeed& need = planning.plan.storage;
  const StorageTerms& terms = planning.demands.storage;
  const ClassTerms* known = find_class(terms.storage_class);
  const double minimum = terms.minimum_days.value_or(known != nullptr ? known->minimum_days : 0);
  need.currency = terms.currency;
  const double copies = terms.second_copy.empty() ? 1 : 2;
  if (!terms.price_per_gb_month) {
    need.statements.emplace_back(
        "cost: no price was stated (storage.price_per_gb_month), so none is computed");
  } else {
    need.cost_per_month = cost_per_month(*need.bytes, *terms.price_per_gb_month) * copies;
    need.statements.push_back(cat("cost: ", bytes_text(*need.bytes), " × ", copies == 2 ? "2 copies × " : "",
                                  "the stated price; requests and traffic are not in it"));
  }
  const RetentionChoice& retention = planning.plan.retention;
  if (minimum <= 0) return;
  // WAL is what lives shortest: every day's WAL is deleted after the window.
  const double lives =
      retention.pitr_days.value_or(retention.keep_days) + planning.plan.cadence.every_seconds / kDay;
  if (!retention.expires || lives >= minimum || !planning.volumes.wal_per_day || !planning.physical()) {
    need.statements.push_back(cat("class ", terms.storage_class, " charges for ", days_text(minimum),
                                  " at least; nothing of this plan is deleted earlier"));
    return;
  }
  const double charged_bytes = *planning.volumes.wal_per_day * (minimum - lives);
  need.statements.push_back(cat("class ", terms.storage_class, " charges for ", days_text(minimum),
                                " at least: WAL lives ", days_text(lives), " and is charged for ",
                                days_text(minimum - lives), " longer, ", bytes_text(charged_bytes),
                                " that nobody keeps"));
  if (terms.price_per_gb_month)
    need.minimum_charge_per_month = cost_per_month(charged_bytes, *terms.price_per_gb_month) * copies;
}

void check_capacity(Planning& planning) {
  const auto& capacity = planning.demands.storage.capacity_bytes;
  const StorageNeed& need = planning.plan.storage;
  if (!capacity || !need.bytes) return;
  double certain = 0;
  for (const StorageItem& item : need.items) certain += item.at_most ? 0 : item.bytes;
  if (certain <= *capacity && *need.bytes > *capacity)
    return planning.gap(
        GapWeight::critical, "capacity_unproven",
        cat("the retention needs between ", bytes_text(certain), " and ", bytes_text(*need.bytes),
            ", the storage has ", bytes_text(*capacity)),
        "measure how WAL and dumps compress (lifeboat status: repository_used), then plan again");
  if (*need.bytes > *capacity)
    return planning.gap(
        GapWeight::blocking, "capacity",
        cat("the retention needs at least ", bytes_text(certain), ", the storage has ",
            bytes_text(*capacity)),
        "decide by the record",
        DecisionRecord{
            "The storage is too small for the retention",
            cat(bytes_text(certain), " are needed at least, ", bytes_text(*capacity), " are there."),
            {"more storage", "a shorter window, stated by the owner",
             "measured compression and changes, if the bounds of this plan are too wide"}});
  if (need.bytes_in_a_year && *need.bytes_in_a_year > *capacity)
    planning.gap(GapWeight::advice, "capacity_in_a_year",
                 cat("in a year the retention needs ", bytes_text(*need.bytes_in_a_year),
                     ", the storage has ", bytes_text(*capacity)),
                 "order storage in time");
}

}  // namespace

void choose_retention(Planning& planning) {
  Plan& plan = planning.plan;
  RetentionChoice& retention = plan.retention;
  const Requirements& demands = planning.demands;
  const double compliance = demands.compliance_days.value_or(0);
  if (demands.retention_days) check_minimum(planning, *demands.retention_days);
  retention.expires = !demands.legal_hold;
  if (planning.physical()) {
    retention.pitr_days = demands.retention_days.value_or(kPitrDays);
    const double usual = demands.retention_days.value_or(kStandardDays);
    retention.keep_days = std::max({usual, compliance, *retention.pitr_days});
    if (!plan.dump_cron.empty()) retention.dump_days = std::min(kStandardDays, retention.keep_days);
    retention.window =
        cat("any moment of the last ", days_text(*retention.pitr_days),
            retention.keep_days > *retention.pitr_days
                ? cat("; the state at each backup of the last ", days_text(retention.keep_days))
                : std::string());
  } else {
    const double usual = plan.profile == Profile::development ? kDevelopmentDays : kStandardDays;
    retention.keep_days = std::max(demands.retention_days.value_or(usual), compliance);
    retention.window = cat("the moments of the dumps of the last ", days_text(retention.keep_days));
    if (plan.method == Method::provider && demands.provider.window_days)
      retention.window += cat("; any moment of the last ", days_text(*demands.provider.window_days),
                              " by the provider, as stated");
  }
  retention.reason = demands.retention_days ? "as stated"
                     : plan.profile == Profile::development && !planning.physical()
                         ? "development: a week"
                         : "defaults: 30 days of WAL, 90 days of backups";
  if (compliance > 0) retention.reason += cat("; compliance minimum ", days_text(compliance));
  if (demands.legal_hold) {
    retention.reason += "; legal hold: nothing expires until it is lifted";
    retention.window += "; nothing expires while the legal hold stands";
  }
}

void compute_storage(Planning& planning) {
  check_class(planning);
  StorageNeed& need = planning.plan.storage;
  if (!planning.volumes.size) {
    need.statements.emplace_back("the size of the cluster is not known, so no storage is computed");
    return;
  }
  if (planning.physical()) add_physical(planning);
  add_dumps(planning);
  const double growth = planning.volumes.growth_per_day.value_or(0) * 365 * compression_ratio(planning);
  if (planning.volumes.growth_per_day) need.bytes_in_a_year = *need.bytes + growth;
  if (!planning.plan.retention.expires) {
    std::string how;
    const double more =
        planning.physical() ? change_per_day(planning, how) + planning.volumes.wal_per_day.value_or(0) : 0;
    need.statements.push_back(
        cat("nothing expires: the sum is that of the first ", days_text(planning.plan.retention.keep_days),
            more > 0 ? cat("; every further day adds ", bytes_text(more)) : std::string()));
    need.bytes_in_a_year = *need.bytes + growth + more * 365;
  }
  compute_cost(planning);
  check_capacity(planning);
}

}  // namespace lifeboat::ready
