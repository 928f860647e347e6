#include "app/cli/heal_amcheck.h"

#include <nlohmann/json.hpp>
#include <set>

#include "app/location.h"
#include "app/render.h"
#include "ops/follow_up.h"
#include "ops/wal/commands.h"
#include "util/strings.h"

namespace lifeboat::app {

using Json = nlohmann::ordered_json;

namespace {

constexpr size_t kMostNotCheckedShown = 10;
constexpr size_t kMostBlocksInCommand = 100;

std::string blocks_text(const std::vector<uint32_t>& blocks) {
  std::string text;
  for (uint32_t block : blocks) text += cat(text.empty() ? "" : ", ", block);
  return text;
}

std::string name_of(const std::string& database, const std::string& relation) {
  return relation.empty() ? cat("database ", database) : cat(database, ".", relation);
}

}  // namespace

Json amcheck_json(const ops::AmcheckScan& scan) {
  Json findings = Json::array();
  for (const ops::AmcheckFinding& one : scan.findings) {
    findings.push_back({{"database", one.database},
                        {"relation", one.relation},
                        {"kind", to_string(one.kind)},
                        {"file", one.file},
                        {"blocks", one.blocks},
                        {"says", one.says},
                        {"messages", one.messages},
                        {"repair", one.repair.empty() ? Json(nullptr) : Json(one.repair)}});
  }
  Json not_checked = Json::array();
  for (const ops::NotChecked& one : scan.not_checked)
    not_checked.push_back({{"database", one.database}, {"relation", one.relation}, {"why", one.why}});
  return {{"tables", scan.tables},
          {"indexes", scan.indexes},
          {"findings", std::move(findings)},
          {"left_out", scan.left_out},
          {"not_checked", std::move(not_checked)},
          {"without_extension", scan.without_extension}};
}

std::string amcheck_text(const ops::AmcheckScan& scan) {
  std::string text = cat("amcheck: ", counted(scan.tables, "table"), " and ",
                         scan.indexes == 1 ? std::string("1 index") : cat(scan.indexes, " indexes"),
                         " checked, ", counted(scan.findings.size() + scan.left_out, "finding"), "\n");
  Table table({{"relation"}, {"kind"}, {"file"}, {"block", Align::right}, {"amcheck says"}});
  for (const ops::AmcheckFinding& one : scan.findings)
    table.add({name_of(one.database, one.relation), std::string(to_string(one.kind)), one.file,
               blocks_text(one.blocks),
               one.messages > 1 ? cat(one.says, " (and ", one.messages - 1, " more)") : one.says});
  if (!table.empty()) text += cat("\n", table.to_string());
  for (size_t i = 0; i < scan.not_checked.size() && i < kMostNotCheckedShown; ++i) {
    const ops::NotChecked& one = scan.not_checked[i];
    text += cat("not checked: ", name_of(one.database, one.relation), ": ", one.why, "\n");
  }
  if (scan.not_checked.size() > kMostNotCheckedShown)
    text += cat("not checked: ", scan.not_checked.size() - kMostNotCheckedShown, " more\n");
  return text;
}

std::vector<std::string> repair_commands(const Invocation& invocation, const ops::DataDirFacts& data_dir,
                                         const std::vector<ops::DamagedBlock>& blocks,
                                         const ops::AmcheckScan& scan) {
  std::vector<std::string> commands;
  for (const ops::AmcheckFinding& one : scan.findings)
    if (!one.repair.empty())
      commands.push_back(cat("psql -d ", shell_quote(one.database), " -c ", shell_quote(one.repair)));
  std::set<std::string> named;
  const uint32_t in_file = data_dir.control.relation_segment_blocks;
  for (const ops::DamagedBlock& block : blocks) {
    // The relation's first file is what --block takes.
    std::string first = block.path;
    if (block.block >= in_file) first.resize(first.rfind('.'));
    named.insert(cat(first, ":", block.block));
  }
  if (named.empty()) return commands;
  std::string more = cat("--pgdata ", shell_quote(data_dir.path));
  size_t shown = 0;
  for (const std::string& block : named)
    if (++shown <= kMostBlocksInCommand) more += cat(" --block ", shell_quote(block));
  more += " --to DIR";
  auto program = ops::own_program_path();
  auto where = repo_location(invocation);
  commands.push_back(program && where ? ops::command_line({*program, *where, "", {}}, "heal blocks",
                                                          ops::Needs::repository, more)
                                      : cat("lifeboat heal blocks ", more));
  return commands;
}

}  // namespace lifeboat::app
