#include "app/cli/brought_tables.h"

#include <nlohmann/json.hpp>

#include "app/render.h"
#include "util/strings.h"

namespace lifeboat::app {

nlohmann::ordered_json brought_tables_json(const std::vector<ops::BroughtTable>& tables) {
  using Json = nlohmann::ordered_json;
  Json all = Json::array();
  for (const ops::BroughtTable& one : tables) {
    all.push_back({{"original", one.original},
                   {"brought", one.brought},
                   {"rows", one.rows},
                   {"merged_rows", one.merged ? Json(*one.merged) : Json(nullptr)}});
  }
  return all;
}

nlohmann::ordered_json cut_ties_json(const std::vector<ops::CutTie>& cut) {
  using Json = nlohmann::ordered_json;
  Json all = Json::array();
  for (const ops::CutTie& one : cut) {
    all.push_back({{"what", ops::to_string(one.kind)},
                   {"table", one.table},
                   {"other", one.other},
                   {"statement", one.statement}});
  }
  return all;
}

std::string brought_tables_text(const std::vector<ops::BroughtTable>& tables) {
  Table table({{"table"}, {"is now"}, {"rows, all compared", Align::right}, {"merged", Align::right}});
  for (const ops::BroughtTable& one : tables)
    table.add({one.original, one.brought, cat(one.rows), one.merged ? cat(*one.merged) : std::string("-")});
  return table.to_string();
}

}  // namespace lifeboat::app
