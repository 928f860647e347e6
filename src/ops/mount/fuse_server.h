// Serves one mounted tree to the kernel: names and attributes straight from the real directory below the
// mount, contents of files that come from the backup through BaseFile.
//
// We speak the kernel's own protocol (linux/fuse.h, stable since 2005) on /dev/fuse instead of using libfuse:
// docs/decisions says why. The directory below is opened before the mount covers it, and every operation is
// an *at(2) call below that descriptor. Nobody but this server changes what is below, so the kernel may keep
// names, attributes and pages for as long as it likes.
//
// A few threads take requests; one that needs blocks from the repository goes to the fetch pool with its
// buffer and is answered from there, so that a store that hangs holds up only those who need it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "ops/mount/base_file.h"
#include "ops/mount/node_table.h"
#include "ops/mount/shown_names.h"
#include "util/files.h"

namespace lifeboat::ops {

// Shared by the trees of one mount.
struct MountEngine {
  BaseFiles& files;
  FetchPool& pool;
  // Hears of every request that failed for another reason than the kernel's errno says. Any thread.
  std::function<void(const Error&)> failed;
  // Makes everything below all trees durable: a server that starts relies on it (fuse_server.cc).
  std::function<Status()> sync_all;
  Mounter& mounter;
  std::atomic<bool> changed{false};  // by the server, since sync_all was called
  std::atomic<bool> passes{false};   // the kernel serves files itself, and may change them at any time
};

class FuseServer {
 public:
  // `device` is the mount's /dev/fuse, `root` the directory below.
  FuseServer(Fd device, Fd root, TreeKind kind, MountEngine& engine);
  ~FuseServer();
  void start(int threads);
  // The kernel has ended the connection: the tree was unmounted.
  bool ended() const { return ended_; }
  bool initialised() const { return initialised_; }  // the kernel's first request was answered
  // Waits for the threads; they end when the tree is unmounted.
  void join();
  // Ends them although the kernel has not ended the connection. It does so when the device is closed, with
  // this object: whoever has the tree mounted still, in another mount namespace, gets ENOTCONN.
  void cut_off();

 private:
  class Impl;
  std::atomic<bool> ended_{false};
  std::atomic<bool> initialised_{false};
  std::unique_ptr<Impl> impl_;
};

}  // namespace lifeboat::ops
