// The checksum is 32 interleaved FNV-1a-like sums (src/include/storage/checksum_impl.h): every 128 bytes of
// the page feed one 32-bit word into each sum. The 32 sums are independent, so they are computed in vector
// registers. One generic body is compiled for several instruction sets and picked once at run time; the
// vector type of the compiler (32 lanes) becomes two, four or eight registers.
#include "pg/format/page.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "util/check.h"

namespace lifeboat::pg {

namespace {

constexpr size_t kSums = 32;  // N_SUMS
constexpr size_t kRow = kSums * sizeof(uint32_t);
constexpr uint32_t kFnvPrime = 16777619;  // FNV_PRIME
constexpr size_t kChecksumOffset = 8;     // of pd_checksum
constexpr uint16_t kValidFlags = 0x0007;  // PD_VALID_FLAG_BITS
constexpr size_t kMaxAlign = 8;           // MAXIMUM_ALIGNOF
constexpr size_t kSpecialOffset = 16;

// checksumBaseOffsets: part of the format.
constexpr std::array<uint32_t, kSums> kBaseOffsets = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

// LANES sums per vector, kSums / LANES vectors.
template <size_t LANES>
struct Sums {
  typedef uint32_t Vector __attribute__((vector_size(LANES * sizeof(uint32_t))));
  static constexpr size_t kVectors = kSums / LANES;
};

template <size_t LANES>
[[gnu::always_inline]] inline uint32_t checksum_block(const uint8_t* page, size_t size) {
  using Vector = typename Sums<LANES>::Vector;
  constexpr size_t kVectors = Sums<LANES>::kVectors;
  Vector sums[kVectors];
  std::memcpy(sums, kBaseOffsets.data(), kRow);

  // The first row holds pd_checksum, which counts as zero.
  uint8_t first[kRow];
  std::memcpy(first, page, kRow);
  std::memset(first + kChecksumOffset, 0, sizeof(uint16_t));

  const uint8_t* row = first;
  for (size_t offset = 0; offset < size; offset += kRow) {
    for (size_t v = 0; v < kVectors; ++v) {
      Vector words;
      std::memcpy(&words, row + v * sizeof(Vector), sizeof(Vector));
      Vector mixed = sums[v] ^ words;
      sums[v] = (mixed * kFnvPrime) ^ (mixed >> 17);
    }
    row = page + offset + kRow;
  }
  for (int round = 0; round < 2; ++round) {
    for (size_t v = 0; v < kVectors; ++v) sums[v] = (sums[v] * kFnvPrime) ^ (sums[v] >> 17);
  }
  Vector folded = sums[0];
  for (size_t v = 1; v < kVectors; ++v) folded ^= sums[v];
  uint32_t result = 0;
  for (size_t lane = 0; lane < LANES; ++lane) result ^= folded[lane];
  return result;
}

using BlockFunction = uint32_t (*)(const uint8_t*, size_t);

uint32_t checksum_block_baseline(const uint8_t* page, size_t size) {
  return checksum_block<4>(page, size);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] uint32_t checksum_block_avx2(const uint8_t* page, size_t size) {
  return checksum_block<8>(page, size);
}
[[gnu::target("avx512f")]] uint32_t checksum_block_avx512(const uint8_t* page, size_t size) {
  return checksum_block<16>(page, size);
}
#endif

BlockFunction pick_block_function() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") != 0) return checksum_block_avx512;
  if (__builtin_cpu_supports("avx2") != 0) return checksum_block_avx2;
#endif
  return checksum_block_baseline;
}

bool header_plausible(const PageHeader& header, size_t size) {
  return (header.flags & ~kValidFlags) == 0 && header.lower <= header.upper &&
         header.upper <= header.special && header.special <= size && header.special % kMaxAlign == 0;
}

}  // namespace

PageHeader read_page_header(ByteView page) {
  CHECK(page.size() >= kPageHeaderSize);
  PageHeader header;
  header.lsn = page_lsn(page);
  header.checksum = load_le<uint16_t>(page.data() + kChecksumOffset);
  header.flags = load_le<uint16_t>(page.data() + 10);
  header.lower = load_le<uint16_t>(page.data() + 12);
  header.upper = load_le<uint16_t>(page.data() + 14);
  header.special = load_le<uint16_t>(page.data() + kSpecialOffset);
  auto size_and_version = load_le<uint16_t>(page.data() + 18);
  header.size = size_and_version & 0xff00;
  header.layout_version = static_cast<uint8_t>(size_and_version);
  return header;
}

Lsn page_lsn(ByteView page) {
  CHECK(page.size() >= 8);
  return {uint64_t{load_le<uint32_t>(page.data())} << 32 | load_le<uint32_t>(page.data() + 4)};
}

bool is_all_zero(ByteView bytes) {
  const uint8_t* at = bytes.data();
  size_t left = bytes.size();
  constexpr size_t kStep = 64;
  while (left >= kStep) {
    uint64_t words[kStep / 8];
    std::memcpy(words, at, kStep);
    uint64_t any = 0;
    for (uint64_t word : words) any |= word;
    if (any != 0) return false;
    at += kStep;
    left -= kStep;
  }
  for (; left > 0; --left, ++at) {
    if (*at != 0) return false;
  }
  return true;
}

bool valid_page_size(size_t bytes) {
  return bytes >= 1024 && bytes <= 32768 && std::has_single_bit(bytes);
}

uint16_t page_checksum(ByteView page, uint32_t block_number) {
  CHECK(valid_page_size(page.size()));
  static const BlockFunction block_function = pick_block_function();
  uint32_t checksum = block_function(page.data(), page.size()) ^ block_number;
  return static_cast<uint16_t>(checksum % 65535 + 1);
}

std::string_view to_string(PageState state) {
  switch (state) {
    case PageState::ok:
      return "ok";
    case PageState::zero:
      return "zero";
    case PageState::bad_header:
      return "bad header";
    case PageState::bad_checksum:
      return "bad checksum";
  }
  return "unknown";
}

PageState verify_page_header(ByteView page) {
  CHECK(valid_page_size(page.size()));
  PageHeader header = read_page_header(page);
  // PageIsNew: such a page never had a checksum, and is valid only when nothing is on it.
  if (header.upper == 0) return is_all_zero(page) ? PageState::zero : PageState::bad_header;
  return header_plausible(header, page.size()) ? PageState::ok : PageState::bad_header;
}

PageState verify_page(ByteView page, uint32_t block_number) {
  CHECK(valid_page_size(page.size()));
  PageHeader header = read_page_header(page);
  if (header.upper == 0) return is_all_zero(page) ? PageState::zero : PageState::bad_header;
  if (page_checksum(page, block_number) != header.checksum) return PageState::bad_checksum;
  return header_plausible(header, page.size()) ? PageState::ok : PageState::bad_header;
}

}  // namespace lifeboat::pg
