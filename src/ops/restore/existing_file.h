// Files that are there already, on their way to what the backup holds: compared run by run, so that only what
// differs is fetched and written (restore --delta).
//
// A reference carries the hash of the run as it was stored. A whole run is compared by that without reading
// the repository; of a run that later backups left in parts the hash tells nothing about one part, so it is
// fetched, and written where its bytes differ.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "repo/block_reader.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::ops {

// Plain bytes; counted by all workers.
struct CompareCounters {
  std::atomic<uint64_t> compared{0};   // read from the directory
  std::atomic<uint64_t> unchanged{0};  // of these, what was right already
  std::atomic<uint64_t> fetched{0};    // taken from the repository
  std::atomic<uint64_t> written{0};
};

// Makes way for a file of `size` bytes. True: a regular file is there that may be overwritten in place, and
// it is not longer than that. What is there but cannot be (a directory, a link, a file with a second name,
// which somebody else may read by that, another user's) is removed, and false.
Result<bool> ready_file(const std::string& path, uint64_t size);
// The same for a directory. `keeps_link`: a symbolic link to a directory is as good.
Status ready_directory(const std::string& path, bool keeps_link);
// The same for a symbolic link. True: it is there already.
Result<bool> ready_link(const std::string& path, const std::string& target);

// Compares the pieces with what the file holds at their places; returns the indexes of those that have to be
// fetched. The others get their `crc`. What cannot be read (a bad sector) has to be fetched too. `buffer`
// grows to the longest piece.
Result<std::vector<size_t>> differing_pieces(int fd, const std::string& path, std::span<repo::Piece> pieces,
                                             Bytes& buffer, CompareCounters& counters);

// Whether the file holds these bytes there.
bool holds_already(int fd, const std::string& path, uint64_t offset, ByteView bytes, Bytes& buffer);

}  // namespace lifeboat::ops
