// Hostile compressed bytes: the decompressor fills the buffer exactly or says `damaged`, and touches nothing
// else.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/codec.h"
#include "util/check.h"

using namespace lifeboat;

// Input: method (1 byte), expected plain size (3 bytes), what was stored.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static codec::Decompressor decompressor;
  if (size < 4) return 0;
  auto method = static_cast<codec::Compression>(data[0] % 4);
  size_t plain_size = (load_le<uint32_t>(data) >> 8) % (1 << 16);
  ByteView stored(data + 4, size - 4);

  Bytes out(plain_size);
  Status status = decompressor.decompress(method, stored, out);
  CHECK(status || status.error().kind == ErrorKind::damaged);
  if (!status) return 0;

  // What was accepted once is accepted again, by a fresh context, with the same result.
  Bytes again(plain_size);
  CHECK(codec::Decompressor().decompress(method, stored, again));
  CHECK(out == again);
  return 0;
}
