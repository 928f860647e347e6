#include "util/cut_off.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace lifeboat {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
constexpr uint32_t kFirstForeignCall = 0x40000000;  // the x32 interface has numbers of its own from here on
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
constexpr uint32_t kFirstForeignCall = UINT32_MAX;
#else
constexpr uint32_t kArchitecture = 0;
constexpr uint32_t kFirstForeignCall = UINT32_MAX;
#endif

constexpr uint32_t refuse(int error) {
  return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error);
}
constexpr sock_filter load(size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
constexpr sock_filter answer(uint32_t action) {
  return BPF_STMT(BPF_RET | BPF_K, action);
}
// The next `skip` instructions only when the loaded value is this one.
constexpr sock_filter only_if(uint32_t value, uint8_t skip) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip);
}
// Little-endian: the lower half of an argument comes first.
constexpr size_t argument(int number, int half) {
  return offsetof(seccomp_data, args) + static_cast<size_t>(number) * 8 + static_cast<size_t>(half) * 4;
}

// SOCK_TYPE_MASK of the kernel (include/linux/net.h): SOCK_NONBLOCK and SOCK_CLOEXEC lie above it.
constexpr uint32_t kTypeMask = 0xf;

// Each call that leads to somebody else. An io_uring would do all of them without a call.
constexpr sock_filter kFilter[] = {
    load(offsetof(seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
    answer(refuse(ENOSYS)),
    load(offsetof(seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kFirstForeignCall, 0, 1),
    answer(refuse(ENOSYS)),
    only_if(SYS_connect, 1),
    answer(refuse(ENETUNREACH)),
    only_if(425 /* io_uring_setup, the same everywhere */, 1),
    answer(refuse(ENOSYS)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
    only_if(SYS_socketpair, 7),
    load(argument(0, 0)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 3),
    // SOCK_RAW of this family is SOCK_DGRAM (net/unix/af_unix.c, unix_create). sendmsg() and sendmmsg() take
    // no address for a stream.
    load(argument(1, 0)),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kTypeMask),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 1, 0),
    answer(refuse(EAFNOSUPPORT)),
    answer(SECCOMP_RET_ALLOW),
    // With an address it needs no connection.
    only_if(SYS_sendto, 5),
    load(argument(4, 0)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
    load(argument(4, 1)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
    answer(refuse(ENETUNREACH)),
    answer(SECCOMP_RET_ALLOW),
};

}  // namespace

bool cut_off_from_others() {
  if (kArchitecture == 0) {
    errno = ENOSYS;
    return false;
  }
  // Without new privileges anybody may filter himself.
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  sock_fprog program = {};
  program.len = sizeof kFilter / sizeof kFilter[0];
  program.filter = const_cast<sock_filter*>(kFilter);  // the kernel only reads it
  return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

}  // namespace lifeboat
