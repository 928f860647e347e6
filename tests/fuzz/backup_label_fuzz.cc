// backup_label, .backup files and tablespace maps from hostile text. What is accepted of a map prints and
// reads back.
#include <cstdint>

#include "pg/format/backup_label.h"
#include "util/bytes.h"
#include "util/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lifeboat;
  std::string_view text = as_text({data, size});
  if (auto label = pg::parse_backup_label(text); !label) CHECK(label.error().kind == ErrorKind::damaged);
  if (auto history = pg::parse_backup_history(text)) CHECK(history->stop >= history->label.start);
  for (int major : {13, 14}) {
    const pg::VersionTraits& version = *pg::find_version(major);
    auto map = pg::parse_tablespace_map(text, version);
    if (!map) continue;
    auto again = pg::parse_tablespace_map(pg::print_tablespace_map(*map, version), version);
    // Before 14 a path with a backslash before a line end cannot be written so that it is read back.
    if (major >= 14) CHECK(again && *again == *map);
  }
  return 0;
}
