#include "app/before.h"

#include <map>

#include "app/output.h"
#include "ops/restore/restore.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr Option kBefore[] = {
    {.name = "before-drop",
     .kind = ValueKind::text,
     .placeholder = "TABLE",
     .help = "recover to just before the transaction that dropped this table (also SCHEMA.TABLE, "
             "DATABASE.SCHEMA.TABLE, or a database): as wal find --dropped finds it",
     .excludes = "before-xid|target-time|target-lsn|target-xid|target-name|target|exclusive"},
    {.name = "before-xid",
     .kind = ValueKind::xid,
     .placeholder = "XID",
     .help = "recover to just before the commit of this transaction",
     .excludes = "target-time|target-lsn|target-xid|target-name|target|exclusive"},
};

}  // namespace

constinit const OptionGroup kBeforeOptions = {"Before a transaction", kBefore};

std::string nearly_named(const ops::ChosenLineage& lineage, ops::FindRequest request, Reporter& reporter,
                         StopToken& stop) {
  const std::string typed = request.table.substr(request.table.rfind('.') + 1);
  request.table.clear();
  request.limit = 1000;
  auto all = ops::find_wal(lineage, request, reporter, stop);
  if (!all) return "";
  std::map<std::string_view, std::string> known;
  for (const ops::WalFinding& finding : all->findings) {
    if (!finding.dropped_database.empty()) known[finding.dropped_database] = finding.dropped_database;
    for (const auto* tables : {&finding.dropped, &finding.truncated})
      for (const ops::FoundTable& one : *tables)
        if (!one.table.empty()) known[one.table] = cat(one.schema, one.schema.empty() ? "" : ".", one.table);
  }
  std::vector<std::string_view> names;
  for (const auto& [name, whole] : known) names.push_back(name);
  const std::string_view near = nearest(typed, names);
  return near.empty() ? "" : known[near];
}

bool has_before(const Invocation& invocation) {
  return invocation.has("before-drop") || invocation.has("before-xid");
}

Result<ops::WalFinding> stop_before(const Invocation& invocation, ops::FindRequest request,
                                    ops::RestoreOptions& options, Reporter& reporter) {
  request.backup = options.backup;
  if (options.timeline_choice == ops::TimelineChoice::number) request.timeline = options.timeline;
  TRY_ASSIGN(ops::RestoreSource source, ops::open_restore(options));
  TRY_ASSIGN(ops::FindResult result, ops::find_wal(*source.lineage, request, reporter, invocation.stop()));
  for (const std::string& note : result.notes) invocation.output().note(LogLevel::warning, note);
  auto only = ops::only_finding(result, request);
  if (!only && result.findings.empty() && !request.table.empty()) {
    const std::string near = nearly_named(*source.lineage, request, reporter, invocation.stop());
    if (!near.empty())
      return std::move(only).error().with_hint(
          cat(only.error().hint, "; a table that was dropped and has nearly that name: ", near));
  }
  TRY_ASSIGN(ops::WalFinding found, std::move(only));
  invocation.output().note(LogLevel::info,
                           cat("transaction ", found.xid, ", committed at ", found.time.to_string(), ", ",
                               found.to_string(), "; recovery stops just before it"));
  options.target.kind = pg::TargetKind::lsn;
  options.target.lsn = found.target;
  options.target.inclusive = false;
  if (result.several_timelines && options.timeline_choice == ops::TimelineChoice::unset) {
    options.timeline_choice = ops::TimelineChoice::number;
    options.timeline = result.timeline;
  }
  return found;
}

Result<std::optional<ops::WalFinding>> stop_before_transaction(const Invocation& invocation,
                                                               ops::RestoreOptions& options,
                                                               Reporter& reporter) {
  auto table = invocation.text("before-drop");
  auto xid = invocation.text("before-xid");
  if (!table && !xid) return std::optional<ops::WalFinding>();
  ops::FindRequest request;
  request.what = table ? ops::FindWhat::dropped : ops::FindWhat::xid;
  request.table = table.value_or("");
  request.xid = static_cast<uint32_t>(parse_u64(xid.value_or("")).value_or(0));
  TRY_ASSIGN(ops::WalFinding found, stop_before(invocation, std::move(request), options, reporter));
  return std::optional(std::move(found));
}

}  // namespace lifeboat::app
