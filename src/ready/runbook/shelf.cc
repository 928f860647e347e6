#include "ready/runbook/shelf.h"

#include <algorithm>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr size_t kHeadLines = 20;
constexpr std::string_view kEnding = ".md";

Timestamp time_of(std::string_view text) {
  auto time = parse_time(text);
  return time ? *time : Timestamp();
}

}  // namespace

std::optional<WrittenRunbook> parse_runbook(const std::string& path, std::string_view text) {
  WrittenRunbook runbook;
  runbook.path = path;
  std::string_view name = base_name(path);
  if (!name.ends_with(kEnding)) return std::nullopt;
  runbook.id = name.substr(0, name.size() - kEnding.size());
  size_t line_number = 0;
  for (std::string_view line : split(text, '\n')) {
    if (++line_number > kHeadLines) break;
    line = trim(line);
    if (line.starts_with(kClusterLine)) runbook.cluster = line.substr(kClusterLine.size());
    if (line.starts_with(kWrittenLine)) runbook.written = time_of(line.substr(kWrittenLine.size()));
    if (!line.starts_with(kReviewedLine)) continue;
    std::string_view value = line.substr(kReviewedLine.size());
    const size_t by = value.find(" by ");
    if (by == std::string_view::npos) continue;
    runbook.reviewed = time_of(value.substr(0, by));
    runbook.reviewer = trim(value.substr(by + 4));
  }
  constexpr std::string_view kSystem = "system identifier ";
  if (const size_t at = text.find(kSystem); at != std::string_view::npos) {
    const std::string_view rest = text.substr(at + kSystem.size());
    runbook.system_id = rest.substr(0, rest.find_first_not_of("0123456789"));
  }
  if (!runbook.written.valid() || runbook.cluster.empty()) return std::nullopt;
  return runbook;
}

std::vector<WrittenRunbook> written_runbooks(const std::string& directory, const std::string& cluster) {
  std::vector<WrittenRunbook> found;
  auto entries = list_dir(directory);
  if (!entries) return found;
  for (const DirEntry& entry : *entries) {
    if (entry.kind != FileKind::regular || !entry.name.ends_with(kEnding)) continue;
    const std::string path = join_path(directory, entry.name);
    auto text = read_text(path, kLongestRunbook);
    if (!text) continue;
    auto runbook = parse_runbook(path, *text);
    if (runbook && runbook->cluster == cluster) found.push_back(std::move(*runbook));
  }
  return found;
}

const WrittenRunbook* find_runbook(const std::vector<WrittenRunbook>& runbooks, std::string_view id) {
  auto found = std::ranges::find(runbooks, id, &WrittenRunbook::id);
  return found == runbooks.end() ? nullptr : &*found;
}

}  // namespace lifeboat::ready
