// How much memory may be used here.
#pragma once

#include <cstdint>

namespace lifeboat {

// Bytes that this process and its children could take at this moment: what the kernel counts as available,
// less where a control group of this process has a limit (cgroup v2 memory.max, v1 memory.limit_in_bytes;
// Documentation/admin-guide/cgroup-v2.rst) or where memory is not promised beyond what there is
// (vm.overcommit_memory = 2). All of the host's where /proc does not tell. Thread rule: any thread.
uint64_t memory_at_hand();

}  // namespace lifeboat
