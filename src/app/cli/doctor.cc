// lifeboat doctor: names what is wrong with backups and archiving, why, and what mends it.
#include "ops/doctor/doctor.h"

#include <nlohmann/json.hpp>

#include "app/cli/findings.h"
#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/parse.h"
#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using ops::Severity;

Result<int> handle(const Invocation& invocation) {
  ops::DoctorRequest request;
  TRY_ASSIGN(request.where, repo_location(invocation));
  request.conninfo = invocation.conninfo();
  request.pgdata = invocation.pgdata();
  request.config_path = invocation.config_path();
  request.pg_bin = invocation.pg_bin().value_or("");
  request.stop = &invocation.stop();
  request.refuses = why_refused;
  TRY_ASSIGN(ops::Diagnosis diagnosis, ops::diagnose(request));

  const ops::Findings& findings = diagnosis.findings;
  const size_t critical = count(findings, Severity::critical);
  const size_t warnings = count(findings, Severity::warning);
  std::string help = findings_help(findings);
  std::string text = findings_table(findings);
  if (!help.empty()) text += cat("\n", help);
  text += cat("\n", findings.size(), " checks: ", critical, " critical, ", counted(warnings, "warning"), ", ",
              count(findings, Severity::skipped), " skipped\n");
  invocation.output().text(text);
  invocation.output().document(to_json_text(Json{{"healthy", diagnosis.healthy()},
                                                 {"critical", critical},
                                                 {"warnings", warnings},
                                                 {"skipped", count(findings, Severity::skipped)},
                                                 {"cluster", request.where.cluster},
                                                 {"repository", request.where.url},
                                                 {"checks", findings_json(findings)}}));
  if (diagnosis.healthy()) return 0;
  std::vector<std::string> ids;
  for (const ops::Finding& finding : findings) {
    if (finding.severity == Severity::critical) ids.push_back(finding.id);
  }
  return make_error(ErrorKind::check_failed, cat("cluster ", request.where.cluster),
                    cat("critical: ", join(ids, ", ")));
}

}  // namespace

extern const Command kDoctorCommand;
constinit const Command kDoctorCommand = {
    .path = "doctor",
    .summary = "check server, archiving and repository; name causes and fixes",
    .description =
        "Looks at the server's settings, its role and slots, at archive_command and everything that stands "
        "behind it (program, key, directory, as the server's own user sees them), at the archiver's record "
        "and backlog, at disks, at the repository, its newest backup and the WAL since. Says of each check "
        "what was found, and of what is wrong why it is so and which commands mend it.\n\n"
        "\"WAL segment was not archived\" is explained by the last error of our own wal push, else by the "
        "first thing on its way that is broken.\n\n"
        "Changes nothing. Run it on the database's host as the owner of the data directory: from elsewhere "
        "the checks of files are skipped.",
    .danger = Danger::read,
    .groups = {&kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# everything about one cluster\n"
        "lifeboat doctor --repo /srv/backup --pg 'host=/run/postgresql' --pgdata "
        "/var/lib/postgresql/15/main\n"
        "# for a monitoring system\n"
        "lifeboat doctor --output json",
    .exit_notes = "0: nothing critical (warnings do not count). 17: something critical.",
    .schema = R"({
  "type": "object",
  "required": ["healthy", "critical", "warnings", "checks"],
  "properties": {
    "healthy": {"type": "boolean", "description": "no check is critical"},
    "critical": {"type": "integer"},
    "warnings": {"type": "integer"},
    "skipped": {"type": "integer"},
    "cluster": {"type": "string"},
    "repository": {"type": "string"},
    "checks": {"type": "array", "items": )" LIFEBOAT_FINDING_SCHEMA R"(}
  }
})",
    .handler = handle,
};

}  // namespace lifeboat::app
