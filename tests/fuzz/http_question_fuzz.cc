// Requests to the daemon's HTTP server from hostile bytes: what is accepted has a method and a path.
#include <cstdint>

#include "app/daemon/http_server.h"
#include "util/bytes.h"
#include "util/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lifeboat;
  auto question = app::parse_http_question(as_text({data, size}));
  if (!question) return 0;
  CHECK(!question->method.empty());
  CHECK(question->path.starts_with('/') && question->path.find_first_of("? ") == std::string_view::npos);
  return 0;
}
