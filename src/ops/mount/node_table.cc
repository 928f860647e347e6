#include "ops/mount/node_table.h"

#include <algorithm>

namespace lifeboat::ops {

NodeTable::NodeTable() {
  auto root = std::make_unique<Node>();
  root->id = kRoot;
  root->lookups = 1;  // never forgotten
  nodes_.emplace(kRoot, std::move(root));
}

NodeTable::Node* NodeTable::find(uint64_t node) const {
  auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : found->second.get();
}

bool NodeTable::append_path(const Node& node, std::string& path) const {
  if (node.id == kRoot) return true;
  if (node.names.empty()) return false;
  const auto& [directory, name] = node.names.front();
  if (!append_path(*directory, path)) return false;
  if (!path.empty()) path += '/';
  path += name;
  return true;
}

std::optional<std::string> NodeTable::path(uint64_t node) const {
  std::lock_guard lock(mutex_);
  const Node* found = find(node);
  std::string path;
  if (found == nullptr || !append_path(*found, path)) return std::nullopt;
  return path;
}

std::optional<std::string> NodeTable::path(uint64_t directory, std::string_view name) const {
  auto path = this->path(directory);
  if (!path) return std::nullopt;
  if (!path->empty()) *path += '/';
  *path += name;
  return path;
}

uint64_t NodeTable::remember(uint64_t directory, std::string_view name, Identity identity) {
  std::lock_guard lock(mutex_);
  Node* parent = find(directory);
  if (parent == nullptr) return 0;
  Node* node = nullptr;
  if (auto known = by_identity_.find(identity); known != by_identity_.end()) {
    node = known->second;
  } else {
    auto fresh = std::make_unique<Node>();
    node = fresh.get();
    node->id = next_++;
    node->identity = identity;
    nodes_.emplace(node->id, std::move(fresh));
    by_identity_.emplace(identity, node);
  }
  ++node->lookups;
  std::string key(name);
  auto there = parent->children.find(key);
  if (there != parent->children.end() && there->second == node) return node->id;
  if (there != parent->children.end()) drop_name(*parent, key);
  parent->children[key] = node;
  node->names.emplace_back(parent, std::move(key));
  return node->id;
}

// The entry of a directory and the name of what it names.
void NodeTable::drop_name(Node& directory, const std::string& name) {
  auto entry = directory.children.find(name);
  if (entry == directory.children.end()) return;
  Node* node = entry->second;
  directory.children.erase(entry);
  std::erase_if(node->names, [&](const auto& one) { return one.first == &directory && one.second == name; });
}

void NodeTable::drop_if_unused(Node* node) {
  while (node != nullptr && node->id != kRoot && node->lookups == 0 && node->opens == 0 &&
         node->children.empty()) {
    Node* above = node->names.empty() ? nullptr : node->names.front().first;
    // All of its names; with several, the others' directories have entries of their own or go when forgotten.
    while (!node->names.empty()) {
      auto [directory, name] = node->names.back();
      drop_name(*directory, name);
    }
    if (auto known = by_identity_.find(node->identity); known != by_identity_.end() && known->second == node)
      by_identity_.erase(known);
    nodes_.erase(node->id);
    node = above;
  }
}

void NodeTable::forget(uint64_t node, uint64_t times) {
  std::lock_guard lock(mutex_);
  Node* found = find(node);
  if (found == nullptr || found->id == kRoot) return;
  found->lookups -= std::min(found->lookups, times);
  drop_if_unused(found);
}

void NodeTable::removed(uint64_t directory, std::string_view name, bool last) {
  std::lock_guard lock(mutex_);
  Node* parent = find(directory);
  if (parent == nullptr) return;
  auto entry = parent->children.find(std::string(name));
  if (entry == parent->children.end()) return;
  Node* node = entry->second;
  drop_name(*parent, std::string(name));
  if (last) {
    if (auto known = by_identity_.find(node->identity); known != by_identity_.end() && known->second == node)
      by_identity_.erase(known);
    node->identity = {};
  }
  drop_if_unused(node);
}

void NodeTable::renamed(uint64_t directory, std::string_view name, uint64_t new_directory,
                        std::string_view new_name) {
  std::lock_guard lock(mutex_);
  Node* from = find(directory);
  Node* to = find(new_directory);
  if (from == nullptr || to == nullptr) return;
  auto entry = from->children.find(std::string(name));
  if (entry == from->children.end()) return;
  Node* node = entry->second;
  drop_name(*from, std::string(name));
  drop_name(*to, std::string(new_name));
  to->children[std::string(new_name)] = node;
  node->names.emplace_back(to, std::string(new_name));
}

std::shared_ptr<OpenNode> NodeTable::open_node(uint64_t node) const {
  std::lock_guard lock(mutex_);
  const Node* found = find(node);
  return found == nullptr ? nullptr : found->open;
}

std::shared_ptr<OpenNode> NodeTable::opened(uint64_t node, std::shared_ptr<OpenNode> fresh) {
  std::optional<Backing> unused;  // closed without the lock
  std::lock_guard lock(mutex_);
  Node* found = find(node);
  if (found == nullptr) return nullptr;
  ++found->opens;
  if (!found->open) {
    found->open = std::move(fresh);
  } else if (fresh && fresh->writable && !found->open->writable) {
    if (fresh->backing) unused.emplace(std::move(*fresh->backing));
    fresh->backing.reset();
    found->open = std::move(fresh);
  }
  return found->open;
}

void NodeTable::closed(uint64_t node) {
  std::shared_ptr<OpenNode> last;  // closed without the lock
  std::lock_guard lock(mutex_);
  Node* found = find(node);
  if (found == nullptr || found->opens == 0) return;
  if (--found->opens == 0) last = std::move(found->open);
  drop_if_unused(found);
}

size_t NodeTable::size() const {
  std::lock_guard lock(mutex_);
  return nodes_.size();
}

}  // namespace lifeboat::ops
