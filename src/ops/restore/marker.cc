#include "ops/restore/marker.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>

#include "codec/codec.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr std::string_view kFirstLine = "lifeboat restore, not finished: PostgreSQL must not be started here";
constexpr uint64_t kMarkerLimit = 64 << 10;

Error somebody_writes(const std::string& directory) {
  return make_error(ErrorKind::busy, directory, "another restore is writing there");
}

// The lock of a marker: taken by a restore for as long as it runs.
Result<Fd> lock_marker(const std::string& directory) {
  std::string path = join_path(directory, kMarkerName);
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_CLOEXEC));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return somebody_writes(directory);
    return errno_error(errno, path, "lock");
  }
  return fd;
}

// A finished restore that was to replace another directory, still where it was made and never started: a
// server leaves postmaster.opts (src/backend/postmaster/postmaster.c, CreateOptsFile), which no backup holds.
Result<bool> never_got_there(const std::string& path, const RestoreMarker& marker) {
  if (marker.replaces.empty()) return false;
  if (!path.starts_with(staging_beside(marker.replaces)) &&
      !path.starts_with(staging_inside(marker.replaces)))
    return false;
  TRY_ASSIGN(bool started, path_exists(join_path(path, "postmaster.opts")));
  return !started;
}

}  // namespace

std::string staging_beside(std::string_view directory) {
  return cat(directory, ".new-");
}

std::string staging_inside(std::string_view directory) {
  return join_path(directory, "lifeboat.new-");
}

std::string kept_beside(std::string_view directory) {
  return cat(directory, ".old-");
}

std::string kept_inside(std::string_view directory) {
  return join_path(directory, "lifeboat.old-");
}

RestoreMarker RestoreMarker::make(const BackupId& backup, Timestamp now) {
  std::array<uint8_t, 8> random{};
  codec::random_bytes(random);
  RestoreMarker marker;
  marker.id = to_hex(random);
  marker.backup = backup;
  marker.started = now;
  return marker;
}

std::string RestoreMarker::to_text() const {
  return cat(kFirstLine, "\nid ", id, "\nbackup ", backup.text, "\nstarted_us ", started.unix_us, "\n",
             replaces.empty() ? "" : cat("replaces ", replaces, "\n"),
             kept_as.empty() ? "" : cat("kept_as ", kept_as, "\n"),
             part_of.empty() ? "" : cat("part_of ", part_of, "\n"),
             overwrites.empty() ? "" : cat("overwrites ", overwrites, "\n"));
}

std::optional<RestoreMarker> RestoreMarker::parse(std::string_view text) {
  std::vector<std::string_view> lines = split(text, '\n');
  if (lines.size() < 4 || lines[0] != kFirstLine || !lines[1].starts_with("id ") ||
      !lines[2].starts_with("backup ") || !lines[3].starts_with("started_us ")) {
    return std::nullopt;
  }
  auto backup = BackupId::parse(lines[2].substr(7));
  auto started = parse_i64(lines[3].substr(11));
  if (!backup || !started) return std::nullopt;
  RestoreMarker marker;
  marker.id = lines[1].substr(3);
  marker.backup = *backup;
  marker.started = {*started};
  for (std::string_view line : lines) {
    if (line.starts_with("replaces ")) marker.replaces = line.substr(9);
    if (line.starts_with("kept_as ")) marker.kept_as = line.substr(8);
    if (line.starts_with("part_of ")) marker.part_of = line.substr(8);
    if (line.starts_with("overwrites ")) marker.overwrites = line.substr(11);
  }
  return marker;
}

Result<DirectoryLook> look_at_directory(const std::string& path) {
  DirectoryLook look;
  auto info = stat_path(path);
  if (!info) {
    if (info.error().kind == ErrorKind::not_found) return look;
    return std::move(info).error();
  }
  if (info->kind != FileKind::directory) {
    return make_error(ErrorKind::precondition, path, "is not a directory");
  }
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(path));
  look.state = DirectoryState::empty;
  for (const DirEntry& entry : entries) {
    // A crash while the marker was written leaves a temporary file of ours.
    if (entry.name == "lost+found" || is_temporary_name(entry.name)) continue;
    look.state = DirectoryState::occupied;
    look.found = entry.name;
    break;
  }
  if (look.state == DirectoryState::empty) return look;
  auto text = read_text(join_path(path, kMarkerName), kMarkerLimit);
  if (!text) {
    if (text.error().kind == ErrorKind::not_found) return look;
    return std::move(text).error();
  }
  look.marker = RestoreMarker::parse(*text);
  if (!look.marker) return look;
  // With pg_control in place the restore was complete but for the marker, and somebody may have used it
  // since.
  const std::string& data_directory = look.marker->part_of.empty() ? path : look.marker->part_of;
  TRY_ASSIGN(bool complete, path_exists(join_path(data_directory, kControlFile)));
  if (complete) {
    TRY_ASSIGN(bool left_over, never_got_there(path, *look.marker));
    look.finished = !left_over;
    if (!left_over) return look;
  }
  TRY(lock_marker(path));
  look.state = DirectoryState::incomplete;
  return look;
}

Result<Fd> write_marker(const std::string& directory, const RestoreMarker& marker) {
  TRY(write_file_durable(join_path(directory, kMarkerName), as_bytes(marker.to_text()), 0600));
  return lock_marker(directory);
}

Status remove_marker(const std::string& directory) {
  TRY(remove_file(join_path(directory, kMarkerName)));
  return fsync_dir(directory);
}

Status remove_temporary_files(const std::string& directory) {
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(directory));
  for (const DirEntry& entry : entries) {
    if (entry.kind == FileKind::regular && is_temporary_name(entry.name)) {
      TRY(remove_file(join_path(directory, entry.name)));
    }
  }
  return {};
}

Status clear_incomplete(const std::string& directory) {
  TRY_ASSIGN(DirectoryLook look, look_at_directory(directory));
  if (look.state == DirectoryState::absent || look.state == DirectoryState::empty) return {};
  if (look.state != DirectoryState::incomplete || look.overwrites()) {
    return make_error(ErrorKind::precondition, directory, "is not what an aborted restore left any more");
  }
  TRY_ASSIGN(std::vector<DirEntry> entries, list_dir(directory));
  for (const DirEntry& entry : entries) {
    if (entry.name == kMarkerName || entry.name == "lost+found") continue;
    TRY(remove_tree(join_path(directory, entry.name)));
  }
  return remove_marker(directory);
}

}  // namespace lifeboat::ops
