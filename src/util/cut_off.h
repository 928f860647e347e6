// Keeps a process, and all that it starts, from reaching anybody.
//
// A seccomp filter of the kernel: only stream sockets of this host can be made, and none can be connected, so
// a server goes on accepting through sockets that it has bound, and whatever runs in it (foreign tables,
// dblink, subscriptions, functions in any language, COPY FROM PROGRAM) finds the network unreachable. There
// are no datagram sockets, of pairs either: the kernel would send from them to an address that stands in
// memory, where a filter cannot look. It cannot be taken off again.
//
// What is open already stays open, and files are no sockets: a named pipe or a file that others read can
// still be written by who may.
#pragma once

namespace lifeboat {

// Of the calling process. False, with errno set, where the kernel or this processor has no such filter.
// Async-signal-safe: for between fork and exec.
bool cut_off_from_others();

}  // namespace lifeboat
