#include "ops/mount/state.h"

#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <cerrno>

#include "codec/codec.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kFirstLine = "lifeboat mount 1";
constexpr uint64_t kStateLimit = 16 << 20;

std::string_view key_kind(repo::KeySourceKind kind) {
  switch (kind) {
    case repo::KeySourceKind::none:
      return "none";
    case repo::KeySourceKind::key_file:
      return "key_file";
    case repo::KeySourceKind::passphrase_file:
      return "passphrase_file";
    default:
      return "";
  }
}

std::optional<repo::KeySourceKind> parse_key_kind(std::string_view text) {
  for (repo::KeySourceKind kind :
       {repo::KeySourceKind::none, repo::KeySourceKind::key_file, repo::KeySourceKind::passphrase_file}) {
    if (key_kind(kind) == text) return kind;
  }
  return std::nullopt;
}

std::optional<pg::TargetAction> parse_action(std::string_view text) {
  for (pg::TargetAction action :
       {pg::TargetAction::pause, pg::TargetAction::promote, pg::TargetAction::shutdown}) {
    if (pg::to_string(action) == text) return action;
  }
  return std::nullopt;
}

// A value on one line: paths may hold anything.
std::string quoted(std::string_view text) {
  std::string line;
  for (char c : text) {
    if (c == '\n' || c == '%') {
      line += cat("%", c == '%' ? "25" : "0A");
    } else {
      line += c;
    }
  }
  return line;
}

std::string unquoted(std::string_view line) {
  std::string text;
  for (size_t at = 0; at < line.size(); ++at) {
    if (line.substr(at).starts_with("%25") || line.substr(at).starts_with("%0A")) {
      text += line[at + 1] == '2' ? '%' : '\n';
      at += 2;
    } else {
      text += line[at];
    }
  }
  return text;
}

bool parse_instant(std::string_view name, const std::string& value, std::optional<InstantRestore>& into) {
  if (!into) into.emplace();
  auto number = [&](uint64_t most) {
    auto parsed = parse_u64(value);
    return parsed && *parsed <= most ? parsed : std::nullopt;
  };
  if (name == "target") {
    into->target = value;
  } else if (name == "pg_bin") {
    into->pg_bin = value;
  } else {
    auto parsed = number(name == "timeline" ? UINT32_MAX : UINT64_MAX);
    if (!parsed) return false;
    if (name == "timeline") {
      into->timeline = Timeline{static_cast<uint32_t>(*parsed)};
    } else if (name == "time") {
      into->time = Timestamp{static_cast<int64_t>(*parsed)};
    } else if (name == "exclusive") {
      into->exclusive = *parsed != 0;
    } else if (name == "stop") {
      into->stop = Lsn{*parsed};
    } else if (name == "replay_from") {
      into->replay_from = Lsn{*parsed};
    } else if (name == "wal_bytes") {
      into->wal_bytes = *parsed;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

std::string MountState::make_id() {
  std::array<uint8_t, 8> random{};
  codec::random_bytes(random);
  return to_hex(random);
}

std::string MountState::to_text() const {
  std::string text = cat(kFirstLine, "\n");
  auto line = [&](std::string_view name, std::string_view value) {
    text += cat(name, " ", quoted(value), "\n");
  };
  line("id", id);
  line("repository", location.url);
  line("cluster", location.cluster);
  line("key", key_kind(location.key.kind));
  line("key_path", location.key.path);
  line("lineage", lineage.to_string());
  line("backup", backup.text);
  line("block_size", cat(block_size));
  line("files", cat(files));
  line("bytes", cat(bytes));
  line("table_hash", table_hash);
  line("throw_away", throw_away ? "yes" : "no");
  line("boot", boot);
  line("removing", removing ? "yes" : "no");
  line("read_only", read_only ? "yes" : "no");
  line("hydrate", hydrate ? "yes" : "no");
  line("owner", owner);
  line("next", next);
  line("action", pg::to_string(action));
  if (instant) {
    line("instant_target", instant->target);
    line("instant_stop", cat(instant->stop.value));
    line("instant_timeline", cat(instant->timeline.value));
    if (instant->time) line("instant_time", cat(static_cast<uint64_t>(instant->time->unix_us)));
    if (instant->exclusive) line("instant_exclusive", "1");
    line("instant_replay_from", cat(instant->replay_from.value));
    line("instant_wal_bytes", cat(instant->wal_bytes));
    line("instant_pg_bin", instant->pg_bin);
  }
  for (const MountedTree& tree : trees) line("tree", cat(tree.tablespace, " ", tree.path));
  line("end", "");
  return text;
}

Result<MountState> MountState::parse(std::string_view object, std::string_view text) {
  MountState state;
  bool whole = false;
  auto damaged = [&](std::string_view line) {
    return make_error(ErrorKind::damaged, std::string(object), cat("cannot be understood: ", line));
  };
  std::vector<std::string_view> lines = split(text, '\n');
  if (lines.empty() || lines[0] != kFirstLine) return damaged(lines.empty() ? "it is empty" : lines[0]);
  for (size_t i = 1; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    size_t space = lines[i].find(' ');
    if (space == std::string_view::npos) return damaged(lines[i]);
    std::string_view name = lines[i].substr(0, space);
    std::string value = unquoted(lines[i].substr(space + 1));
    auto number = [&](uint64_t& into) {
      auto parsed = parse_u64(value);
      if (parsed) into = *parsed;
      return parsed.has_value();
    };
    bool good = true;
    uint64_t count = 0;
    if (name == "id") {
      state.id = value;
    } else if (name == "repository") {
      state.location.url = value;
    } else if (name == "cluster") {
      state.location.cluster = value;
    } else if (name == "key") {
      auto kind = parse_key_kind(value);
      good = kind.has_value();
      if (good) state.location.key.kind = *kind;
    } else if (name == "key_path") {
      state.location.key.path = value;
    } else if (name == "lineage") {
      auto lineage = Lineage::parse(value);
      good = lineage.has_value();
      if (good) state.lineage = *lineage;
    } else if (name == "backup") {
      auto backup = BackupId::parse(value);
      good = backup.has_value();
      if (good) state.backup = *backup;
    } else if (name == "block_size") {
      good = number(count) && count > 0 && count <= (1u << 20);
      state.block_size = static_cast<uint32_t>(count);
    } else if (name == "files") {
      good = number(state.files);
    } else if (name == "bytes") {
      good = number(state.bytes);
    } else if (name == "table_hash") {
      state.table_hash = value;
    } else if (name == "throw_away") {
      state.throw_away = value == "yes";
    } else if (name == "boot") {
      state.boot = value;
    } else if (name == "removing") {
      state.removing = value == "yes";
    } else if (name == "read_only") {
      state.read_only = value == "yes";
    } else if (name == "hydrate") {
      state.hydrate = value == "yes";
    } else if (name == "owner") {
      state.owner = value;
    } else if (name == "next") {
      state.next = value;
    } else if (name == "action") {
      auto action = parse_action(value);
      good = action.has_value();
      if (good) state.action = *action;
    } else if (name.starts_with("instant_")) {
      good = parse_instant(name.substr(8), value, state.instant);
    } else if (name == "tree") {
      size_t gap = value.find(' ');
      auto oid = parse_u64(std::string_view(value).substr(0, gap));
      good = gap != std::string::npos && oid && *oid <= UINT32_MAX && value[gap + 1] == '/';
      if (good) state.trees.push_back({static_cast<Oid>(*oid), value.substr(gap + 1)});
    } else if (name == "end") {
      whole = true;
    } else {
      good = false;
    }
    if (!good) return damaged(lines[i]);
  }
  if (!whole || state.id.size() != 16 || state.trees.empty() || state.trees[0].tablespace != 0)
    return damaged("it is not whole");
  return state;
}

std::string state_path(std::string_view directory) {
  return cat(directory, "/", kMountFolder, "/state");
}

std::string table_path(std::string_view directory) {
  return cat(directory, "/", kMountFolder, "/files");
}

Status write_state(const std::string& directory, const MountState& state) {
  return write_file_durable(state_path(directory), as_bytes(state.to_text()), 0600);
}

namespace {

Result<std::optional<MountState>> read_state_file(const std::string& path) {
  auto text = read_text(path, kStateLimit);
  if (!text) {
    if (text.error().kind == ErrorKind::not_found) return std::optional<MountState>();
    return std::move(text).error();
  }
  TRY_ASSIGN(MountState state, MountState::parse(path, *text));
  return std::optional(std::move(state));
}

}  // namespace

Result<std::optional<MountState>> read_state(const std::string& directory) {
  TRY_ASSIGN(std::optional<MountState> state, read_state_file(state_path(directory)));
  if (!state) return state;
  // What stands at the path that the state names may be anybody's by now.
  TRY_ASSIGN(std::string here, resolve_path(directory));
  if (here == state->trees.front().path) return state;
  return make_error(ErrorKind::precondition, directory,
                    cat("was made as ", state->trees.front().path, ", and can be used under that path only"))
      .with_hint("move it back there, or remove it and mount the backup again");
}

Result<std::optional<MountState>> read_instant_mark(const std::string& directory) {
  return read_state_file(join_path(directory, kInstantMark));
}

Result<Fd> lock_state(const std::string& directory) {
  std::string path = cat(directory, "/", kMountFolder);
  TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK)
    return make_error(ErrorKind::busy, directory, "another process serves this mount, or is removing it");
  return errno_error(errno, path, "lock");
}

}  // namespace lifeboat::ops
