#include "app/cli/restore_output.h"

#include <nlohmann/json.hpp>

#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {

namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}
Json or_null(const std::string& value) {
  return value.empty() ? Json(nullptr) : Json(value);
}

Json phases_json(const ops::RestorePhases& phases) {
  return {{"preflight", phases.preflight}, {"rescue", phases.rescue},      {"copy", phases.copy},
          {"configure", phases.configure}, {"sync", phases.sync},          {"replace", phases.replace},
          {"start", phases.start},         {"recovery", phases.recovery},  {"validate", phases.validate},
          {"promote", phases.promote},     {"follow_up", phases.follow_up}};
}

Json compared_json(const std::optional<ops::RestoreOutcome::Compared>& compared) {
  if (!compared) return nullptr;
  return {{"read_bytes", compared->read},       {"unchanged_bytes", compared->unchanged},
          {"fetched_bytes", compared->fetched}, {"fetched_stored_bytes", compared->fetched_stored},
          {"written_bytes", compared->written}, {"removed", compared->removed}};
}

std::string recovery_text(const ops::RecoveryResult& recovery) {
  std::string text = cat(to_string(recovery.phase), " at ", recovery.replayed.to_string());
  if (recovery.last_commit.valid()) text += cat(", last commit ", recovery.last_commit.to_string());
  if (recovery.timeline.value != 0) text += cat(", on timeline ", recovery.timeline.value);
  return text;
}

}  // namespace

Json plan_json(const ops::RestorePlan& plan) {
  Json placements = Json::array();
  for (const ops::Placement& place : plan.placements) {
    placements.push_back({{"tablespace", or_null(place.name)},
                          {"recorded", place.recorded},
                          {"path", place.final_path},
                          {"bytes", place.bytes},
                          {"files", place.files},
                          {"kept_as", or_null(place.kept_as)}});
  }
  Json space = Json::array();
  for (const ops::SpaceNeed& need : plan.space) {
    space.push_back({{"path", need.path}, {"needed_bytes", need.needed}, {"free_bytes", need.free}});
  }
  return {{"cluster", plan.cluster},
          {"lineage", plan.lineage.to_string()},
          {"backup", plan.backup.id.text},
          {"backup_type", to_string(plan.backup.type)},
          {"backup_stopped", json_time(plan.backup.stopped)},
          {"target", plan.asked.to_string()},
          {"effective_target", plan.reach.effective.to_string()},
          {"timeline", plan.reach.timeline.value},
          {"action", to_string(plan.action)},
          {"stop_lsn", plan.reach.stop.to_string()},
          {"last_commit", json_time(plan.reach.last_commit)},
          {"next_commit", json_time(plan.reach.next_commit)},
          {"replay_from", plan.replay_from.to_string()},
          {"wal_bytes", plan.reach.wal_bytes},
          {"wal_segments", plan.reach.segments},
          {"unfinished_segment",
           plan.reach.partial ? Json(plan.reach.partial->segment.to_string()) : Json(nullptr)},
          {"bytes", plan.bytes},
          {"files", plan.files},
          {"placements", placements},
          {"space", space},
          {"estimate",
           {{"copy_seconds", or_null(plan.estimate.copy_seconds)},
            {"replay_seconds", or_null(plan.estimate.replay_seconds)},
            {"basis", plan.estimate.basis}}},
          {"replace", plan.replace},
          {"delta", plan.delta},
          {"rescue", plan.rescue},
          {"owner", plan.owner},
          {"pg_bin", plan.pg_bin ? Json(plan.pg_bin->directory) : Json(nullptr)},
          {"archive_off", plan.archive_off},
          {"notes", plan.reach.notes},
          {"warnings", plan.warnings}};
}

Json locked_json(const ops::RecoveryResult& recovery) {
  Json locked = Json::array();
  for (const ops::LockedTable& one : recovery.locked) {
    locked.push_back({{"database", one.database}, {"table", one.table}});
  }
  return locked;
}

Json outcome_json(const ops::RestoreOutcome& outcome) {
  Json recovery = nullptr;
  if (outcome.recovery) {
    const ops::RecoveryResult& r = *outcome.recovery;
    recovery = {{"phase", to_string(r.phase)},
                {"replayed_lsn", r.replayed.to_string()},
                {"last_commit", json_time(r.last_commit)},
                {"timeline", r.timeline.value == 0 ? Json(nullptr) : Json(r.timeline.value)},
                {"port", r.port},
                {"socket_directory", r.socket_directory},
                {"log_file", r.log_file},
                {"pid", r.pid},
                {"locked", locked_json(r)}};
  }
  return {{"dry_run", false},
          {"directory", outcome.plan.placements.front().final_path},
          {"plan", plan_json(outcome.plan)},
          {"files", outcome.files},
          {"bytes", outcome.bytes},
          {"compared", compared_json(outcome.compared)},
          {"phases", phases_json(outcome.phases)},
          {"seconds", outcome.phases.total()},
          {"kept", outcome.kept},
          {"rescued", outcome.rescued},
          {"notes", outcome.notes},
          {"recovery", recovery},
          {"copy_out_commands", outcome.copy_out_commands},
          {"next_command", or_null(outcome.next_command)}};
}

void add_locked(Facts& facts, const ops::RecoveryResult& recovery) {
  for (const ops::LockedTable& locked : recovery.locked) {
    facts.add("locked",
              cat(locked.table, " in database ", locked.database,
                  ": a transaction that the target cuts off holds it, and reading it waits until the copy "
                  "is promoted, which rolls that transaction back"));
  }
}

std::string copy_out_text(const std::vector<std::string>& commands) {
  std::string text;
  if (!commands.empty()) text = "once it is promoted, copied out by:\n";
  for (const std::string& command : commands) text += cat(command, "\n");
  return text;
}

std::string outcome_text(const ops::RestoreOutcome& outcome) {
  Facts facts;
  const ops::RestorePhases& p = outcome.phases;
  facts.add("restored", outcome.plan.placements.front().final_path);
  facts.add("backup", outcome.plan.backup.id.text);
  facts.add("target", cat(outcome.plan.asked.to_string(), ", reaches ", outcome.plan.reach.stop.to_string(),
                          " on timeline ", outcome.plan.reach.timeline.value));
  if (outcome.compared) {
    const ops::RestoreOutcome::Compared& c = *outcome.compared;
    facts.add("compared", cat(format_bytes(outcome.bytes), " in ", counted(outcome.files, "file"), ": ",
                              format_bytes(c.read), " read here, ", format_bytes(c.unchanged), " unchanged"));
    facts.add("fetched", cat(format_bytes(c.fetched), " (", format_bytes(c.fetched_stored), " as stored), ",
                             format_bytes(c.written), " written"));
    if (c.removed > 0)
      facts.add("removed", cat(counted(c.removed, "file"), " that the backup does not have"));
  } else {
    facts.add("written", cat(format_bytes(outcome.bytes), " in ", counted(outcome.files, "file")));
  }
  std::string time = cat(format_seconds(p.total()), " (preflight ", format_seconds(p.preflight));
  for (auto [name, seconds] : {std::pair<const char*, double>{"rescue", p.rescue},
                               {"copy", p.copy},
                               {"configure", p.configure},
                               {"sync", p.sync},
                               {"replace", p.replace},
                               {"start", p.start},
                               {"recovery", p.recovery},
                               {"promote", p.promote}}) {
    if (seconds > 0) time += cat(", ", name, " ", format_seconds(seconds));
  }
  facts.add("time", time + ")");
  for (const std::string& file : outcome.rescued) facts.add("rescued", file);
  for (const std::string& kept : outcome.kept) facts.add("kept", kept);
  if (outcome.recovery) {
    facts.add("recovery", recovery_text(*outcome.recovery));
    add_locked(facts, *outcome.recovery);
  }
  std::string text = facts.to_string();
  text += copy_out_text(outcome.copy_out_commands);
  if (!outcome.next_command.empty()) text += cat("next:\n", outcome.next_command, "\n");
  return text;
}

}  // namespace lifeboat::app
