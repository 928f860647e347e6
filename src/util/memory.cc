#include "util/memory.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat {

namespace {

constexpr uint64_t kFileLimit = 64 << 10;

// A number that stands alone in a file; "max" and anything else is none.
std::optional<uint64_t> number_in(const std::string& path) {
  auto text = read_text(path, kFileLimit);
  if (!text) return std::nullopt;
  return parse_u64(trim(*text));
}

// "MemAvailable:   24094512 kB" of /proc/meminfo, in bytes.
std::optional<uint64_t> meminfo(std::string_view text, std::string_view name) {
  for (std::string_view line : split(text, '\n')) {
    if (!line.starts_with(name) || !line.substr(name.size()).starts_with(":")) continue;
    std::string_view value = trim(line.substr(name.size() + 1));
    if (value.ends_with(" kB")) value.remove_suffix(3);
    if (auto number = parse_u64(trim(value))) return *number << 10;
  }
  return std::nullopt;
}

// Limits are set on a group or on any above it.
uint64_t least_limit(std::string group, const std::string& root, const char* file, uint64_t least) {
  for (;;) {
    if (auto limit = number_in(cat(root, group, "/", file))) least = std::min(least, *limit);
    if (group.empty() || group == "/") return least;
    group.resize(group.rfind('/'));
  }
}

bool is_listed(std::string_view list, std::string_view name) {
  const std::vector<std::string_view> parts = split(list, ',');
  return std::ranges::find(parts, name) != parts.end();
}

// Lines "ID:CONTROLLERS:GROUP" (cgroups(7)); version 2 names no controllers.
uint64_t control_group_limit(uint64_t memory) {
  auto groups = read_text("/proc/self/cgroup", kFileLimit);
  if (!groups) return memory;
  for (std::string_view line : split(*groups, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string group(line.substr(second + 1));
    if (!group.starts_with('/')) continue;
    if (controllers.empty()) memory = least_limit(group, "/sys/fs/cgroup", "memory.max", memory);
    if (is_listed(controllers, "memory"))
      memory = least_limit(group, "/sys/fs/cgroup/memory", "memory.limit_in_bytes", memory);
  }
  return memory;
}

}  // namespace

uint64_t memory_at_hand() {
  uint64_t memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (auto text = read_text("/proc/meminfo", kFileLimit)) {
    memory = std::min(memory, meminfo(*text, "MemAvailable").value_or(memory));
    if (number_in("/proc/sys/vm/overcommit_memory") == 2) {
      const uint64_t limit = meminfo(*text, "CommitLimit").value_or(memory);
      const uint64_t promised = meminfo(*text, "Committed_AS").value_or(0);
      memory = std::min(memory, limit - std::min(limit, promised));
    }
  }
  return control_group_limit(memory);
}

}  // namespace lifeboat
