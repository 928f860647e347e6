// XXH3-128 with wider vectors than every amd64 has. Only when wide_hash_works(); the hashes are the same.
#pragma once

#include <cstddef>

namespace lifeboat::codec::internal {

bool wide_hash_works();
void wide_hash128(const void* bytes, size_t size, unsigned char* canonical);  // 16 bytes, canonical order
// `state` is an XXH3_state_t; the layout does not depend on the vectors.
bool wide_hash128_update(void* state, const void* bytes, size_t size);

}  // namespace lifeboat::codec::internal
