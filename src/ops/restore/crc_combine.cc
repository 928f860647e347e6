#include "ops/restore/crc_combine.h"

#include <array>
#include <cstddef>

namespace lifeboat::ops {

namespace {

// Polynomials over GF(2) modulo the Castagnoli polynomial, bit-reversed as the CRC is: bit 31 is x^0.
constexpr uint32_t kPolynomial = 0x82F63B78;
constexpr uint32_t kOne = 0x80000000;

constexpr uint32_t times_x(uint32_t a) {
  return (a & 1) != 0 ? (a >> 1) ^ kPolynomial : a >> 1;
}

constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = times_x(b);
  }
  return product;
}

// x^(8 · 2^n): what 2^n zero bytes multiply by.
constexpr std::array<uint32_t, 64> make_byte_powers() {
  std::array<uint32_t, 64> powers{};
  uint32_t power = kOne;
  for (int i = 0; i < 8; ++i) power = times_x(power);
  for (uint32_t& entry : powers) {
    entry = power;
    power = multiply(power, power);
  }
  return powers;
}
constexpr std::array<uint32_t, 64> kBytePowers = make_byte_powers();

}  // namespace

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  uint32_t shifted = crc_a;
  for (size_t n = 0; length_b != 0; ++n, length_b >>= 1) {
    if ((length_b & 1) != 0) shifted = multiply(kBytePowers[n], shifted);
  }
  return shifted ^ crc_b;
}

}  // namespace lifeboat::ops
