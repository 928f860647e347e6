// The preflight for people.
#include "ops/restore/plan.h"
#include "pg/format/version.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

std::string time_text(const TimeEstimate& estimate) {
  std::string copy = estimate.copy_seconds ? format_seconds(*estimate.copy_seconds) : "unknown";
  std::string replay = estimate.replay_seconds ? format_seconds(*estimate.replay_seconds) : "unknown";
  return cat("copy ", copy, ", WAL replay ", replay, " (", estimate.basis, ")");
}

std::string target_text(const RestorePlan& plan) {
  std::string text = plan.asked.to_string();
  if (plan.reach.past_last_commit) text += cat(", which is after the last commit: up to the end of WAL");
  return cat(text, ", on timeline ", plan.reach.timeline.value, ", then ", to_string(plan.action));
}

}  // namespace

std::string render_plan(const RestorePlan& plan) {
  std::string out;
  auto line = [&](std::string_view label, const std::string& text) {
    out += cat(label, std::string(label.size() < 12 ? 12 - label.size() : 1, ' '), text, "\n");
  };
  line("cluster",
       cat(plan.cluster, ", lineage ", plan.lineage.to_string(),
           plan.other_lineages == 0 ? "" : cat(" (the cluster has ", plan.other_lineages, " more)")));
  line("backup", cat(plan.backup.id.text, ", ", to_string(plan.backup.type), ", ended ",
                     plan.backup.stopped.to_string(), " at ", plan.backup.stop_lsn.to_string(),
                     ", PostgreSQL ", pg::PgVersion{plan.backup.server_version_num}.to_string()));
  line("target", target_text(plan));
  line("reaches", cat(plan.reach.stop.to_string(), ", last commit ",
                      plan.reach.last_commit.valid() ? plan.reach.last_commit.to_string()
                                                     : std::string("before the backup's end")));
  line("WAL",
       cat(format_bytes(plan.reach.wal_bytes), " in ", counted(plan.reach.segments, "segment"), " from ",
           plan.replay_from.to_string(),
           plan.reach.partial ? cat(", the last one unfinished: ", plan.reach.partial->segment.to_string())
                              : ""));
  line("size", cat(format_bytes(plan.bytes), " in ", counted(plan.files, "file")));
  for (const Placement& place : plan.placements) {
    std::string what = place.tablespace == 0 ? std::string("directory") : std::string("tablespace");
    std::string text = place.final_path;
    if (place.tablespace != 0) text = cat(place.name, ": ", place.recorded, " → ", place.final_path);
    if (place.overwrites) text += ", what is there now is overwritten by block and not kept";
    if (!place.kept_as.empty()) text += cat(", what is there now is kept as ", place.kept_as);
    line(what, text);
  }
  if (!plan.in_place_tablespaces.empty())
    line("in place", cat("tablespaces ", join(plan.in_place_tablespaces, ", ")));
  for (const SpaceNeed& need : plan.space) {
    line("space", cat(format_bytes(need.needed), " needed, ", format_bytes(need.free),
                      " free on the file system of ", need.path));
  }
  line("time", time_text(plan.estimate));
  line("owner", plan.owner);
  line("programs",
       plan.pg_bin ? cat(plan.pg_bin->directory, ", ", plan.pg_bin->version) : "none on this host");
  line("archiving", plan.archive_off ? "off in the restored copy" : "as the settings of the backup say");
  for (const std::string& file : plan.rescue) line("rescue", cat(file, " is stored first"));
  for (const std::string& directory : plan.clears)
    line("clears", cat(directory, ", left by an aborted restore"));
  for (const std::string& note : plan.reach.notes) line("note", note);
  for (const std::string& warning : plan.warnings) line("warning", warning);
  return out;
}

}  // namespace lifeboat::ops
