// lifeboat heal log: the audit trail of heal.
#include <nlohmann/json.hpp>

#include "app/cli/heal_output.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Result<int> show_log(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  const std::string path = ops::HealJournal::path_in(invocation.value("state-dir"), invocation.cluster());
  TRY_ASSIGN(std::vector<ops::HealRecord> records, ops::HealJournal::read(path));
  std::string problem;
  auto filed = [&]() -> Result<std::vector<ops::HealRecord>> {
    TRY_ASSIGN(repo::Repository repository, ops::open_repository(where));
    TRY_ASSIGN(ops::ChosenLineage lineage, ops::choose_lineage(repository, where.cluster));
    return ops::read_filed(lineage.repo);
  }();
  if (filed)
    records = ops::merge_trails(std::move(records), *std::move(filed));
  else
    problem = filed.error().to_string();
  if (!problem.empty())
    invocation.output().note(LogLevel::warning, cat("only what this host has is shown: ", problem));
  Json list = Json::array();
  for (const ops::HealRecord& record : records) list.push_back(heal_record_json(record));
  invocation.output().document(
      to_json_text({{"cluster", invocation.cluster()},
                    {"journal", path},
                    {"repository_problem", problem.empty() ? Json(nullptr) : Json(problem)},
                    {"records", std::move(list)}}));
  std::string text = records.empty() ? "nothing was ever healed here\n" : heal_records_table(records);
  for (const ops::HealRecord& record : records) {
    text += cat("\n", record.id, ": ", record.finding, "\n", wrap(cat("saw: ", record.saw), 2));
    for (const std::string& one : record.did) text += wrap(cat("did: ", one), 2);
  }
  invocation.output().text(text);
  return 0;
}

constexpr Option kOwn[] = {
    {.name = "state-dir",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "where the journal of this host is",
     .default_text = "/var/lib/lifeboat",
     .section = ConfigSection::cluster},
};
constinit const OptionGroup kGroup = {"Heal", kOwn};

}  // namespace

extern const Command kHealLogCommand;
constinit const Command kHealLogCommand = {
    .path = "heal log",
    .summary = "the audit trail of heal: who did what, when, why, and what came of it",
    .description =
        "Shows what `heal --apply` did, oldest first: from the evidence in the repository, and from the "
        "journal "
        "in the state directory of this host, which has what was begun and what the repository did not take "
        "yet. "
        "Neither is ever changed or expired.",
    .danger = Danger::read,
    .groups = {&kGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat heal log --repo /srv/backup",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "journal", "repository_problem", "records"],
  "properties": {
    "cluster": {"type": "string"},
    "journal": {"type": "string", "description": "file on this host"},
    "repository_problem": {"type": ["string", "null"], "description": "why only this host's records are shown"},
    "records": {"type": "array", "items": )" LIFEBOAT_HEAL_RECORD_SCHEMA R"(}
  }
})",
    .handler = show_log,
};

}  // namespace lifeboat::app
