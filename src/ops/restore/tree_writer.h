// Writes a backup's tree into directories: every worker takes runs of blocks, reads the packs in large
// pieces, checks each run against its hash and writes it where it belongs.
//
// A task is up to one leaf of a large file (4096 blocks) or a batch of small files. Within a task the
// references are taken in the order of the packs, so that the store is read front to back; writes go by
// position. That the references cover a file without a gap or an overlap is checked by their counts, leaf by
// leaf (T36). Memory is bounded by the queue and the workers' buffers (T42).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "repo/tree.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// A file that is written and whose every byte was checked.
struct WrittenFile {
  std::string_view path;  // in the tree, relative to its root directory
  uint64_t size = 0;
  int64_t mtime_us = 0;  // recorded
  uint32_t crc = 0;      // CRC-32C of the content
};

// Where an entry of the tree goes.
struct TreePlace {
  enum class Do : uint8_t {
    write,    // at `path`
    as_hole,  // a file, made at `path` for TreeWriteOptions::hole to fill in
    skip,     // the entry and, of a directory, all below it
    as_link,  // a directory of the tree that becomes a symbolic link to `link_target`; what is below it goes
              // on
  } action = Do::write;
  std::string path;  // absolute, on this host
  std::string link_target;
};

// What may be at the places already.
enum class Existing : uint8_t {
  nothing,
  compared,        // files and directories, which become what the tree has (existing_file.h)
  compared_links,  // the same, but a symbolic link at the top that leads to a directory stays one
};

struct TreeWriteOptions {
  int workers = 1;
  Existing existing = Existing::nothing;
  uint32_t block_size = 8192;
  // Owner of everything written, applied when this process is root.
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t total_bytes = 0;  // for progress
  // Called by the coordinating thread for every entry, parents first.
  std::function<TreePlace(const std::string& path, const repo::Entry& entry)> place;
  // Called by any worker, one at a time, when a file is complete. May be empty.
  std::function<Status(const WrittenFile&)> written;
  // Called by the coordinating thread for a new, empty file with its mode and owner.
  std::function<Status(const std::string& path, const repo::Entry& entry, const std::string& absolute,
                       int fd)>
      hole;
};

struct TreeWriteTotals {
  uint64_t files = 0;
  uint64_t directories = 0;
  uint64_t bytes = 0;
  // With Existing::compared, plain bytes: read from the directory, of these right already, taken from the
  // repository, written.
  uint64_t compared = 0;
  uint64_t unchanged = 0;
  uint64_t fetched = 0;
  uint64_t written = 0;
  uint64_t fetched_stored = 0;  // bytes read from packs for what was fetched
};

// Writes everything below `directory` of the tree. Files and directories get their recorded modes; nothing is
// synced, and what is not in the tree is not touched. Errors: damaged (names file and frame), space,
// cancelled, those of the store and the file system. On error what was written stays.
Result<TreeWriteTotals> write_tree(const repo::LineageRepo& repo, const repo::NodeRef& directory,
                                   const TreeWriteOptions& options, Reporter& reporter,
                                   const StopToken& stop);

// The content of one file of the tree, checked. More than `limit` bytes is `damaged`.
Result<Bytes> read_tree_file(const repo::LineageRepo& repo, const repo::Entry& file, uint32_t block_size,
                             uint64_t limit);

}  // namespace lifeboat::ops
