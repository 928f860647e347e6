// A signal report as JSON: what `lifeboat status --output json` prints, and what the daemon reads back from
// the checks that it starts. The shape is stable: `status` has its schema.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "ready/signals/signal.h"

namespace lifeboat::ready {

nlohmann::ordered_json report_json(const SignalReport& report);
// Signals that this version does not know are left out. `damaged` for what is no report.
Result<SignalReport> parse_report(std::string_view text);

// "critical" when a signal is critical, "warning" when one is a warning or unknown, else "ok".
std::string_view overall(const SignalReport& report);

}  // namespace lifeboat::ready
