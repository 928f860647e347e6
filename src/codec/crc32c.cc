// CRC-32C (polynomial 0x1EDC6F41, reflected 0x82F63B78): src/port/pg_crc32c_*.c in PostgreSQL.
#include "codec/crc32c.h"

#include <array>

#include "codec/codec.h"
#include "util/check.h"

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

namespace lifeboat::codec {

namespace internal {

namespace {

constexpr uint32_t kReflectedPolynomial = 0x82f63b78;
using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b] is what byte b contributes when k more bytes follow it.
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReflectedPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

// Three streams hide the instruction's latency of three cycles. They are joined by appending zero bytes to
// the CRC of what stands in front, which is linear: a table for each of its bytes.
constexpr size_t kStream = 1024;
using Shift = std::array<std::array<uint32_t, 256>, 4>;

constexpr Shift make_shift(size_t zeros) {
  std::array<uint32_t, 32> after{};  // what becomes of each bit
  for (uint32_t bit = 0; bit < 32; ++bit) {
    uint32_t crc = 1u << bit;
    for (size_t i = 0; i < zeros; ++i) crc = (crc >> 8) ^ kTables[0][crc & 0xff];
    after[bit] = crc;
  }
  Shift shift{};
  for (uint32_t place = 0; place < 4; ++place) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      for (uint32_t bit = 0; bit < 8; ++bit) {
        if ((byte >> bit & 1) != 0) shift[place][byte] ^= after[8 * place + bit];
      }
    }
  }
  return shift;
}

[[maybe_unused]] constexpr Shift kPastStream = make_shift(kStream);

[[maybe_unused]] uint32_t past_stream(uint32_t crc) {
  return kPastStream[0][crc & 0xff] ^ kPastStream[1][crc >> 8 & 0xff] ^ kPastStream[2][crc >> 16 & 0xff] ^
         kPastStream[3][crc >> 24];
}

}  // namespace

uint32_t crc32c_table(uint32_t crc, ByteView bytes) {
  const uint8_t* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word = load_le<uint64_t>(at) ^ crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][(word >> (8 * k)) & 0xff];
  }
  for (; left > 0; --left, ++at) crc = (crc >> 8) ^ kTables[0][(crc ^ *at) & 0xff];
  return crc;
}

#ifdef __x86_64__

bool crc32c_hardware_works() {
  return __builtin_cpu_supports("sse4.2") != 0;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_hardware(uint32_t crc, ByteView bytes) {
  const uint8_t* at = bytes.data();
  size_t left = bytes.size();
  uint64_t wide = crc;
  for (; left >= 3 * kStream; left -= 3 * kStream, at += 3 * kStream) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kStream; i += 8) {
      wide = _mm_crc32_u64(wide, load_le<uint64_t>(at + i));
      second = _mm_crc32_u64(second, load_le<uint64_t>(at + kStream + i));
      third = _mm_crc32_u64(third, load_le<uint64_t>(at + 2 * kStream + i));
    }
    wide = past_stream(past_stream(static_cast<uint32_t>(wide)) ^ static_cast<uint32_t>(second)) ^ third;
  }
  for (; left >= 8; left -= 8, at += 8) wide = _mm_crc32_u64(wide, load_le<uint64_t>(at));
  uint32_t narrow = static_cast<uint32_t>(wide);
  for (; left > 0; --left, ++at) narrow = _mm_crc32_u8(narrow, *at);
  return narrow;
}

#else

bool crc32c_hardware_works() {
  return false;
}

uint32_t crc32c_hardware(uint32_t, ByteView) {
  CHECK(crc32c_hardware_works());
  return 0;
}

#endif

}  // namespace internal

uint32_t crc32c(uint32_t crc, ByteView bytes) {
  static const bool hardware = internal::crc32c_hardware_works();
  return hardware ? internal::crc32c_hardware(crc, bytes) : internal::crc32c_table(crc, bytes);
}

}  // namespace lifeboat::codec
