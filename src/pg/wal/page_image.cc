#include "pg/wal/page_image.h"

#include <algorithm>

#include "codec/codec.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

// A tag of three bytes or more: length less 3 in the lower half of the first byte, the offset in its upper
// half and the second byte; a length of 18 is followed by a byte that adds to it.
constexpr size_t kShortestMatch = 3;
constexpr size_t kLongTag = 18;

Error damaged(std::string_view what) {
  return make_error(ErrorKind::damaged, "page image", std::string(what));
}

Result<Bytes> decompress(const WalBlock& block, size_t plain_size) {
  if (block.compression == ImageCompression::pglz) return pglz_decompress(block.image, plain_size);
  Bytes plain(plain_size);
  codec::Decompressor decompressor;
  codec::Compression compression =
      block.compression == ImageCompression::lz4 ? codec::Compression::lz4 : codec::Compression::zstd;
  TRY(decompressor.decompress(compression, block.image, plain));
  return plain;
}

}  // namespace

Result<Bytes> pglz_decompress(ByteView stored, size_t plain_size) {
  Bytes plain;
  plain.reserve(plain_size);
  ByteReader in(stored);
  while (in.ok() && !in.at_end() && plain.size() < plain_size) {
    uint8_t control = in.u8();
    for (int bit = 0; bit < 8 && !in.at_end() && plain.size() < plain_size; ++bit, control >>= 1) {
      if ((control & 1) == 0) {
        plain.push_back(in.u8());
        continue;
      }
      uint8_t first = in.u8();
      size_t offset = (first & 0xf0u) << 4 | in.u8();
      size_t length = (first & 0x0fu) + kShortestMatch;
      if (length == kLongTag) length += in.u8();
      if (!in.ok() || offset == 0 || offset > plain.size())
        return damaged("its compressed bytes are impossible");
      length = std::min(length, plain_size - plain.size());
      // What is copied may be what was copied just before.
      for (size_t from = plain.size() - offset; length > 0; --length) plain.push_back(plain[from++]);
    }
  }
  if (!in.ok() || !in.at_end() || plain.size() != plain_size)
    return damaged(cat("decompresses to ", plain.size(), " bytes, expected ", plain_size));
  return plain;
}

Result<Bytes> restore_page_image(const WalBlock& block, uint32_t page_size) {
  if (!block.has_image) return damaged("there is none");
  if (uint32_t{block.hole_offset} + block.hole_length > page_size) return damaged("its hole is outside");
  size_t plain_size = page_size - block.hole_length;
  Bytes plain;
  if (block.compression == ImageCompression::none) {
    plain.assign(block.image.begin(), block.image.end());
  } else {
    TRY_ASSIGN(plain, decompress(block, plain_size));
  }
  if (plain.size() != plain_size) return damaged(cat("has ", plain.size(), " bytes, expected ", plain_size));
  plain.insert(plain.begin() + block.hole_offset, block.hole_length, 0);
  return plain;
}

}  // namespace lifeboat::pg
