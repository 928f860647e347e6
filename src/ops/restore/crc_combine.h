// The CRC-32C of a concatenation from those of its parts, so that the pieces of one file can be checked and
// summed by different workers in any order.
#pragma once

#include <cstdint>

namespace lifeboat::ops {

// CRC-32C (with initial and final inversion) of A ‖ B, given crc(A), crc(B) and the length of B. Appending a
// zero bit multiplies a CRC by x modulo the polynomial, so A's is multiplied by x^(8·length) and added.
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

}  // namespace lifeboat::ops
