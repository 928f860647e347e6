#include "ready/plan/facts.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr Connection kConnections[] = {Connection::unknown, Connection::local_socket, Connection::loopback,
                                       Connection::tls, Connection::plain};

// --- from JSON. A member of the wrong kind throws, which parse_facts() turns into an error.
void get(const Json& from, const char* name, std::optional<double>& into) {
  if (auto found = from.find(name); found != from.end() && !found->is_null()) into = found->get<double>();
}
void get(const Json& from, const char* name, Timestamp& into) {
  auto found = from.find(name);
  if (found == from.end() || found->is_null()) return;
  auto time = parse_time(found->get<std::string>());
  if (!time) throw std::invalid_argument(cat(name, ": ", time.error().to_string()));
  into = *time;
}
template <typename T>
void get(const Json& from, const char* name, T& into) {
  if (auto found = from.find(name); found != from.end() && !found->is_null()) into = found->get<T>();
}

ServerState server_from(const Json& json) {
  ServerState server;
  get(json, "version_num", server.version_num);
  get(json, "size_bytes", server.size_bytes);
  for (const Json& one : json.value("databases", Json::array()))
    server.databases.push_back({one.at("name").get<std::string>(), one.at("bytes").get<double>()});
  get(json, "wal_bytes_per_day", server.wal_bytes_per_day);
  get(json, "wal_how", server.wal_how);
  get(json, "wal_weak", server.wal_weak);
  get(json, "growth_bytes_per_day", server.growth_bytes_per_day);
  get(json, "growth_how", server.growth_how);
  get(json, "in_recovery", server.in_recovery);
  get(json, "data_checksums", server.data_checksums);
  get(json, "settings", server.settings);
  for (const Json& one : json.value("standbys", Json::array()))
    server.standbys.push_back(
        {one.at("name").get<std::string>(), one.value("sync_state", "async"), one.value("receiver", false)});
  get(json, "archived", server.archived);
  get(json, "archive_failures", server.archive_failures);
  get(json, "last_archived", server.last_archived);
  get(json, "archive_seconds", server.archive_seconds);
  const auto connection = json.value("connection", std::string());
  for (Connection one : kConnections)
    if (connection == to_string(one)) server.connection = one;
  return server;
}

RepositoryState repository_from(const Json& json) {
  RepositoryState repository;
  get(json, "url", repository.url);
  get(json, "problem", repository.problem);
  get(json, "encrypted", repository.encrypted);
  get(json, "key_slots", repository.key_slots);
  get(json, "on_data_device", repository.on_data_device);
  get(json, "backups", repository.backups);
  get(json, "newest_backup", repository.newest_backup);
  get(json, "newest_verified", repository.newest_verified);
  get(json, "drill_passed", repository.drill_passed);
  get(json, "backup_seconds", repository.backup_seconds);
  get(json, "stored_ratio", repository.stored_ratio);
  get(json, "stored_change_bytes_per_day", repository.stored_change_bytes_per_day);
  get(json, "stored_wal_bytes_per_day", repository.stored_wal_bytes_per_day);
  return repository;
}

ToolState tool_from(const Json& json) {
  ToolState tool;
  get(json, "name", tool.name);
  get(json, "cluster", tool.cluster);
  get(json, "configuration", tool.configuration);
  get(json, "schedule", tool.schedule);
  get(json, "destination", tool.destination);
  get(json, "last_backup", tool.last_backup);
  get(json, "last_result", tool.last_result);
  get(json, "last_verified_restore", tool.last_verified_restore);
  get(json, "retention", tool.retention);
  get(json, "encryption", tool.encryption);
  get(json, "second_copy", tool.second_copy);
  get(json, "notes", tool.notes);
  return tool;
}

Rates rates_from(const Json& json) {
  Rates rates;
  const auto basis = json.value("basis", std::string("none"));
  for (RateBasis one : {RateBasis::none, RateBasis::calibration, RateBasis::drills})
    if (basis == to_string(one)) rates.basis = one;
  get(json, "restore_bytes_per_second", rates.restore_bytes_per_second);
  get(json, "replay_bytes_per_second", rates.replay_bytes_per_second);
  get(json, "replay_calibrated", rates.replay_calibrated);
  get(json, "fixed_seconds", rates.fixed_seconds);
  get(json, "checks_seconds", rates.checks_seconds);
  get(json, "relative_error", rates.relative_error);
  get(json, "fixed_error_seconds", rates.fixed_error_seconds);
  get(json, "samples", rates.samples);
  get(json, "evidence", rates.evidence);
  get(json, "newest", rates.newest);
  get(json, "dump_newest", rates.dump_newest);
  get(json, "instant_seconds", rates.instant_seconds);
  get(json, "instant_replay_bytes_per_second", rates.instant_replay_bytes_per_second);
  get(json, "instant_samples", rates.instant_samples);
  get(json, "dump_bytes_per_second", rates.dump_bytes_per_second);
  get(json, "dump_restore_bytes_per_second", rates.dump_restore_bytes_per_second);
  return rates;
}

// --- to JSON
OrderedJson maybe(const std::optional<double>& value) {
  return value ? OrderedJson(*value) : OrderedJson(nullptr);
}
OrderedJson maybe(Timestamp time) {
  return time.valid() ? OrderedJson(time.to_iso()) : OrderedJson(nullptr);
}

OrderedJson to_json(const ServerState& server) {
  OrderedJson databases = OrderedJson::array();
  for (const KnownDatabase& one : server.databases)
    databases.push_back({{"name", one.name}, {"bytes", one.bytes}});
  OrderedJson standbys = OrderedJson::array();
  for (const KnownStandby& one : server.standbys)
    standbys.push_back({{"name", one.name}, {"sync_state", one.sync_state}, {"receiver", one.receiver}});
  return {{"version_num", server.version_num},
          {"size_bytes", maybe(server.size_bytes)},
          {"databases", std::move(databases)},
          {"wal_bytes_per_day", maybe(server.wal_bytes_per_day)},
          {"wal_how", server.wal_how},
          {"wal_weak", server.wal_weak},
          {"growth_bytes_per_day", maybe(server.growth_bytes_per_day)},
          {"growth_how", server.growth_how},
          {"in_recovery", server.in_recovery},
          {"data_checksums", server.data_checksums},
          {"settings", server.settings},
          {"standbys", std::move(standbys)},
          {"archived", server.archived},
          {"archive_failures", server.archive_failures},
          {"last_archived", maybe(server.last_archived)},
          {"archive_seconds", maybe(server.archive_seconds)},
          {"connection", to_string(server.connection)}};
}

OrderedJson to_json(const RepositoryState& repository) {
  return {{"url", repository.url},
          {"problem", repository.problem},
          {"encrypted", repository.encrypted},
          {"key_slots", repository.key_slots},
          {"on_data_device", repository.on_data_device},
          {"backups", repository.backups},
          {"newest_backup", maybe(repository.newest_backup)},
          {"newest_verified", maybe(repository.newest_verified)},
          {"drill_passed", maybe(repository.drill_passed)},
          {"backup_seconds", maybe(repository.backup_seconds)},
          {"stored_ratio", maybe(repository.stored_ratio)},
          {"stored_change_bytes_per_day", maybe(repository.stored_change_bytes_per_day)},
          {"stored_wal_bytes_per_day", maybe(repository.stored_wal_bytes_per_day)}};
}

OrderedJson to_json(const ToolState& tool) {
  return {{"name", tool.name},
          {"cluster", tool.cluster},
          {"configuration", tool.configuration},
          {"schedule", tool.schedule},
          {"destination", tool.destination},
          {"last_backup", maybe(tool.last_backup)},
          {"last_result", tool.last_result},
          {"last_verified_restore", tool.last_verified_restore},
          {"retention", tool.retention},
          {"encryption", tool.encryption},
          {"second_copy", tool.second_copy},
          {"notes", tool.notes}};
}

OrderedJson to_json(const Rates& rates) {
  return {{"basis", to_string(rates.basis)},
          {"restore_bytes_per_second", maybe(rates.restore_bytes_per_second)},
          {"replay_bytes_per_second", maybe(rates.replay_bytes_per_second)},
          {"replay_calibrated", rates.replay_calibrated},
          {"fixed_seconds", rates.fixed_seconds},
          {"checks_seconds", rates.checks_seconds},
          {"relative_error", rates.relative_error},
          {"fixed_error_seconds", rates.fixed_error_seconds},
          {"samples", rates.samples},
          {"evidence", rates.evidence},
          {"newest", maybe(rates.newest)},
          {"dump_newest", maybe(rates.dump_newest)},
          {"instant_seconds", maybe(rates.instant_seconds)},
          {"instant_replay_bytes_per_second", maybe(rates.instant_replay_bytes_per_second)},
          {"instant_samples", rates.instant_samples},
          {"dump_bytes_per_second", maybe(rates.dump_bytes_per_second)},
          {"dump_restore_bytes_per_second", maybe(rates.dump_restore_bytes_per_second)}};
}

}  // namespace

std::string_view to_string(RateBasis basis) {
  switch (basis) {
    case RateBasis::none:
      return "none";
    case RateBasis::calibration:
      return "calibration";
    case RateBasis::drills:
      return "drills";
  }
  return "none";
}

Result<PlanFacts> parse_facts(std::string_view text, const std::string& path) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) return make_error(ErrorKind::config, path, "is not a JSON object");
  if (document.value("schema", Json()) != kFactsSchema)
    return make_error(ErrorKind::config, path, cat("is not ", kFactsSchema));
  PlanFacts facts;
  try {
    get(document, "time", facts.time);
    get(document, "cluster", facts.cluster);
    get(document, "server_problem", facts.server_problem);
    get(document, "jobs", facts.jobs);
    if (auto found = document.find("server"); found != document.end() && !found->is_null())
      facts.server = server_from(*found);
    if (auto found = document.find("repository"); found != document.end() && !found->is_null())
      facts.repository = repository_from(*found);
    for (const Json& tool : document.value("tools", Json::array())) facts.tools.push_back(tool_from(tool));
    if (auto found = document.find("rates"); found != document.end() && !found->is_null())
      facts.rates = rates_from(*found);
  } catch (const std::exception& wrong) {
    return make_error(ErrorKind::config, path, "has a member of the wrong kind").with_cause(wrong.what());
  }
  if (!facts.time.valid()) return make_error(ErrorKind::config, path, "does not say when it was read: time");
  return facts;
}

std::string facts_json(const PlanFacts& facts) {
  OrderedJson tools = OrderedJson::array();
  for (const ToolState& tool : facts.tools) tools.push_back(to_json(tool));
  const OrderedJson json = {
      {"schema", kFactsSchema},
      {"time", facts.time.to_iso()},
      {"cluster", facts.cluster},
      {"server", facts.server ? to_json(*facts.server) : OrderedJson(nullptr)},
      {"server_problem", facts.server_problem},
      {"repository", facts.repository ? to_json(*facts.repository) : OrderedJson(nullptr)},
      {"tools", std::move(tools)},
      {"rates", to_json(facts.rates)},
      {"jobs", facts.jobs}};
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace lifeboat::ready
