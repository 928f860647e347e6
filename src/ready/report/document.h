// The readiness report as documents: Markdown for people, JSON for programs (RK2). Pure: the same facts give
// the same bytes.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "ready/report/facts.h"
#include "ready/report/item.h"

namespace lifeboat::ready {

inline constexpr std::string_view kReportMarkdown = "backup-operational-readiness.md";
inline constexpr std::string_view kReportJson = "backup-operational-readiness.json";

// Something that is missing, once, with the items that wait for it.
struct ReportGap {
  std::string what;
  std::string fix;
  std::vector<std::string> items;  // ids
};

struct Readiness {
  std::vector<JudgedItem> items;
  DeliveredNow delivered;
  std::vector<ReportGap> gaps;
  bool ready = false;
  std::string verdict() const { return ready ? "READY" : "NOT READY"; }
};
Readiness judge_readiness(const ReportFacts& facts);

// What a cited id said when the report was made: one line. Every id that an item cites has one.
std::string describe_evidence(const ReportFacts& facts, std::string_view id);

// A decision record to be finished by people, for each target that is not met; empty where both are.
std::vector<std::string> decision_drafts(const ReportFacts& facts, const Readiness& readiness);

std::string report_markdown(const ReportFacts& facts, const Readiness& readiness);
nlohmann::ordered_json readiness_json(const ReportFacts& facts, const Readiness& readiness);

}  // namespace lifeboat::ready
