// The items of the readiness report: the eleven quality checks (RK3), the production checklist and the
// definition of done (RK4). One registry; each item is a pure function of ReportFacts.
//
// An item collects what proves it and what is missing. It passes only when nothing is missing and something
// proves it: an item without evidence cannot pass, whatever its function says.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ready/report/facts.h"

namespace lifeboat::ready {

enum class ItemList : uint8_t { quality, production, done };
std::string_view to_string(ItemList list);
std::string_view title_of(ItemList list);

enum class Outcome : uint8_t { pass, fail, not_applicable };
std::string_view to_string(Outcome outcome);

struct Missing {
  std::string what;  // "no drill is scheduled"
  std::string fix;   // a command, or a line of the configuration
};

// What one item says. Filled in by its function with the three verbs below.
class ItemAnswer {
 public:
  // Something that speaks for it; `evidence`: "evidence/ID" (a record of the repository), "backup/ID",
  // "signal/ID", "doctor/ID", "config/KEY", "schedule/NAME", "runbook/NAME", "key-slot/ID", "alert/NAME".
  void shows(std::string says, std::vector<std::string> evidence);
  void lacks(std::string what, std::string fix);
  void does_not_apply(std::string reason);

  Outcome outcome() const;
  std::string says() const;  // what was found, or the reason
  const std::vector<std::string>& evidence() const { return evidence_; }
  const std::vector<Missing>& missing() const { return missing_; }

 private:
  std::vector<std::string> says_;
  std::vector<std::string> evidence_;
  std::vector<Missing> missing_;
  std::string not_applicable_;
};

struct ItemInfo {
  ItemList list = ItemList::quality;
  std::string_view id;
  std::string_view what;
  bool waivable = false;  // the operator may say that it does not apply
  void (*look)(const ReportFacts& facts, ItemAnswer& answer) = nullptr;
};

std::span<const ItemInfo> items();
const ItemInfo* find_item(std::string_view id);

struct JudgedItem {
  const ItemInfo* info = nullptr;
  ItemAnswer answer;
};
// All items in the registry's order. A waiver counts only where the item allows one.
std::vector<JudgedItem> judge_items(const ReportFacts& facts);
bool ready(const std::vector<JudgedItem>& items);  // none fails
size_t count(const std::vector<JudgedItem>& items, Outcome outcome);

}  // namespace lifeboat::ready
