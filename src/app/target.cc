#include "app/target.h"

#include "app/options.h"
#include "util/strings.h"

namespace lifeboat::app {

namespace {

constexpr Option kBackupChoice[] = {
    {.name = "backup",
     .kind = ValueKind::backup,
     .placeholder = "ID",
     .help = "which backup (default: the newest that ends before the target)"},
    {.name = "lineage",
     .kind = ValueKind::text,
     .placeholder = "ID",
     .help = "system identifier and major version, as list shows them (default: the newest of the cluster)"},
};

Result<ops::RecoveryTarget> target_of(const Invocation& invocation) {
  ops::RecoveryTarget target;
  target.inclusive = !invocation.flag("exclusive");
  if (auto time = invocation.time("target-time")) {
    target.kind = pg::TargetKind::time;
    target.time = *time;
  } else if (auto lsn = invocation.lsn("target-lsn")) {
    target.kind = pg::TargetKind::lsn;
    target.lsn = *lsn;
  } else if (auto xid = invocation.text("target-xid")) {
    target.kind = pg::TargetKind::xid;
    target.xid = parse_u64(*xid).value_or(0);
  } else if (auto name = invocation.text("target-name")) {
    target.kind = pg::TargetKind::name;
    target.name = *name;
  } else if (invocation.text("target").value_or("latest") == "immediate") {
    target.kind = pg::TargetKind::immediate;
  }
  bool positional = target.kind == pg::TargetKind::time || target.kind == pg::TargetKind::lsn ||
                    target.kind == pg::TargetKind::xid;
  if (!target.inclusive && !positional) {
    return make_error(ErrorKind::usage, "--exclusive",
                      "goes with --target-time, --target-lsn or --target-xid only");
  }
  return target;
}

}  // namespace

constinit const OptionGroup kBackupChoiceOptions = {"Backup", kBackupChoice};

bool has_target(const Invocation& invocation) {
  for (std::string_view name : {"target-time", "target-lsn", "target-xid", "target-name", "target"}) {
    Source source = invocation.source(name);
    if (source != Source::none && source != Source::default_text) return true;
  }
  return false;
}

Result<TargetOptions> target_options(const Invocation& invocation) {
  TargetOptions options;
  TRY_ASSIGN(options.target, target_of(invocation));
  if (auto lineage = invocation.text("lineage")) {
    options.lineage = Lineage::parse(*lineage);
    if (!options.lineage) {
      return make_error(ErrorKind::usage, cat("--lineage ", *lineage),
                        "not a lineage, expected something like 7424242424242424242-15");
    }
  }
  if (auto backup = invocation.text("backup"); backup && *backup != "latest")
    options.backup = BackupId::parse(*backup);
  std::string timeline = invocation.text("timeline").value_or("latest");
  if (timeline == "current") {
    options.choice = ops::TimelineChoice::current;
  } else if (timeline != "latest") {
    options.choice = ops::TimelineChoice::number;
    options.timeline = {static_cast<uint32_t>(parse_u64(timeline).value_or(0))};
  } else if (invocation.source("timeline") != Source::default_text &&
             invocation.source("timeline") != Source::none) {
    options.choice = ops::TimelineChoice::latest;
  }
  return options;
}

}  // namespace lifeboat::app
