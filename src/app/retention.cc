#include "app/retention.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::app {
namespace {

std::optional<double> days(const Invocation& invocation, std::string_view name) {
  auto number = invocation.integer(name);
  return number ? std::optional(static_cast<double>(*number)) : std::nullopt;
}

std::optional<uint32_t> count(const Invocation& invocation, std::string_view name) {
  auto number = invocation.integer(name);
  return number ? std::optional(static_cast<uint32_t>(*number)) : std::nullopt;
}

constexpr Option kRetention[] = {
    {.name = "keep-count",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "keep the newest N backups",
     .min = 1,
     .max = 1'000'000,
     .section = ConfigSection::cluster},
    {.name = "keep-days",
     .kind = ValueKind::integer,
     .placeholder = "DAYS",
     .help = "keep backups of the last DAYS days",
     .min = 1,
     .max = 36500,
     .section = ConfigSection::cluster},
    {.name = "pitr-days",
     .kind = ValueKind::integer,
     .placeholder = "DAYS",
     .help = "keep what recovery to any moment of the last DAYS days needs: backups and all WAL",
     .min = 1,
     .max = 36500,
     .section = ConfigSection::cluster},
    {.name = "dump-keep-count",
     .kind = ValueKind::integer,
     .placeholder = "N",
     .help = "keep the newest N dumps of each database; those of some tables, or of its schema alone, are "
             "counted by themselves",
     .min = 1,
     .max = 1'000'000,
     .section = ConfigSection::cluster},
    {.name = "dump-keep-days",
     .kind = ValueKind::integer,
     .placeholder = "DAYS",
     .help = "keep dumps of the last DAYS days",
     .min = 1,
     .max = 36500,
     .section = ConfigSection::cluster},
    {.name = "compliance-days",
     .kind = ValueKind::integer,
     .placeholder = "DAYS",
     .help =
         "how long law or contract ask for backups to be kept; 0: nothing does; expire refuses rules below "
         "it",
     .min = 0,
     .max = 36500,
     .section = ConfigSection::cluster},
    {.name = "legal-hold", .help = "nothing expires while it stands", .section = ConfigSection::cluster},
};

}  // namespace

constinit const OptionGroup kRetentionOptions = {"Retention", kRetention};

Status check_compliance(const RetentionRules& rules, bool has_backups) {
  if (has_backups && rules.backups.empty()) return {};  // none of them expires
  const repo::RetentionPolicy& policy = has_backups ? rules.backups : rules.dumps;
  const double days = std::max(policy.keep_days.value_or(0), policy.pitr_days.value_or(0));
  if (policy.empty() || days >= rules.compliance_days) return {};
  const std::string_view option = has_backups ? "keep-days" : "dump-keep-days";
  return make_error(ErrorKind::config, "retention",
                    cat(days > 0 ? cat(static_cast<int64_t>(days), " days are")
                                 : std::string("a count of backups is"),
                        " below the compliance minimum of ", static_cast<int64_t>(rules.compliance_days),
                        " days: nothing expires"))
      .with_hint(cat(option, " = ", static_cast<int64_t>(rules.compliance_days),
                     ", or mend compliance-days where it is stated"));
}

RetentionRules read_retention(const Invocation& invocation) {
  RetentionRules rules;
  rules.backups.keep_count = count(invocation, "keep-count");
  rules.backups.keep_days = days(invocation, "keep-days");
  rules.backups.pitr_days = days(invocation, "pitr-days");
  rules.dumps.keep_count = count(invocation, "dump-keep-count");
  rules.dumps.keep_days = days(invocation, "dump-keep-days");
  rules.compliance_days = days(invocation, "compliance-days").value_or(0);
  rules.legal_hold = invocation.flag("legal-hold");
  // What the configuration forbids neither an option nor the environment allows.
  if (const ConfigBlock* section = invocation.cluster_section(); section != nullptr) {
    for (const ConfigValue& value : section->values) {
      if (value.option->name == "legal-hold")
        rules.legal_hold = rules.legal_hold || value.values.front() == "true";
      if (value.option->name == "compliance-days")
        rules.compliance_days =
            std::max(rules.compliance_days, static_cast<double>(parse_i64(value.values.front()).value_or(0)));
    }
  }
  return rules;
}

}  // namespace lifeboat::app
