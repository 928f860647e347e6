#include "ops/wal/gate.h"

#include <fcntl.h>

#include <cstdio>
#include <optional>
#include <vector>

#include "repo/lease.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kFileLimit = 64 << 10;
constexpr int64_t kLookUs = 5'000;
constexpr int kMostFailed = 5;
// A process in another container cannot be seen. It reads a segment in less than this.
constexpr int64_t kStrangerUs = 15ll * 60 * 1'000'000;
constexpr std::string_view kChecked = "checked ";
constexpr std::string_view kPlaced = "placed ";
constexpr std::string_view kRefused = "refused ";

struct Standing {
  std::optional<Lsn> checked;  // nullopt: refused
  WalComes comes = WalComes::from_repository;
  std::string why;
  SegmentSize size;
  repo::ProcessIdentity process;
};

// Lines: how it stands, the size of segments, and the process.
std::optional<Standing> parse(std::string_view text) {
  std::vector<std::string_view> lines = split(text, '\n');
  if (lines.size() < 7) return std::nullopt;
  Standing standing;
  const bool placed = lines[0].starts_with(kPlaced);
  if (placed || lines[0].starts_with(kChecked)) {
    auto lsn = parse_u64(lines[0].substr((placed ? kPlaced : kChecked).size()));
    if (!lsn) return std::nullopt;
    standing.checked = Lsn{*lsn};
    if (placed) standing.comes = WalComes::in_pg_wal;
  } else if (lines[0].starts_with(kRefused)) {
    standing.why = lines[0].substr(kRefused.size());
  } else {
    return std::nullopt;
  }
  auto size = parse_u64(lines[1]);
  auto space = parse_u64(lines[4]);
  auto pid = parse_i64(lines[5]);
  auto ticks = parse_u64(lines[6]);
  if (!size || !SegmentSize::valid(*size) || !space || !pid || !ticks) return std::nullopt;
  standing.size = SegmentSize{static_cast<uint32_t>(*size)};
  standing.process = {std::string(lines[2]), std::string(lines[3]), *space, *pid, *ticks};
  return standing;
}

// Also when the machine was started again since.
bool is_gone(const repo::ProcessIdentity& process) {
  const repo::ProcessIdentity self = repo::ProcessIdentity::self();
  if (process.host == self.host && process.boot_id != self.boot_id) return true;
  return repo::process_is_gone(process);
}

}  // namespace

Result<WalGate> WalGate::close(const std::string& data_directory, SegmentSize size, WalComes comes) {
  WalGate gate(join_path(data_directory, kWalGateFile), size, comes);
  TRY(gate.advance(Lsn{0}));
  return gate;
}

Status WalGate::advance(Lsn checked) {
  return write(cat(comes_ == WalComes::in_pg_wal ? kPlaced : kChecked, checked.value));
}

Status WalGate::refuse(const std::string& why) {
  std::string line = why;
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  return write(cat(kRefused, line));
}

Status WalGate::open() {
  return remove_file(path_);
}

// Renamed into place, so that nobody reads half of it.
Status WalGate::write(const std::string& first_line) const {
  const repo::ProcessIdentity self = repo::ProcessIdentity::self();
  const std::string text = cat(first_line, "\n", size_.bytes, "\n", self.host, "\n", self.boot_id, "\n",
                               self.pid_namespace, "\n", self.pid, "\n", self.start_ticks, "\n");
  const std::string fresh = cat(path_, ".new");
  {
    TRY_ASSIGN(Fd fd, open_file(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    TRY(write_all(fd.get(), as_bytes(text), fresh));
  }
  if (std::rename(fresh.c_str(), path_.c_str()) != 0) return errno_error(errno, path_, "rename");
  return {};
}

Result<WalComes> wait_at_gate(const std::string& target, const SegmentName& segment, const StopToken* stop) {
  const std::string path = join_path(parent_path(parent_path(target)), kWalGateFile);
  const int64_t began_us = Clock::system().monotonic_us();
  for (int failed = 0;;) {
    if (stop != nullptr) TRY(stop->check());
    auto text = read_text(path, kFileLimit);
    if (!text && text.error().kind == ErrorKind::not_found) return WalComes::from_repository;
    if (!text) {
      // On a mount, one that is renamed over again and again may be looked for in vain (ESTALE).
      if (++failed > kMostFailed) return std::move(text).error();
      Clock::system().sleep_us(kLookUs);
      continue;
    }
    auto standing = parse(*text);
    if (!standing) return make_error(ErrorKind::damaged, path, "does not say how far WAL was checked");
    if (!standing->checked)
      return make_error(ErrorKind::precondition, segment.to_string(), "is not handed out")
          .with_cause(std::move(standing->why));
    if (*standing->checked >= segment.end(standing->size)) return standing->comes;
    const bool gone = is_gone(standing->process);
    if (gone || Clock::system().monotonic_us() - began_us > kStrangerUs) {
      const std::string who = cat("process ", standing->process.pid, " on ", standing->process.host);
      return make_error(ErrorKind::precondition, segment.to_string(),
                        gone ? cat("was not checked, and the process that checked WAL has ended (", who, ")")
                             : cat("was not checked within 15 minutes by ", who))
          .with_hint("where that has ended, the same lifeboat restore --instant checks it and goes on");
    }
    Clock::system().sleep_us(kLookUs);
  }
}

}  // namespace lifeboat::ops
