// Scripts of pg_dump from hostile text: whatever the pieces, the same objects, and a script equals itself.
#include <cstdint>

#include "ops/diff/schema_text.h"
#include "util/bytes.h"
#include "util/check.h"

namespace {

using namespace lifeboat;

bool read(ops::SchemaText& text, std::string_view script, size_t piece) {
  for (size_t at = 0; at < script.size(); at += piece) {
    if (!text.feed(script.substr(at, piece))) return false;
  }
  auto ended = text.finish();
  CHECK(ended || ended.error().kind == ErrorKind::damaged || ended.error().kind == ErrorKind::unsupported);
  return static_cast<bool>(ended);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view script = as_text({data, size});
  ops::SchemaText whole;
  ops::SchemaText pieces;
  const bool complete = read(whole, script, 1 << 20);
  CHECK(read(pieces, script, 3) == complete);
  if (!complete) return 0;
  CHECK(whole.objects() == pieces.objects());
  CHECK(ops::compare_objects(whole.objects(), pieces.objects()).empty());
  CHECK(ops::compare_objects(whole.objects(), {}).size() == whole.objects().size());
  return 0;
}
