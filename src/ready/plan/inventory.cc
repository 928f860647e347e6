// What is there now (P7), and what of it stands in the way: versions, settings, evidence.
#include <algorithm>

#include "pg/format/version.h"
#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kFactsAreOld = kDay;
constexpr double kDrillIsOld = 31 * kDay;  // D2: monthly is the outer limit

std::string time_text(Timestamp time) {
  return time.valid() ? time.to_string() : std::string("never");
}

std::string success_text(const ServerState& server) {
  if (server.settings.empty()) return "not known";
  const uint64_t all = server.archived + server.archive_failures;
  if (all == 0) return "nothing was archived yet";
  return cat(number_text(static_cast<double>(server.archived) * 100 / static_cast<double>(all)), " % of ",
             counted(all, "attempt"), ", the last success ", time_text(server.last_archived));
}

// Who takes the WAL at present: "pgbackrest", "barman", "wal-g", "lifeboat", "another program"; "" nobody.
std::string archiver_of(const Planning& planning) {
  if (planning.setting("archive_mode") == "off") return "";
  const std::string command = planning.setting("archive_command") + planning.setting("archive_library");
  if (command.empty()) return "";
  for (std::string_view name : {"pgbackrest", "barman", "wal-g", "lifeboat"})
    if (command.find(name) != std::string::npos) return std::string(name);
  return "another program";
}

void check_version(Planning& planning) {
  if (!planning.facts.server || planning.facts.server->version_num == 0) return;
  const int major = planning.facts.server->version_num / 10000;
  const pg::VersionTraits* traits = pg::find_version(major);
  if (traits == nullptr)
    return planning.gap(
        GapWeight::blocking, "version", cat("PostgreSQL ", major, " is not supported: 13 to 18 are"),
        "upgrade to a supported major first",
        DecisionRecord{cat("Backups of PostgreSQL ", major),
                       "This major is not supported.",
                       {"upgrade", "dumps by that major's own pg_dump, which this plan does not cover"}});
  const std::string today = planning.facts.time.to_iso().substr(0, 10);
  if (today > traits->end_of_life)
    planning.gap(GapWeight::advice, "end_of_life",
                 cat("community support of PostgreSQL ", major, " ended on ", traits->end_of_life),
                 "plan the upgrade; after it a new lineage begins (lifeboat init --new-lineage)");
}

void check_archiver(Planning& planning) {
  const std::string archiver = archiver_of(planning);
  if (archiver.empty() || archiver == "lifeboat" || !planning.physical()) return;
  planning.gap(
      GapWeight::advice, "other_archiver",
      cat("WAL is archived by ", archiver, " now; a server has one archive_command"),
      "run wal receive beside it until the first drill has passed, then change archive_command; keep the "
      "old repository for its window");
}

void check_evidence(Planning& planning) {
  const Rates& rates = planning.rates;
  if (planning.plan.method == Method::provider) {
    planning.gap(
        GapWeight::critical, "provider_rehearsal",
        "no rehearsal of the provider's restore is known, and nobody but the provider can measure it",
        "restore to a new instance, time it, and keep the record; every quarter");
    return;
  }
  if (planning.facts.now.valid() && planning.facts.now.seconds_since(planning.facts.time) > kFactsAreOld)
    planning.gap(GapWeight::critical, "old_facts",
                 cat("the facts are of ", planning.facts.time.to_string(), ", more than a day ago"),
                 "lifeboat plan --inspect, then plan again");
  if (rates.basis == RateBasis::none)
    planning.gap(GapWeight::critical, "no_rates",
                 "RTO: no rate was measured, neither by a drill nor by a calibration",
                 "lifeboat drill, or lifeboat plan --inspect on the host that will restore");
  if (rates.basis == RateBasis::calibration)
    planning.gap(GapWeight::critical, "no_drill",
                 "RTO: no drill has passed, the rates are of a short calibration on this host",
                 planning.physical() ? "lifeboat drill --full, then plan again"
                                     : "lifeboat drill --dump latest, then plan again");
  const Timestamp newest =
      !planning.physical() && rates.dump_newest.valid() ? rates.dump_newest : rates.newest;
  if (rates.basis == RateBasis::drills && planning.facts.time.seconds_since(newest) > kDrillIsOld)
    planning.gap(GapWeight::critical, "old_drill",
                 cat("the newest drill is of ", newest.to_string(), ", more than 31 days ago"),
                 "lifeboat drill, then plan again");
  const auto& repository = planning.facts.repository;
  if (repository && !repository->problem.empty())
    planning.gap(GapWeight::critical, "repository",
                 cat("the repository could not be read: ", repository->problem),
                 "lifeboat init where there is none yet, else lifeboat doctor");
  if (repository && repository->problem.empty() && !repository->newest_verified.valid())
    planning.gap(GapWeight::critical, "not_verified", "no backup is verified", "lifeboat verify");
}

}  // namespace

void list_inventory(Planning& planning) {
  std::vector<InventoryItem>& inventory = planning.plan.inventory;
  const std::string archiver = archiver_of(planning);
  const std::string success =
      planning.facts.server ? success_text(*planning.facts.server) : std::string("not known");
  if (const auto& repository = planning.facts.repository) {
    InventoryItem item;
    item.tool = "lifeboat";
    item.schedule = planning.facts.jobs.empty() ? "none" : join(planning.facts.jobs, "; ");
    item.destination = repository->url;
    item.archive_success = archiver == "lifeboat" ? success : "-";
    item.last_backup =
        repository->problem.empty() ? time_text(repository->newest_backup) : repository->problem;
    item.last_verified_restore =
        repository->drill_passed.valid() ? cat("drill of ", time_text(repository->drill_passed)) : "never";
    item.encryption = repository->encrypted ? "yes" : "no";
    item.second_copy =
        planning.demands.storage.second_copy.empty() ? "none stated" : planning.demands.storage.second_copy;
    inventory.push_back(std::move(item));
  }
  for (const ToolState& tool : planning.facts.tools) {
    InventoryItem item;
    item.tool = tool.cluster.empty() ? tool.name : cat(tool.name, " ", tool.cluster);
    item.schedule = tool.schedule.empty() ? "not found" : tool.schedule;
    item.destination = tool.destination;
    item.archive_success = archiver == to_lower(tool.name) ? success : "-";
    item.last_backup =
        cat(time_text(tool.last_backup), tool.last_result.empty() ? "" : cat(": ", tool.last_result));
    item.last_verified_restore =
        tool.last_verified_restore.empty() ? "not known to the tool" : tool.last_verified_restore;
    item.retention = tool.retention;
    item.encryption = tool.encryption;
    item.second_copy = tool.second_copy;
    inventory.push_back(std::move(item));
  }
  if (planning.demands.current_setup.empty()) return;
  InventoryItem stated;
  stated.tool = "stated";
  stated.schedule = planning.demands.current_setup;
  inventory.push_back(std::move(stated));
}

void look_at_server(Planning& planning) {
  check_version(planning);
  check_archiver(planning);
  check_evidence(planning);
  if (!planning.facts.server_problem.empty())
    planning.gap(GapWeight::advice, "server",
                 cat("the server could not be read: ", planning.facts.server_problem), "lifeboat doctor");
  if (planning.demands.targets_source.empty())
    planning.gap(GapWeight::advice, "targets_source", "nobody is named who decided RPO and RTO",
                 "state targets_source in backup_requirements.json",
                 DecisionRecord{"Who decided RPO and RTO",
                                cat("RPO ", seconds_text(planning.demands.rpo_seconds), ", RTO ",
                                    seconds_text(planning.demands.rto_seconds), ", without a source."),
                                {"the owner confirms both in writing", "the owner states others"}});
}

}  // namespace lifeboat::ready
