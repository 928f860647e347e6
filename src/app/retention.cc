#include "app/retention.h"

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
};

}  // namespace

constinit const OptionGroup kRetentionOptions = {"Retention", kRetention};

RetentionRules read_retention(const Invocation& invocation) {
  RetentionRules rules;
  rules.backups.keep_count = count(invocation, "keep-count");
  rules.backups.keep_days = days(invocation, "keep-days");
  rules.backups.pitr_days = days(invocation, "pitr-days");
  rules.dumps.keep_count = count(invocation, "dump-keep-count");
  rules.dumps.keep_days = days(invocation, "dump-keep-days");
  return rules;
}

}  // namespace lifeboat::app
