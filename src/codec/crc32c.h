// The two ways of computing CRC-32C, apart so that tests and benchmarks can compare them. Use
// codec::crc32c().
#pragma once

#include <cstdint>

#include "util/bytes.h"

namespace lifeboat::codec::internal {

uint32_t crc32c_table(uint32_t crc, ByteView bytes);  // slicing by 8, any CPU
bool crc32c_hardware_works();
uint32_t crc32c_hardware(uint32_t crc, ByteView bytes);  // only when crc32c_hardware_works()

}  // namespace lifeboat::codec::internal
