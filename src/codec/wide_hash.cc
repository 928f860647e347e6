// XXH3 compiled for 256-bit vectors. Debian's static library is for the oldest amd64, which halves its rate.
// Nothing but xxHash's own code may be in this file: what it instantiates is compiled for newer processors
// than the rest.
#include "codec/wide_hash.h"

#ifdef __x86_64__
#ifndef __clang__  // which has no such pragma: the hash is then merely not faster
#pragma GCC target("avx2")
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lifeboat::codec::internal {

bool wide_hash_works() {
  return __builtin_cpu_supports("avx2") != 0;
}

void wide_hash128(const void* bytes, size_t size, unsigned char* canonical) {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(bytes, size));
  __builtin_memcpy(canonical, digest.digest, sizeof digest.digest);
}

bool wide_hash128_update(void* state, const void* bytes, size_t size) {
  return XXH3_128bits_update(static_cast<XXH3_state_t*>(state), static_cast<const xxh_u8*>(bytes), size) ==
         XXH_OK;
}

}  // namespace lifeboat::codec::internal

#else

namespace lifeboat::codec::internal {

bool wide_hash_works() {
  return false;
}
void wide_hash128(const void*, size_t, unsigned char*) {}
bool wide_hash128_update(void*, const void*, size_t) {
  return false;
}

}  // namespace lifeboat::codec::internal

#endif
