// mount(2) and umount(2) for a process that may not: through a child that stays root, or through fusermount3.
//
// A command started by root becomes the data's owner for good before it does anything (app/privileges.h). For
// one that mounts, a small child stays root, started before that. It does four things and nothing else:
// mount a FUSE connection over a directory that is handed to it open and that belongs to the owner, unmount
// what is of our type, set the read-ahead of such a mount, let the kernel serve a file that it is handed open
// for writing (pass_through.h). It ends when everybody who can ask it has ended.
// Started by anybody else, mounting is left to fusermount3, which is setuid root and applies the system's
// rules (/etc/fuse.conf).
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

enum class MountAccess : uint8_t { read_write, read_only };

// Thread rule: any thread.
class Mounter {
 public:
  virtual ~Mounter() = default;
  // Whether mounting can work at all, before anything is made: `unsupported` or `permission`.
  virtual Status available() = 0;
  // Mounts over `directory` (absolute, without symbolic links) and returns the connection to serve. Errors:
  // unsupported (no FUSE here, with what to do), permission.
  virtual Result<Fd> mount(const std::string& directory, MountAccess access) = 0;
  // Success when nothing of ours is mounted there. `busy` while somebody uses it.
  virtual Status unmount(const std::string& directory) = 0;
  // How far the kernel reads ahead; what cannot be set stays as it is.
  virtual void read_ahead(const std::string& directory, uint64_t bytes) = 0;
  // Makes a file, open for reading and writing, known to the connection `device` as one that the kernel may
  // serve itself; nullopt where that is not possible. The number holds until it is closed.
  virtual std::optional<uint32_t> open_backing(int device, int file) = 0;
  virtual void close_backing(int device, uint32_t id) = 0;
};

// The type that our mounts have in /proc/self/mountinfo.
inline constexpr const char* kMountType = "fuse.lifeboat";
// Is something of ours mounted exactly there?
Result<bool> is_mounted(const std::string& directory);
// "fuse.lifeboat", "ext4": what is mounted exactly there last; "" when nothing is. Pure.
std::string mounted_type(std::string_view mountinfo, const std::string& directory);

// Starts the child that stays root; returns the socket to ask it by. Call as root, before threads and before
// becoming `uid` / `gid`, whose directories it mounts over.
Result<Fd> start_root_mounter(uid_t uid, gid_t gid);
// Asks that child. The socket may be handed on to another process of the same owner, as its standard input.
std::unique_ptr<Mounter> ask_root_mounter(Fd socket);
// A copy of that socket when it is our standard input: how a process that goes on in the background gets it.
std::optional<Fd> inherited_root_mounter();
// By fusermount3.
std::unique_ptr<Mounter> user_mounter();

}  // namespace lifeboat::ops
