// What a plan is made from, as hostile text: requirements, facts, evidence, and what other tools print.
// Whatever is accepted gives a plan.
#include <cstdint>

#include "ready/plan/plan.h"
#include "ready/plan/rates.h"
#include "ready/plan/tools.h"
#include "util/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lifeboat;
  const std::string_view text = as_text({data, size});
  auto facts = ready::parse_facts(text, "facts.json");
  if (auto demands = ready::parse_requirements(text, "requirements.json"))
    ready::plan_markdown(ready::make_plan(*demands, facts ? *facts : ready::PlanFacts{}, {}));
  ready::rates_of_drills({{"id", std::string(text)}}, 1e9);
  ready::parse_pgbackrest_info(text);
  ready::parse_walg_backups(text);
  ready::ToolState tool;
  tool.cluster = "main";
  ready::add_barman_backups(text, tool);
  ready::add_barman_check(text, tool);
  ready::parse_ini(text);
  ready::schedules_in(text, "barman");
  return 0;
}
