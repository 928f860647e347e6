#include "ops/mount/status.h"

#include <fcntl.h>

#include "ops/mount/shown_names.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr size_t kSize = 1024;  // of the status
constexpr uint64_t kMost = 16 << 20;
}  // namespace

std::string MountStatus::to_text() const {
  std::string short_problem = problem.substr(0, 600);
  for (char& c : short_problem) c = c == '\n' ? ' ' : c;
  std::string text = cat("pid ", pid, "\nbrought ", brought, "\ntotal ", total, "\ncomplete ",
                         complete ? "yes" : "no", "\nproblem ", short_problem, "\nend\n");
  text.resize(kSize, ' ');
  text.back() = '\n';
  return text;
}

std::optional<MountStatus> MountStatus::parse(std::string_view text) {
  MountStatus status;
  bool whole = false;
  for (std::string_view line : split(text, '\n')) {
    size_t space = line.find(' ');
    std::string_view name = line.substr(0, space);
    std::string_view value = space == std::string_view::npos ? "" : line.substr(space + 1);
    if (name == "pid") status.pid = static_cast<pid_t>(parse_i64(value).value_or(0));
    if (name == "brought") status.brought = parse_u64(value).value_or(0);
    if (name == "total") status.total = parse_u64(value).value_or(0);
    if (name == "complete") status.complete = value == "yes";
    if (name == "problem") status.problem = value;
    if (name == "end") whole = true;
  }
  if (!whole || status.pid <= 0) return std::nullopt;
  return status;
}

std::optional<MountStatus> read_status(const std::string& directory) {
  auto text = read_text(join_path(directory, kMountStatus), kMost);
  return text ? MountStatus::parse(std::string_view(*text).substr(0, kSize)) : std::nullopt;
}

Result<std::optional<MountState>> read_mounted_state(const std::string& directory) {
  std::string path = join_path(directory, kMountStatus);
  auto text = read_text(path, kMost);
  if (!text || text->size() <= kSize) return std::optional<MountState>();
  TRY_ASSIGN(MountState state, MountState::parse(path, std::string_view(*text).substr(kSize)));
  return std::optional(std::move(state));
}

Result<StatusFile> StatusFile::create(const std::string& directory, const MountState& state) {
  std::string path = join_path(directory, kMountStatus);
  TRY_ASSIGN(Fd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  TRY(pwrite_all(fd.get(), kSize, as_bytes(state.to_text()), path));
  return StatusFile(std::move(fd), std::move(path));
}

Status StatusFile::write(const MountStatus& status) {
  std::string text = status.to_text();
  if (text == written_) return {};
  TRY(pwrite_all(fd_.get(), 0, as_bytes(text), path_));
  written_ = std::move(text);
  return {};
}

}  // namespace lifeboat::ops
