#include "ops/heal/process.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr uint64_t kProcLimit = 1 << 20;
constexpr int64_t kPollUs = 20'000;
constexpr int64_t kKilledMs = 10'000;  // a process that the kernel holds does not end at once
constexpr std::string_view kProgram = "lifeboat";
constexpr std::string_view kDeleted = " (deleted)";  // as the kernel shows a file that was replaced

struct ProcStat {
  char state = '?';
  pid_t parent = 0;
  uint64_t start_ticks = 0;
};

// Fields of /proc/PID/stat are counted after the command in parentheses, which may hold anything (proc(5)).
std::optional<ProcStat> read_stat(pid_t pid) {
  auto text = read_text(cat("/proc/", pid, "/stat"), kProcLimit);
  if (!text) return std::nullopt;
  const size_t close = text->rfind(')');
  if (close == std::string::npos) return std::nullopt;
  const auto fields = split(trim(std::string_view(*text).substr(close + 1)), ' ');
  constexpr size_t kParent = 4 - 3;
  constexpr size_t kStart = 22 - 3;
  if (fields.size() <= kStart) return std::nullopt;
  return ProcStat{fields[0].empty() ? '?' : fields[0][0],
                  static_cast<pid_t>(parse_u64(fields[kParent]).value_or(0)),
                  parse_u64(fields[kStart]).value_or(0)};
}

double uptime_seconds() {
  auto text = read_text("/proc/uptime", kProcLimit);
  if (!text) return 0;
  // "12345.67 23456.78", hundredths.
  const std::string_view first = split(trim(*text), ' ')[0];
  const auto parts = split(first, '.');
  const double whole = static_cast<double>(parse_u64(parts[0]).value_or(0));
  return parts.size() < 2 ? whole : whole + static_cast<double>(parse_u64(parts[1]).value_or(0)) / 100;
}

std::vector<std::string> words_of(pid_t pid) {
  auto text = read_text(cat("/proc/", pid, "/cmdline"), kProcLimit);
  std::vector<std::string> words;
  if (!text) return words;
  std::string_view rest = *text;
  while (rest.ends_with('\0')) rest.remove_suffix(1);
  for (std::string_view word : split(rest, '\0')) words.emplace_back(word);
  return words;
}

bool runs_our_program(pid_t pid) {
  auto file = read_link(cat("/proc/", pid, "/exe"));
  if (!file) return false;
  std::string_view path = *file;
  if (path.ends_with(kDeleted)) path.remove_suffix(kDeleted.size());
  return base_name(path) == kProgram;
}

bool in_order(const std::vector<std::string>& words, const std::vector<std::string_view>& wanted) {
  auto from = words.begin();
  for (std::string_view word : wanted) {
    from = std::find(from, words.end(), word);
    if (from == words.end()) return false;
    ++from;
  }
  return true;
}

std::multimap<pid_t, pid_t> children_by_parent() {
  std::multimap<pid_t, pid_t> children;
  auto entries = list_dir("/proc");
  if (!entries) return children;
  for (const DirEntry& entry : *entries) {
    auto pid = parse_u64(entry.name);
    if (!pid) continue;
    if (auto stat = read_stat(static_cast<pid_t>(*pid)); stat && stat->state != 'Z')
      children.emplace(stat->parent, static_cast<pid_t>(*pid));
  }
  return children;
}

// "postgres: archiver archiving 00000001…", or with cluster_name "postgres: 15/main: archiver "
// (src/backend/postmaster/pgarch.c, src/backend/utils/misc/ps_status.c).
bool is_archiver(pid_t pid) {
  const std::string title = join(words_of(pid), " ");
  return title.starts_with("postgres: ") && (title.find(": archiver ") != std::string::npos ||
                                             std::string_view(title).substr(10).starts_with("archiver"));
}

bool same_process(const ProcessFacts& process) {
  auto stat = read_stat(process.pid);
  return stat && stat->state != 'Z' && stat->start_ticks == process.start_ticks;
}

// True: it is gone.
Result<bool> gone_within(const ProcessFacts& process, int64_t limit_ms, const StopToken& stop) {
  Clock& clock = Clock::system();
  const int64_t deadline_us = clock.monotonic_us() + limit_ms * 1000;
  while (same_process(process)) {
    TRY(stop.check());
    if (clock.monotonic_us() > deadline_us) return false;
    clock.sleep_us(kPollUs);
  }
  return true;
}

Status send(const ProcessFacts& process, int number) {
  if (::kill(process.pid, number) == 0 || errno == ESRCH) return {};
  return errno_error(errno, cat("process ", process.pid), "signal");
}

}  // namespace

std::optional<ProcessFacts> look_at_process(pid_t pid, const std::vector<std::string_view>& words) {
  auto stat = read_stat(pid);
  if (!stat || stat->state == 'Z') return std::nullopt;
  ProcessFacts facts;
  facts.pid = pid;
  facts.start_ticks = stat->start_ticks;
  facts.seconds = std::max(0.0, uptime_seconds() - static_cast<double>(stat->start_ticks) /
                                                       static_cast<double>(::sysconf(_SC_CLK_TCK)));
  const std::vector<std::string> own = words_of(pid);
  facts.command = join(own, " ");
  facts.ours = runs_our_program(pid) && in_order(own, words);
  return facts;
}

std::vector<ProcessFacts> archiver_commands(pid_t postmaster) {
  std::vector<ProcessFacts> commands;
  const auto children = children_by_parent();
  std::vector<pid_t> open;
  auto [first, last] = children.equal_range(postmaster);
  for (auto child = first; child != last; ++child) {
    if (!is_archiver(child->second)) continue;
    auto [from, to] = children.equal_range(child->second);
    for (; from != to; ++from) open.push_back(from->second);
  }
  while (!open.empty()) {
    const pid_t pid = open.back();
    open.pop_back();
    auto [from, to] = children.equal_range(pid);
    if (from == to) {
      if (auto facts = look_at_process(pid, {"wal", "push"})) commands.push_back(*std::move(facts));
    }
    for (; from != to; ++from) open.push_back(from->second);
  }
  return commands;
}

Status end_process(const ProcessFacts& process, int64_t grace_ms, const StopToken& stop) {
  const std::string object = cat("process ", process.pid);
  if (!process.ours) return make_error(ErrorKind::precondition, object, "is not ours, and is left alone");
  if (!same_process(process)) return make_error(ErrorKind::precondition, object, "has ended meanwhile");
  TRY(send(process, SIGTERM));
  TRY_ASSIGN(bool gone, gone_within(process, grace_ms, stop));
  if (gone) return {};
  TRY(send(process, SIGKILL));
  TRY_ASSIGN(gone, gone_within(process, kKilledMs, stop));
  if (gone) return {};
  return make_error(ErrorKind::timeout, object, "does not end, although it was killed")
      .with_hint("the kernel holds it, as a rule for a file system or device that does not answer");
}

}  // namespace lifeboat::ops
