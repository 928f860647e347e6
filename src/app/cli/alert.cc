// lifeboat alert: telling people what the signals say, and configuring Prometheus and Grafana to do so.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/alerting.h"
#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/readings.h"
#include "app/render.h"
#include "ready/metrics/rules.h"
#include "util/files.h"
#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

std::string names_of(const ready::AlertMessage& message) {
  if (message.kind == ready::AlertMessage::Kind::heartbeat) return "heartbeat";
  std::vector<std::string> parts;
  for (const ready::AlertItem& item : message.items) {
    const bool fires = item.status == ready::AlertItem::Status::firing;
    parts.push_back(cat(item.signal, " ", fires ? ready::severity_name(item.severity) : "resolved"));
  }
  return join(parts, ", ");
}

std::string messages_table(const std::vector<SentMessage>& messages) {
  Table table({{"receiver"}, {"what"}, {"result"}});
  for (const SentMessage& sent : messages)
    table.add({sent.receiver, names_of(sent.message), sent.error.empty() ? "delivered" : sent.error});
  return table.empty() ? "" : table.to_string();
}

std::vector<std::string> not_reached(const std::vector<SentMessage>& messages) {
  std::vector<std::string> failed;
  for (const SentMessage& sent : messages) {
    if (!sent.error.empty() && std::ranges::find(failed, sent.receiver) == failed.end())
      failed.push_back(sent.receiver);
  }
  return failed;
}

// Who was not told, now or at an earlier check after which no new attempt is due yet; an error only then.
Result<int> outcome_of(const AlertCheck& done) {
  std::vector<std::string> failed = not_reached(done.messages);
  if (!failed.empty())
    return make_error(ErrorKind::unavailable, join(failed, ", "), "could not be told")
        .with_hint("what is due stays due: the next check tries again, later each time");
  if (done.unreached.empty()) return 0;
  failed = done.unreached;
  Timestamp next = done.states.at(failed.front()).next_try;
  for (const std::string& name : failed) next = std::min(next, done.states.at(name).next_try);
  return make_error(ErrorKind::unavailable, join(failed, ", "),
                    cat("could not be told at an earlier check: ", done.states.at(failed.front()).last_error))
      .with_hint(cat("what is due stays due: the next attempt is at ", next.to_string()));
}

Result<int> check(const Invocation& invocation) {
  TRY_ASSIGN(AlertCheck done, check_alerts(invocation));
  if (done.receivers.empty())
    invocation.output().note(LogLevel::warning,
                             "nobody is told: the configuration has no section [alert.NAME]");
  invocation.output().text(messages_table(done.messages));
  // Cron mails what is printed: with --quiet only what was sent.
  if (!invocation.flag("quiet"))
    invocation.output().text(cat(counted(done.firing, "alert"), " firing, ",
                                 counted(done.messages.size(), "message"), ", ", done.waiting,
                                 " still to be told\n"));
  invocation.output().document(to_json_text(done.to_json()));
  return outcome_of(done);
}

Result<int> test(const Invocation& invocation) {
  const std::string id = invocation.positional(0);
  if (!id.empty() && ready::find_signal(id) == nullptr) {
    std::vector<std::string_view> known;
    for (const ready::SignalInfo& signal : ready::signals()) known.push_back(signal.id);
    const std::string_view near = nearest(id, known);
    return make_error(ErrorKind::usage, id, "is no signal")
        .with_hint(near.empty() ? std::string("lifeboat status shows them all")
                                : cat("did you mean ", near, "?"));
  }
  if (invocation.config().receivers.empty())
    return make_error(
        ErrorKind::config,
        invocation.config_path().empty() ? std::string(kDefaultConfigPath) : invocation.config_path(),
        "there is nobody to tell: no section [alert.NAME]");
  TRY_ASSIGN(ready::SignalReport report, read_signals(invocation, Owners::required));
  std::vector<std::string> ids;
  for (const ready::Reading& reading : report.readings)
    if (id.empty() || reading.signal->id == id) ids.emplace_back(reading.signal->id);
  if (ids.empty()) return make_error(ErrorKind::usage, id, "is switched off in the configuration");
  const std::vector<SentMessage> sent = test_alerts(invocation, report, ids);
  if (sent.empty())
    return make_error(ErrorKind::check_failed, join(ids, ", "), "no receiver would be told of it")
        .with_hint("look at severity, clusters and signals in the sections [alert.NAME]");
  Json list = Json::array();
  for (const SentMessage& one : sent) {
    list.push_back({{"receiver", one.receiver},
                    {"what", names_of(one.message)},
                    {"delivered", one.error.empty()},
                    {"error", one.error}});
  }
  invocation.output().text(messages_table(sent));
  invocation.output().document(
      to_json_text(Json{{"cluster", report.cluster}, {"signals", ids}, {"messages", std::move(list)}}));
  const std::vector<std::string> failed = not_reached(sent);
  if (failed.empty()) return 0;
  return make_error(ErrorKind::unavailable, join(failed, ", "), "could not be told")
      .with_hint(
          "a test is not tried again: mend what the result names, in its section [alert.NAME] or there");
}

// Text that is made for other programs, into a file or onto standard output.
Result<int> give(const Invocation& invocation, const std::string& text) {
  constexpr mode_t kFileMode = 0644;
  auto to = invocation.text("to");
  if (to)
    TRY(write_file_durable(*to, as_bytes(text), kFileMode));
  else
    invocation.output().text(text);
  invocation.output().document(to_json_text(Json{{"file", to ? Json(*to) : Json(nullptr)},
                                                 {"bytes", text.size()},
                                                 {"text", to ? Json(nullptr) : Json(text)}}));
  return 0;
}

// All clusters of the file, or the one that was asked for.
Result<std::vector<ready::ClusterRules>> clusters_of(const Invocation& invocation) {
  std::vector<ready::ClusterRules> clusters;
  for (const ConfigBlock& block : invocation.config().blocks) {
    if (block.section != ConfigSection::cluster) continue;
    if (invocation.source("cluster") == Source::command_line && block.name != invocation.cluster()) continue;
    ready::SignalSettings settings{invocation.text("owner").value_or(""), block.signals};
    for (const ConfigValue& value : block.values)
      if (value.option->name == "owner" && invocation.source("owner") != Source::command_line)
        settings.owner = value.values.front();
    TRY(settings.require_owners(block.name));
    clusters.push_back(
        {block.name, std::move(settings), static_cast<double>(block.service.signals_us) / 1e6});
  }
  if (clusters.empty()) {
    TRY_ASSIGN(ready::SignalSettings settings, signal_settings(invocation, Owners::required));
    clusters.push_back({invocation.cluster(), std::move(settings), 0});
  }
  return clusters;
}

Result<int> rules(const Invocation& invocation) {
  TRY_ASSIGN(auto clusters, clusters_of(invocation));
  return give(invocation, ready::prometheus_rules(clusters));
}

Result<int> dashboard(const Invocation& invocation) {
  return give(invocation, ready::grafana_dashboard());
}

constexpr Option kFileOptions[] = {
    {.name = "to",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "write into this file, whole or not at all, instead of standard output"},
};
constinit const OptionGroup kFileGroup = {"Result", kFileOptions};

constexpr Positional kTestPositionals[] = {
    {.name = "SIGNAL",
     .kind = ValueKind::text,
     .help = "only this one; all when it is left out",
     .required = false},
};

#define LIFEBOAT_TEXT_SCHEMA                                     \
  R"({"type": "object", "required": ["file", "bytes", "text"],)" \
  R"("properties": {"file": {"type": ["string", "null"]},)"      \
  R"("bytes": {"type": "integer"},)"                             \
  R"("text": {"type": ["string", "null"], "description": "when it was not written into a file"}}})"

}  // namespace

extern const Command kAlertCheckCommand;
constinit const Command kAlertCheckCommand = {
    .path = "alert check",
    .summary = "read the signals and tell people what is not well",
    .description =
        "Reads the signals of `status` and tells the receivers of the configuration's sections [alert.NAME] "
        "what has "
        "begun, what changed its severity, and what is over. Each is told once, and again after `repeat` "
        "(4h). What "
        "could not be delivered, or may not be told now, stays due. The daemon does the same every minute "
        "when there "
        "is somebody to tell; without it call this from cron.\n\n"
        "A receiver has a `type`: webhook (`url` or `url-file`, `token-file`), slack (`url-file`), pagerduty "
        "(`key-file`), email (`server`, `user`, `password-file`, `from`, `to`, `tls`) or command (`command`, "
        "a list; it "
        "gets the webhook's JSON on standard input). Further: `severity` (warning, critical, or none for "
        "heartbeats "
        "only), `clusters`, `signals`, `after` (so long an alert must last), `repeat`, `quiet` (periods of "
        "the day in "
        "UTC in which warnings wait, and with `quiet-critical = true` criticals too), `most-per-hour`, "
        "`heartbeat` (a "
        "sign of life that often: what watches it notices when nobody watches any more), `timeout`, "
        "`ca-file`.\n\n"
        "Secrets stand in files of their own, never in the configuration.",
    .danger = Danger::write,
    .groups = {&kSignalOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "# in lifeboat.toml\n"
        "[alert.team]\n"
        "type = \"slack\"\n"
        "url-file = \"/etc/lifeboat/slack-url\"\n"
        "quiet = [\"22:00-06:00\"]\n"
        "# from cron\n"
        "lifeboat alert check --quiet",
    .exit_notes =
        "0: everybody who had to be told was told, whatever the signals say. 8: somebody was not reached.",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "verdict", "signals", "alerts"],
  "properties": {)" LIFEBOAT_REPORT_PROPERTIES R"(,
    "alerts": {"type": "object", "required": ["firing", "waiting", "messages", "receivers"], "properties": {
      "firing": {"type": "integer"},
      "waiting": {"type": "integer", "description": "that somebody still has to be told of"},
      "messages": {"type": "array", "items": {"type": "object", "required": ["receiver", "kind", "delivered", "error", "alerts"]}},
      "receivers": {"type": "array", "items": {"type": "object", "required": ["receiver", "type", "sent", "failed_attempts"]}}
    }}
  }
})",
    .handler = check,
};

extern const Command kAlertTestCommand;
constinit const Command kAlertTestCommand = {
    .path = "alert test",
    .summary = "make an alert fire and resolve on purpose, to see that it arrives",
    .description =
        "Reads the signals, pretends that this one (or one after the other) became critical and was well "
        "again, and "
        "sends what every receiver would be told, marked as a test. Quiet periods and limits do not count; "
        "nothing is "
        "remembered.",
    .danger = Danger::write,
    .positionals = kTestPositionals,
    .groups = {&kSignalOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat alert test backup_age",
    .exit_notes =
        "3: no receiver is configured. 8: somebody was not reached. 17: no receiver would be told of it.",
    .schema = R"({
  "type": "object",
  "required": ["cluster", "signals", "messages"],
  "properties": {
    "cluster": {"type": "string"},
    "signals": {"type": "array", "items": {"type": "string"}},
    "messages": {"type": "array", "items": {"type": "object", "required": ["receiver", "what", "delivered", "error"]}}
  }
})",
    .handler = test,
};

extern const Command kAlertRulesCommand;
constinit const Command kAlertRulesCommand = {
    .path = "alert rules",
    .summary = "alerting rules for Prometheus, from the configured thresholds",
    .description =
        "Prints a rules file for Prometheus: for every cluster of the configuration and every signal rules "
        "for its "
        "thresholds and its status, and one that notices when signals are no longer read. Labels carry "
        "severity, "
        "cluster, signal and owner. promtool check rules accepts it.",
    .danger = Danger::read,
    .groups = {&kFileGroup, &kSignalOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat alert rules --to /etc/prometheus/rules/lifeboat.yml",
    .schema = LIFEBOAT_TEXT_SCHEMA,
    .handler = rules,
};

extern const Command kAlertDashboardCommand;
constinit const Command kAlertDashboardCommand = {
    .path = "alert dashboard",
    .summary = "a Grafana dashboard of the signals",
    .description =
        "Prints the JSON model of a dashboard: the status of every signal over time, and a panel for each "
        "with its "
        "thresholds. Import it in Grafana and choose the Prometheus data source.",
    .danger = Danger::read,
    .groups = {&kFileGroup, &kSignalOptions, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat alert dashboard --to lifeboat-dashboard.json",
    .schema = LIFEBOAT_TEXT_SCHEMA,
    .handler = dashboard,
};

}  // namespace lifeboat::app
