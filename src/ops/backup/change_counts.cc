#include "ops/backup/change_counts.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kHeld = 4096;  // relations

void merge(const repo::ChangeCount& from, repo::ChangeCount& into) {
  into.files += from.files;
  into.plain_bytes += from.plain_bytes;
  into.read_bytes += from.read_bytes;
  into.new_bytes += from.new_bytes;
}

std::vector<repo::ChangeCount> listed(const std::map<std::string, repo::ChangeCount, std::less<>>& counts) {
  std::vector<repo::ChangeCount> list;
  for (const auto& [path, count] : counts) {
    list.push_back(count);
    list.back().path = path;
  }
  return list;
}

}  // namespace

void ChangeCounts::add(std::string_view directory, std::string_view file, bool relation,
                       const repo::ChangeCount& count) {
  std::lock_guard lock(mutex_);
  auto at = directories_.find(directory);
  if (at == directories_.end()) at = directories_.try_emplace(std::string(directory)).first;
  merge(count, at->second);
  if (!relation || count.new_bytes == 0) return;
  std::string_view node = file.substr(0, file.find_first_not_of("0123456789"));
  if (node.empty()) return;
  merge(count, relations_[cat(directory, "/", node)]);
  if (relations_.size() > kHeld) forget_small();
}

// A relation whose files come one after the other, as the largest ones do, is counted whole.
void ChangeCounts::forget_small() {
  std::vector<uint64_t> sizes;
  for (const auto& [path, count] : relations_) sizes.push_back(count.new_bytes);
  auto middle = sizes.begin() + static_cast<ptrdiff_t>(sizes.size() / 2);
  std::ranges::nth_element(sizes, middle);
  const uint64_t least = *middle;
  std::erase_if(relations_, [&](const auto& entry) { return entry.second.new_bytes <= least; });
}

std::vector<repo::ChangeCount> ChangeCounts::directories() const {
  std::lock_guard lock(mutex_);
  return listed(directories_);
}

std::vector<repo::ChangeCount> ChangeCounts::relations() const {
  std::lock_guard lock(mutex_);
  std::vector<repo::ChangeCount> list = listed(relations_);
  std::ranges::stable_sort(list, std::greater<>(), &repo::ChangeCount::new_bytes);
  if (list.size() > repo::kMostChanged) list.resize(repo::kMostChanged);
  return list;
}

}  // namespace lifeboat::ops
