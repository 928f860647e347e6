// History files from hostile text. What is accepted prints and reads back equal, and its look-ups agree.
#include <cstdint>

#include "pg/format/timeline_history.h"
#include "util/bytes.h"
#include "util/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lifeboat;
  using pg::TimelineHistory;
  auto history = TimelineHistory::parse({1000}, as_text({data, size}));
  if (!history) {
    CHECK(history.error().kind == ErrorKind::damaged);
    return 0;
  }
  auto again = TimelineHistory::parse({1000}, history->to_text());
  CHECK(again && *again == *history);
  for (const pg::TimelineSwitch& entry : history->ancestors()) {
    CHECK(history->has(entry.timeline) && history->begin_of(entry.timeline) &&
          history->end_of(entry.timeline));
    for (Lsn lsn : {entry.end, Lsn{entry.end.value - 1}, Lsn{entry.end.value + 1}}) {
      CHECK(history->contains(history->owner(lsn), lsn));
    }
  }
  return 0;
}
