#include "app/cli/recover_questions.h"

#include "app/before.h"
#include "app/location.h"
#include "app/output.h"
#include "app/restored.h"
#include "app/target.h"
#include "app/terminal.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr Option kRecover[] = {
    {.name = "failure",
     .kind = ValueKind::choice,
     .placeholder = "WHAT",
     .help = "what failed (at a terminal it is asked for)",
     .choices = "primary-lost|data-changed|corruption|region-lost"},
    {.name = "noticed",
     .kind = ValueKind::time,
     .placeholder = "TIME",
     .help = "when it was noticed: the downtime counts from there (default: now)"},
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "beside the cluster: into this directory, absent or empty; archiving is off there (default: in "
             "place of "
             "--pgdata)",
     .excludes = "stop"},
    {.name = "stop",
     .help = "stop the server that runs in --pgdata, once the target is known to be reachable"},
    {.name = "dry-run", .help = "everything up to the plan; nothing is touched"},
    {.name = "record",
     .kind = ValueKind::path,
     .placeholder = "DIR",
     .help = "write the post-mortem record there too; made when absent"},
    {.name = "recovery-timeout",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "give up watching the recovery after this long (default: no limit)"},
    {.name = "rpo",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "the target, for the verdict",
     .section = ConfigSection::cluster},
    {.name = "rto",
     .kind = ValueKind::duration,
     .placeholder = "TIME",
     .help = "the target, for the verdict",
     .section = ConfigSection::cluster},
};

Error usage(std::string message, std::string hint) {
  return make_error(ErrorKind::usage, "lifeboat recover", std::move(message)).with_hint(std::move(hint));
}

Result<ready::Failure> which_failure(const Invocation& invocation) {
  if (auto given = invocation.text("failure")) return *ready::parse_failure(*given);
  if (!may_ask(invocation))
    return usage("needs --failure", "primary-lost, data-changed, corruption or region-lost");
  constexpr ready::Failure kOrder[] = {ready::Failure::primary_lost, ready::Failure::data_changed,
                                       ready::Failure::corruption, ready::Failure::region_lost};
  while (true) {
    TRY_ASSIGN(
        std::string answer,
        ask_line(
            "What failed?\n  1  the primary is lost (host, disk, server)\n  2  data was changed or dropped "
            "by mistake\n  3  files are damaged\n  4  the whole site is lost\nNumber, or the name that "
            "--failure "
            "takes: "));
    auto number = parse_u64(answer);
    if (number && *number >= 1 && *number <= std::size(kOrder)) return kOrder[*number - 1];
    if (auto named = ready::parse_failure(trim(answer))) return *named;
  }
}

bool has_moment(const Invocation& invocation) {
  return has_target(invocation) || has_before(invocation);
}

// "dropped TABLE", "xid N", or a time.
Result<std::optional<ops::WalFinding>> ask_moment(const Invocation& invocation, ops::RestoreOptions& options,
                                                  Reporter& reporter) {
  while (true) {
    TRY_ASSIGN(std::string answer,
               ask_line("To just before what? `dropped TABLE`, `xid NUMBER`, or a time with its zone\n"
                        "(lifeboat wal find searches for more): "));
    const size_t space = answer.find(' ');
    const std::string_view word = std::string_view(answer).substr(0, space);
    const std::string_view rest =
        space == std::string::npos ? "" : trim(std::string_view(answer).substr(space));
    ops::FindRequest request;
    if (word == "dropped" && !rest.empty()) {
      request.what = ops::FindWhat::dropped;
      request.table = rest;
    } else if (auto xid = parse_u64(rest); word == "xid" && xid) {
      request.what = ops::FindWhat::xid;
      request.xid = static_cast<uint32_t>(*xid);
    } else {
      auto time = parse_time(answer);
      if (!time) {
        invocation.output().note(LogLevel::warning, time.error().to_string());
        continue;
      }
      options.target.kind = pg::TargetKind::time;
      options.target.time = *time;
      return std::optional<ops::WalFinding>();
    }
    auto found = stop_before(invocation, std::move(request), options, reporter);
    if (found) return std::optional(std::move(*found));
    if (found.error().kind != ErrorKind::not_found && found.error().kind != ErrorKind::precondition)
      return std::move(found).error();
    invocation.output().note(LogLevel::warning, cat(found.error().to_string(), "; ", found.error().hint));
  }
}

Result<std::optional<ops::WalFinding>> choose_moment(const Invocation& invocation, ready::Failure failure,
                                                     ops::RestoreOptions& options, Reporter& reporter) {
  if (has_moment(invocation) || failure != ready::Failure::data_changed)
    return stop_before_transaction(invocation, options, reporter);
  if (!may_ask(invocation))
    return usage(
        "data-changed needs the moment to go back to",
        "--target-time, --before-drop, --before-xid and the like; lifeboat wal find searches for it");
  return ask_moment(invocation, options, reporter);
}

// Beside the cluster, or in its place.
Status choose_place(const Invocation& invocation, ready::Failure failure, ops::RestoreOptions& options) {
  auto to = invocation.text("to");
  auto pgdata = invocation.pgdata();
  if (!to && failure == ready::Failure::data_changed && may_ask(invocation)) {
    TRY_ASSIGN(std::string answer,
               ask_line("Make a copy beside the cluster in which directory? (empty: go back in place): "));
    if (answer.starts_with('/'))
      to = answer;
    else if (!answer.empty())
      return usage(cat("'", answer, "' is not an absolute path"), "begin it with /");
  }
  if (to) {
    options.directory = *to;
  } else {
    if (!pgdata)
      return usage("needs --pgdata, the cluster's data directory, or --to DIR",
                   "--to makes a copy beside it");
    options.replace = true;
    TRY_ASSIGN(options.directory, resolve_path(*pgdata));
  }
  while (options.directory.size() > 1 && options.directory.ends_with('/')) options.directory.pop_back();
  return {};
}

}  // namespace

constinit const OptionGroup kRecoverOptions = {"Recover", kRecover};

bool may_ask(const Invocation& invocation) {
  return have_terminal() && !invocation.yes() && !invocation.output().json();
}

Result<RecoverWish> read_wish(const Invocation& invocation, Reporter& reporter) {
  RecoverWish wish;
  ops::RestoreOptions& options = wish.request.restore;
  TRY_ASSIGN(options.location, repo_location(invocation));
  TRY_ASSIGN(TargetOptions target, target_options(invocation));
  TRY_ASSIGN(wish.failure, which_failure(invocation));
  options.lineage = target.lineage;
  options.backup = target.backup;
  options.target = target.target;
  options.timeline_choice = target.choice;
  options.timeline = target.timeline;
  options.moment = {invocation.clock().unix_us()};
  TRY(read_restored_options(invocation, options));
  if (auto timeout = invocation.duration_us("recovery-timeout"))
    options.recovery_timeout_ms = *timeout / 1000;
  wish.request.stops_server = invocation.flag("stop");
  TRY(choose_place(invocation, wish.failure, options));
  wish.request.preserves = options.replace;
  TRY_ASSIGN(wish.found, choose_moment(invocation, wish.failure, options, reporter));
  return wish;
}

}  // namespace lifeboat::app
