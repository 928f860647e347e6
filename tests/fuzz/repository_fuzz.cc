// The decoders of what a repository holds take any bytes and answer with a value or with `damaged`.
#include <cstddef>
#include <cstdint>

#include "repo/attempt.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/pack.h"
#include "repo/pack_usage.h"
#include "repo/tombstone.h"
#include "repo/tree.h"
#include "repo/wal_store.h"
#include "util/check.h"

using namespace lifeboat;

// Input: which decoder (1 byte), what it is given (the rest).
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  ByteView rest(data + 1, size - 1);
  switch (data[0] % 10) {
    case 0:
      // What decodes, encodes to something that decodes to the same.
      if (auto entries = repo::decode_entries("fuzz", rest)) {
        auto again = repo::decode_entries("fuzz", repo::encode_entries(*entries));
        CHECK(again && again->size() == entries->size());
      }
      break;
    case 1:
      if (auto refs = repo::decode_leaf("fuzz", rest)) {
        auto again = repo::decode_leaf("fuzz", repo::encode_leaf(*refs));
        CHECK(again && *again == *refs);
      }
      break;
    case 2:
      (void)repo::parse_pack_footer("fuzz", rest);
      break;
    case 3:
      (void)repo::decode_manifest("fuzz", rest);
      break;
    case 4:
      (void)repo::decode_card("fuzz", rest);
      break;
    case 5:
      (void)repo::decode_lease("fuzz", rest);
      break;
    case 6:
      (void)repo::decode_tombstone("fuzz", rest);
      break;
    case 7:
      (void)repo::parse_history("fuzz", as_text(rest));
      (void)repo::parse_wal_object_name(as_text(rest));
      (void)repo::parse_pack_name(as_text(rest));
      break;
    case 8:
      (void)repo::decode_attempt("fuzz", rest);
      break;
    case 9:
      if (auto usage = repo::decode_usage("fuzz", rest)) {
        auto again = repo::decode_usage("fuzz", repo::encode_usage(*usage));
        CHECK(again && *again == *usage);
      }
      break;
  }
  return 0;
}
