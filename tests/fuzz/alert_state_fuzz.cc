// Files of the state directory from hostile bytes: the state of alerts, the history of signals, and reports
// of signals as the daemon reads them back. What is accepted is written and read back the same.
#include <cstdint>

#include "ready/alerts/engine.h"
#include "ready/signals/history.h"
#include "ready/signals/report_json.h"
#include "util/bytes.h"
#include "util/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lifeboat;
  const std::string_view text = as_text({data, size});
  if (auto book = ready::AlertBook::decode("fuzz", text)) {
    auto again = ready::AlertBook::decode("fuzz", book->encode());
    CHECK(again && again->encode() == book->encode());
  }
  if (auto history = ready::SignalHistory::decode("fuzz", text))
    CHECK(ready::SignalHistory::decode("fuzz", history->encode()));
  auto report = ready::parse_report(text);
  if (!report) CHECK(report.error().kind == ErrorKind::damaged || report.error().kind == ErrorKind::usage);
  return 0;
}
