#include "pg/format/backup_label.h"

#include "util/strings.h"

namespace lifeboat::pg {

namespace {

Error damaged(std::string_view file, std::string message) {
  return make_error(ErrorKind::damaged, std::string(file), std::move(message));
}

// The value of the first line that begins with "KEY: ".
std::optional<std::string_view> find_line(std::string_view text, std::string_view key) {
  for (std::string_view line : split(text, '\n')) {
    if (line.size() >= key.size() + 2 && line.starts_with(key) && line.substr(key.size(), 2) == ": ") {
      line.remove_prefix(key.size() + 2);
      if (line.ends_with('\r')) line.remove_suffix(1);
      return line;
    }
  }
  return std::nullopt;
}

struct Location {
  Lsn lsn;
  SegmentName segment;
};

// "0/2000028 (file 000000010000000000000002)"
Result<Location> find_location(std::string_view file, std::string_view text, std::string_view key) {
  auto line = find_line(text, key);
  if (!line) return damaged(file, cat("has no line \"", key, "\""));
  constexpr std::string_view kBefore = " (file ";
  size_t gap = line->find(kBefore);
  if (gap != std::string_view::npos && line->ends_with(')')) {
    auto lsn = Lsn::parse(line->substr(0, gap));
    std::string_view name = line->substr(gap + kBefore.size());
    name.remove_suffix(1);
    auto segment = SegmentName::parse(name);
    if (lsn && segment) return Location{*lsn, *segment};
  }
  return damaged(file,
                 cat(key, ": expected a position and a file name, found \"", line->substr(0, 80), "\""));
}

Result<Lsn> find_lsn(std::string_view file, std::string_view text, std::string_view key) {
  auto line = find_line(text, key);
  if (!line) return damaged(file, cat("has no line \"", key, "\""));
  auto lsn = Lsn::parse(*line);
  if (!lsn) return damaged(file, cat(key, ": expected a position, found \"", line->substr(0, 80), "\""));
  return *lsn;
}

Result<std::optional<Timeline>> find_timeline(std::string_view file, std::string_view text,
                                              std::string_view key) {
  auto line = find_line(text, key);
  if (!line) return std::optional<Timeline>();
  auto timeline = parse_u64(*line);
  if (!timeline || *timeline == 0 || *timeline > UINT32_MAX) {
    return damaged(file, cat(key, ": expected a timeline, found \"", line->substr(0, 80), "\""));
  }
  return std::optional<Timeline>(Timeline{static_cast<uint32_t>(*timeline)});
}

std::string find_text(std::string_view text, std::string_view key) {
  return std::string(find_line(text, key).value_or(std::string_view()));
}

// The fields that backup_label and the history file share.
Result<BackupLabel> parse_common(std::string_view file, std::string_view text) {
  BackupLabel label;
  TRY_ASSIGN(Location start, find_location(file, text, "START WAL LOCATION"));
  label.start = start.lsn;
  label.start_segment = start.segment;
  TRY_ASSIGN(label.checkpoint, find_lsn(file, text, "CHECKPOINT LOCATION"));
  label.method = find_text(text, "BACKUP METHOD");
  label.from_standby = find_text(text, "BACKUP FROM") == "standby";
  label.start_time = find_text(text, "START TIME");
  label.label = find_text(text, "LABEL");
  TRY_ASSIGN(label.start_timeline, find_timeline(file, text, "START TIMELINE"));
  if (label.start_timeline && *label.start_timeline != label.start_segment.timeline) {
    return damaged(file, cat("START TIMELINE is ", label.start_timeline->value,
                             ", but the file of the start is ", label.start_segment.to_string()));
  }
  if (find_line(text, "INCREMENTAL FROM LSN")) {
    TRY_ASSIGN(label.incremental_from, find_lsn(file, text, "INCREMENTAL FROM LSN"));
    TRY_ASSIGN(label.incremental_from_timeline, find_timeline(file, text, "INCREMENTAL FROM TLI"));
  }
  return label;
}

}  // namespace

Result<BackupLabel> parse_backup_label(std::string_view text) {
  return parse_common("backup_label", text);
}

Result<BackupHistory> parse_backup_history(std::string_view text) {
  constexpr std::string_view kFile = "backup history file";
  BackupHistory history;
  TRY_ASSIGN(history.label, parse_common(kFile, text));
  TRY_ASSIGN(Location stop, find_location(kFile, text, "STOP WAL LOCATION"));
  history.stop = stop.lsn;
  history.stop_segment = stop.segment;
  history.stop_time = find_text(text, "STOP TIME");
  TRY_ASSIGN(history.stop_timeline, find_timeline(kFile, text, "STOP TIMELINE"));
  if (history.stop < history.label.start) {
    return damaged(kFile, cat("stops at ", history.stop.to_string(), ", before its start at ",
                              history.label.start.to_string()));
  }
  return history;
}

Result<std::vector<TablespaceMapEntry>> parse_tablespace_map(std::string_view text,
                                                             const VersionTraits& version) {
  constexpr std::string_view kFile = "tablespace_map";
  std::vector<TablespaceMapEntry> entries;
  std::string line;
  bool escaped = false;
  auto end_line = [&]() -> Status {
    size_t space = line.find(' ');
    auto oid = parse_u64(std::string_view(line).substr(0, space));
    if (space == std::string::npos || !oid || *oid == 0 || *oid > UINT32_MAX || space + 1 == line.size()) {
      return damaged(kFile, cat("expected an oid and a path, found \"", line.substr(0, 80), "\""));
    }
    entries.push_back({static_cast<Oid>(*oid), line.substr(space + 1)});
    line.clear();
    return {};
  };
  for (char c : text) {
    bool line_end = c == '\n' || c == '\r';
    if (version.map_backslash) {
      if (!escaped && c == '\\') {
        escaped = true;
      } else if (!escaped && line_end) {
        if (!line.empty()) TRY(end_line());  // the server skips empty lines, which \r\n makes
      } else {
        line += c;
        escaped = false;
      }
      continue;
    }
    if (line_end && line.ends_with('\\')) {
      line.back() = c;
    } else if (line_end) {
      if (!line.empty()) TRY(end_line());
    } else {
      line += c;
    }
  }
  if (!line.empty() || escaped) return damaged(kFile, "does not end with a complete line");
  return entries;
}

std::string print_tablespace_map(const std::vector<TablespaceMapEntry>& entries,
                                 const VersionTraits& version) {
  std::string text;
  for (const TablespaceMapEntry& entry : entries) {
    text += cat(entry.oid, " ");
    for (char c : entry.path) {
      if (c == '\n' || c == '\r' || (c == '\\' && version.map_backslash)) text += '\\';
      text += c;
    }
    text += '\n';
  }
  return text;
}

}  // namespace lifeboat::pg
