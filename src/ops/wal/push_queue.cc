#include "ops/wal/push_queue.h"

#include <algorithm>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kNoteLimit = 16 << 20;
constexpr mode_t kNoteMode = 0600;

}  // namespace

Result<uint64_t> waiting_segments(const std::string& pg_wal) {
  constexpr std::string_view kReady = ".ready";
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(join_path(pg_wal, "archive_status")));
  return static_cast<uint64_t>(std::ranges::count_if(entries, [&](const DirEntry& entry) {
    if (!entry.name.ends_with(kReady)) return false;
    auto file = WalFileName::parse(std::string_view(entry.name).substr(0, entry.name.size() - kReady.size()));
    return file && file->kind == WalFileKind::segment;
  }));
}

bool may_be_dropped(const WalFileName& file, const Error& why) {
  if (file.kind != WalFileKind::segment && file.kind != WalFileKind::partial) return false;
  switch (why.kind) {
    case ErrorKind::usage:
    case ErrorKind::config:
    case ErrorKind::precondition:
    case ErrorKind::foreign:
    case ErrorKind::conflict:
    case ErrorKind::cancelled:
    case ErrorKind::internal:
      return false;
    default:
      return true;
  }
}

std::string dropped_path(const std::string& directory, const std::string& cluster, const Lineage& lineage) {
  return join_path(directory, cat("wal-dropped-", cluster, "-", lineage.to_string()));
}

Status note_dropped(const std::string& directory, const std::string& cluster, const Lineage& lineage,
                    const WalGap& gap) {
  TRY_ASSIGN(std::vector<WalGap> gaps, read_dropped(directory, cluster, lineage));
  if (!gaps.empty() && gaps.back().timeline == gap.timeline && gaps.back().to == gap.from)
    gaps.back().to = gap.to;
  else if (gaps.empty() || gaps.back().timeline != gap.timeline || gaps.back().to != gap.to)
    gaps.push_back(gap);
  std::string text;
  for (const WalGap& one : gaps) text += cat(encode_gap(one), "\n");
  return write_file_durable(dropped_path(directory, cluster, lineage), as_bytes(text), kNoteMode);
}

Result<std::vector<WalGap>> read_dropped(const std::string& directory, const std::string& cluster,
                                         const Lineage& lineage) {
  const std::string path = dropped_path(directory, cluster, lineage);
  std::vector<WalGap> gaps;
  TRY_ASSIGN(bool noted, path_exists(path));
  if (!noted) return gaps;
  TRY_ASSIGN(std::string text, read_text(path, kNoteLimit));
  for (std::string_view line : split(trim(text), '\n')) {
    auto gap = parse_gap(std::string(line));
    if (!gap) return make_error(ErrorKind::damaged, path, "not a note of WAL that was dropped");
    gaps.push_back(std::move(*gap));
  }
  return gaps;
}

Status report_dropped(const repo::LineageRepo& repo, const std::string& directory, const std::string& cluster,
                      const Lineage& lineage) {
  TRY_ASSIGN(std::vector<WalGap> gaps, read_dropped(directory, cluster, lineage));
  if (gaps.empty()) return {};
  for (const WalGap& gap : gaps) TRY(record_gap(repo, gap));
  return remove_file(dropped_path(directory, cluster, lineage));
}

}  // namespace lifeboat::ops
