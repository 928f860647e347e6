#include "repo/dump_record.h"

#include <nlohmann/json.hpp>

#include "repo/json_text.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string text(const json& from, const char* key) {
  return unpack_text(from.at(key).get<std::string>());
}

ordered_json database_json(const DumpedDatabase& database) {
  // Rows of three, because there may be a hundred thousand.
  ordered_json tables = ordered_json::array();
  for (const CountedTable& table : database.tables)
    tables.push_back({pack_text(table.schema), pack_text(table.table), table.rows});
  ordered_json written = {
      {"oid", database.oid},           {"name", pack_text(database.name)},   {"encoding", database.encoding},
      {"snapshot", database.snapshot}, {"taken_us", database.taken.unix_us}, {"bytes", database.bytes},
      {"files", database.files},       {"seconds", database.seconds},        {"tables", std::move(tables)}};
  if (database.defined) written["defined"] = *database.defined;
  return written;
}

DumpedDatabase database_from(const json& from) {
  DumpedDatabase database;
  database.oid = from.at("oid").get<Oid>();
  database.name = text(from, "name");
  database.encoding = from.at("encoding").get<std::string>();
  database.snapshot = from.at("snapshot").get<std::string>();
  database.taken = {from.at("taken_us").get<int64_t>()};
  database.bytes = from.at("bytes").get<uint64_t>();
  database.files = from.at("files").get<uint64_t>();
  database.seconds = from.at("seconds").get<double>();
  for (const json& table : from.at("tables")) {
    database.tables.push_back({unpack_text(table.at(0).get<std::string>()),
                               unpack_text(table.at(1).get<std::string>()), table.at(2).get<int64_t>()});
  }
  if (from.contains("defined")) database.defined = from.at("defined").get<uint64_t>();
  return database;
}

}  // namespace

std::string_view to_string(DumpFormat format) {
  switch (format) {
    case DumpFormat::custom:
      return "custom";
    case DumpFormat::directory:
      return "directory";
    case DumpFormat::plain:
      return "plain";
  }
  return "?";
}

bool is_whole(const DumpSummary& summary) {
  return !summary.schema_only && !summary.chosen_tables && summary.every_database.value_or(false);
}

std::vector<std::string> kinds_of(const DumpSummary& summary) {
  std::vector<std::string> kinds;
  for (const std::string& database : summary.databases) {
    kinds.push_back(cat(database, summary.schema_only ? ", its schema only" : "",
                        summary.chosen_tables ? ", some tables" : ""));
  }
  if (kinds.empty()) kinds.emplace_back();  // of globals alone: a kind too, or no count would keep it
  return kinds;
}

std::optional<DumpFormat> parse_dump_format(std::string_view text) {
  for (auto format : {DumpFormat::custom, DumpFormat::directory, DumpFormat::plain}) {
    if (text == to_string(format)) return format;
  }
  return std::nullopt;
}

ordered_json dump_summary_json(const DumpSummary& summary) {
  ordered_json databases = ordered_json::array();
  for (const std::string& name : summary.databases) databases.push_back(pack_text(name));
  ordered_json written = {{"format", to_string(summary.format)},
                          {"databases", std::move(databases)},
                          {"schema_only", summary.schema_only},
                          {"portable", summary.portable},
                          {"chosen_tables", summary.chosen_tables}};
  if (summary.every_database) written["every_database"] = *summary.every_database;
  if (summary.defined) written["defined"] = *summary.defined;
  return written;
}

DumpSummary dump_summary_from(const json& from) {
  DumpSummary summary;
  auto format = parse_dump_format(from.at("format").get<std::string>());
  if (!format) throw json::other_error::create(501, "bad format", nullptr);
  summary.format = *format;
  for (const json& name : from.at("databases"))
    summary.databases.push_back(unpack_text(name.get<std::string>()));
  summary.schema_only = from.at("schema_only").get<bool>();
  summary.portable = from.at("portable").get<bool>();
  summary.chosen_tables = from.at("chosen_tables").get<bool>();
  if (from.contains("every_database")) summary.every_database = from.at("every_database").get<bool>();
  if (from.contains("defined")) summary.defined = from.at("defined").get<uint64_t>();
  return summary;
}

ordered_json dump_record_json(const DumpRecord& record) {
  ordered_json patterns = ordered_json::array();
  for (const DumpPattern& pattern : record.patterns) {
    patterns.push_back(
        {{"option", pattern.option}, {"pattern", pack_text(pattern.pattern)}, {"matched", pattern.matched}});
  }
  ordered_json databases = ordered_json::array();
  for (const DumpedDatabase& database : record.databases) databases.push_back(database_json(database));
  return {{"client", record.client},
          {"client_major", record.client_major},
          {"jobs", record.jobs},
          {"role_passwords", record.role_passwords},
          {"patterns", std::move(patterns)},
          {"databases", std::move(databases)}};
}

DumpRecord dump_record_from(const json& from) {
  DumpRecord record;
  record.client = from.at("client").get<std::string>();
  record.client_major = from.at("client_major").get<int>();
  record.jobs = from.at("jobs").get<int>();
  record.role_passwords = from.at("role_passwords").get<bool>();
  for (const json& pattern : from.at("patterns")) {
    record.patterns.push_back({pattern.at("option").get<std::string>(), text(pattern, "pattern"),
                               pattern.at("matched").get<uint64_t>()});
  }
  for (const json& database : from.at("databases")) record.databases.push_back(database_from(database));
  return record;
}

}  // namespace lifeboat::repo
