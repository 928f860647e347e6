// Opening is the inverse of sealing for any text, associated data and number, and nothing else opens.
#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/codec.h"
#include "util/check.h"

using namespace lifeboat;

// Input: with or without key (1 byte), number (8), length of the associated data (1), which bit to flip (2),
// the rest.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static codec::Sealer with_key{codec::SecretKey(Bytes(32, 7))};
  static codec::Sealer without_key;
  if (size < 12) return 0;
  codec::Sealer& sealer = data[0] % 2 != 0 ? with_key : without_key;
  uint64_t number = load_le<uint64_t>(data + 1);
  ByteView rest(data + 12, size - 12);
  ByteView associated = rest.first(std::min<size_t>(data[9], rest.size()));
  ByteView plain = rest.subspan(associated.size());

  Bytes text(plain.begin(), plain.end());
  std::array<uint8_t, codec::kTagSize> tag;
  sealer.seal(number, associated, text, tag);
  Bytes damaged = text;
  CHECK(sealer.open(number, associated, text, tag));
  CHECK(std::equal(text.begin(), text.end(), plain.begin(), plain.end()));

  size_t bit = load_le<uint16_t>(data + 10) % ((damaged.size() + tag.size()) * 8);
  uint8_t& byte = bit / 8 < damaged.size() ? damaged[bit / 8] : tag[bit / 8 - damaged.size()];
  byte ^= static_cast<uint8_t>(1 << bit % 8);
  CHECK(!sealer.open(number, associated, damaged, tag));
  return 0;
}
