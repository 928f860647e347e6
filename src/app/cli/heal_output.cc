#include "app/cli/heal_output.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "app/output.h"
#include "app/render.h"
#include "app/run.h"
#include "app/who.h"
#include "ops/session.h"
#include "util/strings.h"

namespace lifeboat::app {

ops::HealRecord new_heal_record(const Invocation& invocation) {
  ops::HealRecord record;
  record.id = ops::new_backup_id().text;
  record.began = {invocation.clock().unix_us()};
  record.user = user_name();
  record.host = host_name();
  record.pid = ::getpid();
  record.tool_version = kVersion;
  return record;
}

// As it is kept (ops/heal/trail.cc), with times and names as our documents have them.
nlohmann::ordered_json heal_record_json(const ops::HealRecord& record) {
  const nlohmann::ordered_json kept = ops::to_json(record);
  nlohmann::ordered_json shown;
  for (const auto& [name, value] : kept.items()) {
    if (name == "format" || name == "kind") continue;
    if (name == "time_us") {
      shown["began"] = json_time(record.began);
    } else if (name == "ended_us") {
      shown["ended"] = json_time(record.ended);
    } else {
      shown[name == "tool_version" ? "version" : name] = value;
    }
  }
  shown["in_repository"] = record.filed;
  return shown;
}

std::string heal_records_table(const std::vector<ops::HealRecord>& records) {
  Table table({{"begun"}, {"action"}, {"object"}, {"result"}, {"by"}, {"what came of it"}});
  for (const ops::HealRecord& record : records)
    table.add({record.began.to_string(), record.action, record.object, std::string(to_string(record.outcome)),
               cat(record.user, " at ", record.host), record.says});
  return table.to_string();
}

}  // namespace lifeboat::app
