// What the kernel knows of one mounted tree: numbers for files and directories, the names they have, and the
// descriptors of those that are open.
//
// A node is found by its inode, so two names of one file are one node, and by its names, so that nothing
// needs a descriptor only because it was looked up. A number is never used twice. Once a file lost its last
// name its inode may become somebody else's, so the node is taken out of the index; while it is open it goes
// on by its descriptor.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ops/mount/base_file.h"
#include "ops/mount/pass_through.h"
#include "util/files.h"

namespace lifeboat::ops {

// A file that is open, once however often it was opened.
struct OpenNode {
  Fd fd;
  bool writable = false;
  bool control = false;            // global/pg_control
  std::shared_ptr<BaseFile> base;  // null: the file is its own
  std::optional<Backing> backing;  // the kernel serves it
};

// Thread rule: any thread.
class NodeTable {
 public:
  static constexpr uint64_t kRoot = 1;
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    bool operator==(const Identity&) const = default;
  };

  NodeTable();

  // Where a node is, relative to the root; "" for the root. nullopt: it has no name any more, or never was.
  std::optional<std::string> path(uint64_t node) const;
  // The same of a name in a directory.
  std::optional<std::string> path(uint64_t directory, std::string_view name) const;
  // The kernel was told of this name; counted until forget().
  uint64_t remember(uint64_t directory, std::string_view name, Identity identity);
  void forget(uint64_t node, uint64_t times);
  // A name went; `last` when it was the file's last.
  void removed(uint64_t directory, std::string_view name, bool last);
  // What stood under the new name has been removed() before.
  void renamed(uint64_t directory, std::string_view name, uint64_t new_directory, std::string_view new_name);

  std::shared_ptr<OpenNode> open_node(uint64_t node) const;  // null: not open
  // Counts one more opening. `fresh` becomes the node's when it has none, or replaces one that is not
  // writable, without its backing; returns the one to use.
  std::shared_ptr<OpenNode> opened(uint64_t node, std::shared_ptr<OpenNode> fresh);
  void closed(uint64_t node);
  size_t size() const;  // nodes, for tests

 private:
  struct Node {
    uint64_t id = 0;
    uint64_t lookups = 0;
    uint64_t opens = 0;
    Identity identity;
    std::vector<std::pair<Node*, std::string>> names;  // directory and name in it
    std::unordered_map<std::string, Node*> children;
    std::shared_ptr<OpenNode> open;
  };
  struct IdentityHash {
    size_t operator()(const Identity& id) const {
      return std::hash<uint64_t>()(id.inode * 0x9e3779b97f4a7c15 + id.device);
    }
  };
  Node* find(uint64_t node) const;
  bool append_path(const Node& node, std::string& path) const;
  void drop_name(Node& directory, const std::string& name);
  void drop_if_unused(Node* node);

  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::unique_ptr<Node>> nodes_;
  std::unordered_map<Identity, Node*, IdentityHash> by_identity_;
  uint64_t next_ = kRoot + 1;
};

}  // namespace lifeboat::ops
