// The block of settings that a restore appends to postgresql.auto.conf (pure: text in, text out).
//
// Settings left over from the source decide a recovery unless they are overruled: a forgotten
// recovery_target_name makes it fatal, a forgotten synchronous_standby_names hangs the first commit for ever
// (T43). So every recovery_target*, recovery_end_command, archive_cleanup_command, primary_conninfo,
// primary_slot_name and synchronous_standby_names is written, empty where unused, and earlier lines of the
// same settings are taken out of the file, because the last line wins and ALTER SYSTEM would keep the wrong
// one in view.
//
// Order matters: an empty recovery_target_* that comes after the one in use raises "multiple recovery targets
// specified" (assign hooks in src/backend/access/transam/xlogrecovery.c; before 15 in
// src/backend/utils/misc/guc.c), so the empty ones come first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/lsn.h"

namespace lifeboat::pg {

enum class TargetKind : uint8_t { latest, immediate, time, lsn, xid, name };
enum class TargetAction : uint8_t { pause, promote, shutdown };
std::string_view to_string(TargetKind kind);
std::string_view to_string(TargetAction action);

struct RecoverySettings {
  std::string restore_command;
  TargetKind target = TargetKind::latest;
  std::string
      target_value;  // as PostgreSQL reads it: "2026-11-20 10:56:25.0773+00", "0/3000028", "731", a name
  bool inclusive = true;
  std::optional<Timeline> timeline;  // a number is written; nullopt: "latest"
  TargetAction action = TargetAction::pause;
  std::string recovery_end_command;
  std::string archive_cleanup_command;
  std::string primary_conninfo;                 // standbys only
  std::string primary_slot_name;                // standbys only
  bool keep_synchronous_standby_names = false;  // not written: who manages the cluster sets them
  bool archive_off = false;                     // writes archive_mode = off, which needs no archive_command
  std::string archive_off_reason;               // one line, written as a comment above it
  std::optional<int> port;
  std::optional<std::string> socket_directory;
  std::vector<std::pair<std::string, std::string>> more;  // further settings, written last in this order
  std::string written_by;  // one line of comment: version and backup; never a secret
};

// The block alone, ending with a newline.
std::string render_recovery_settings(const RecoverySettings& settings);
// The text of postgresql.auto.conf with earlier lines of the settings in the block (and an earlier block of
// ours) taken out and the block appended. Everything else stays as it was.
std::string with_recovery_settings(std::string_view auto_conf, const RecoverySettings& settings);
// The same with every recovery_target_* of it empty, which has done its work. Left there, the next recovery
// of the cluster, or of a copy of it, would take it for its own target; taken out, one that the source left
// in another file would come through. The timeline becomes the latest.
std::string with_empty_target(std::string_view auto_conf);

// 'value' as the configuration file's lexer reads it back: ' doubled, \ doubled, control characters as
// escapes (src/backend/utils/misc/guc-file.l).
std::string quote_setting(std::string_view value);
// The lower-case name that a configuration line sets; nullopt for comments, blank lines and includes.
std::optional<std::string> setting_name_of_line(std::string_view line);

}  // namespace lifeboat::pg
