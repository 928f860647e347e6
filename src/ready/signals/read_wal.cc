// Signals of WAL and replication.
#include <algorithm>

#include "ops/archive_setting.h"
#include "ops/doctor/archived.h"
#include "ready/signals/reads.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using ops::Severity;

// What `doctor` says of it; null when that check is not there.
const ops::Finding* finding_of(const SignalFacts& facts, std::string_view id) {
  return ops::find(facts.findings, id);
}

bool is_ours(const std::string& application_name) {
  return application_name.starts_with("lifeboat");
}

// The receiver of ours that has confirmed most; null: none streams. It confirms what is stored, so this is
// how far the repository is behind, to the byte.
const Streaming* nearest_receiver(const SignalFacts& facts) {
  if (!facts.server.primary) return nullptr;
  const Streaming* nearest = nullptr;
  for (const Streaming& one : facts.server.primary->streaming) {
    if (!is_ours(one.name) || one.state != "streaming") continue;
    if (nearest == nullptr || one.bytes < nearest->bytes) nearest = &one;
  }
  return nearest;
}

// A connection alone stores nothing: the store may take nothing while the receiver holds on to it.
void judge_receiver(const SignalFacts& facts, const Streaming& receiver, Reading& reading) {
  // The server keeps the last lag of who replays nothing, as long as nothing is written (walsender.c,
  // ProcessStandbyReplyMessage).
  const double seconds = receiver.bytes == 0 ? 0 : receiver.seconds.value_or(0);
  if (seconds > reading.value.value_or(0)) {
    reading.value = seconds;
    raise_to(reading, judge(seconds, reading.policy.thresholds, Worse::above),
             cat("the receiver has confirmed nothing newer for ", format_value(seconds, Unit::seconds)));
  }
  if (!receiver.seconds && receiver.bytes > facts.doctor.server->wal_segment_size.bytes)
    raise_to(
        reading, Verdict::warning,
        cat("the receiver has not confirmed ", format_bytes(receiver.bytes), " and says nothing of when"));
}

// From the end of the newest stored segment to what the server has written. Unset where it cannot be told.
std::optional<double> bytes_not_stored(const SignalFacts& facts) {
  const auto& continuity = facts.doctor.repository.continuity;
  const pg::ServerFacts& server = *facts.doctor.server;
  if (!continuity || continuity->timeline != server.current_timeline || !continuity->newest)
    return std::nullopt;
  const Lsn end = continuity->newest->end(server.wal_segment_size);
  return server.current_lsn > end ? static_cast<double>(server.current_lsn.value - end.value) : 0.0;
}

// Seconds since the oldest segment waits, by the server or by the directory. An error says why neither is
// known.
Result<double> waiting_seconds(const SignalFacts& facts, int64_t& files) {
  if (facts.server.waiting) {
    files = facts.server.waiting->files;
    return facts.server.waiting->oldest_seconds.value_or(0);
  }
  if (facts.doctor.backlog) {
    files = static_cast<int64_t>(facts.doctor.backlog->ready);
    return files == 0 ? 0.0 : std::max(0.0, facts.now.seconds_since(facts.doctor.backlog->oldest));
  }
  return make_error(ErrorKind::permission, "", facts.server.waiting.why);
}

void standby_reading(const StandbyReplication& standby, Reading& reading) {
  if (!standby.seconds && !standby.receiving)
    return unknown(reading, "no WAL receiver streams, and no commit was replayed since the standby started");
  const double seconds = standby.seconds.value_or(0);
  reading.bytes = static_cast<double>(standby.bytes);
  measured(reading, seconds,
           cat(format_value(seconds, Unit::seconds), " and ", format_bytes(standby.bytes),
               " behind what it received"));
  raise_to(reading, judge(*reading.bytes, reading.policy.byte_thresholds, Worse::above), "");
  if (!standby.receiving)
    raise_to(reading, Verdict::warning,
             "no WAL receiver streams, so how far it is behind can only be guessed");
}

// By a receiver at a standby, or a standby that archives too.
bool came_after_backup(const SignalFacts& facts) {
  const auto& continuity = facts.doctor.repository.continuity;
  if (!continuity || !continuity->newest) return false;
  const Lsn begin = continuity->newest->start(facts.doctor.server->wal_segment_size);
  for (const repo::Card& card : facts.doctor.repository.backups)
    if (card.stop_lsn > begin) return false;
  return true;
}

bool has_library(const pg::ServerFacts& server) {
  const auto library = server.settings.find("archive_library");
  return library != server.settings.end() && !library->second.empty();
}

// Whatever this host sees of the program, which may lie in the server's container: WAL comes, and none waits.
bool arrives(const SignalFacts& facts) {
  return ops::archiving_is_proven(facts.doctor) && facts.server.waiting && facts.server.waiting->files == 0;
}

// archive_mode is on: does what the archiver hands over come here?
void look_behind_archive_mode(const SignalFacts& facts, Reading& reading) {
  if (auto lost = ops::lost_wal(facts.doctor)) {
    if (lost->slot.empty()) return measured(reading, 1, ops::describe(*lost));
    return raise_to(reading, Verdict::warning,
                    cat(ops::describe(*lost), "; slot ", lost->slot, " still holds it"));
  }
  const ops::Finding* command = finding_of(facts, "archive_command");
  const pg::ServerFacts& server = *facts.doctor.server;
  if (server.in_recovery || ops::streams_wal(facts.doctor)) return;
  // Exit codes 126 and 127 of the shell are counted nowhere (T21).
  const ops::Finding* program = finding_of(facts, "archive_program");
  if (program != nullptr && program->severity == Severity::critical && !has_library(server) &&
      !arrives(facts))
    return measured(reading, 1, cat("archive_command cannot run: ", program->found));
  // A push that fails behind `|| true` is WAL that is gone.
  const ops::CommandFacts& words = facts.doctor.archive_command;
  if (command != nullptr && command->severity == Severity::warning && words.ours &&
      ops::hides_failures(words.text))
    return raise_to(reading, Verdict::warning,
                    cat("archive_command: ", command->found, ": ", command->cause));
  if (command == nullptr || command->severity != Severity::critical) return;
  // Backups bring their own WAL, so what came is no proof of it, unless it came after the newest one.
  if (ops::stores_nothing(command->found) && !came_after_backup(facts) && !has_library(server))
    return measured(reading, 1, cat("archive_command: ", command->found, ": ", command->cause));
  // A script that calls us is as good, once something came through it.
  if (ops::archiving_is_proven(facts.doctor)) return;
  raise_to(reading, Verdict::warning, cat("archive_command: ", command->found, ": ", command->cause));
}

}  // namespace

void read_wal_archive_lag(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading) {
  if (!needs_server(facts, reading)) return;
  const auto mode = facts.doctor.server->settings.find("archive_mode");
  const bool off = mode == facts.doctor.server->settings.end() || mode->second == "off";
  if (facts.doctor.server->in_recovery && !ops::streams_wal(facts.doctor) &&
      (off || mode->second != "always"))
    return not_applicable(reading, "a standby does not archive, its primary does");
  if (off && !ops::streams_wal(facts.doctor))
    return not_applicable(reading, "nothing archives: see archive_off");
  if (!needs_catalogue(facts, reading)) return;
  int64_t files = 0;
  double seconds = 0;
  if (!off) {
    auto waiting = waiting_seconds(facts, files);
    if (!waiting) return unknown(reading, waiting.error().to_string());
    seconds = *waiting;
  }
  measured(reading, seconds,
           files == 0 ? std::string("no WAL waits")
                      : cat(counted(static_cast<uint64_t>(files), "file"), " for ",
                            format_value(seconds, Unit::seconds)));
  const Streaming* receiver = nearest_receiver(facts);
  reading.bytes = bytes_not_stored(facts);
  // One that streams into another repository has left more behind here than it has itself.
  const uint64_t segment = facts.doctor.server->wal_segment_size.bytes;
  if (receiver != nullptr && reading.bytes &&
      *reading.bytes > static_cast<double>(receiver->bytes + 2 * segment)) {
    if (off)
      raise_to(reading, Verdict::warning,
               cat(receiver->name, " streams, and what it takes is not stored here"));
    receiver = nullptr;
  }
  if (receiver != nullptr) {
    const auto received = static_cast<double>(receiver->bytes);
    reading.bytes = std::min(received, reading.bytes.value_or(received));
  }
  if (reading.bytes)
    raise_to(reading, judge(*reading.bytes, policy.byte_thresholds, Worse::above),
             cat(format_bytes(static_cast<uint64_t>(*reading.bytes)), " not in the repository",
                 receiver == nullptr ? " as whole segments" : ""));
  if (receiver != nullptr) judge_receiver(facts, *receiver, reading);
  const ops::Finding* archiver = finding_of(facts, "archiver");
  if (archiver != nullptr && archiver->severity == Severity::critical) {
    raise_to(reading, Verdict::warning, archiver->found);
    if (!archiver->cause.empty()) reading.found += cat("; ", archiver->cause);
  }
}

void read_wal_gaps(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  const auto& continuity = facts.doctor.repository.continuity;
  if (!continuity) return not_applicable(reading, "there is no complete backup");
  double gaps = 0;
  std::string found =
      cat("continuous from backup ", continuity->backup.text, " to ", continuity->end.to_string());
  if (continuity->missing || continuity->conflict) {
    ++gaps;
    found = continuity->conflict
                ? cat("segment ", continuity->conflict->to_string(), " is stored with two contents")
                : cat("segment ", continuity->missing->to_string(), " is missing, later ones are stored");
    found += cat("; recovery ends at ", continuity->end.to_string());
  }
  if (!facts.doctor.dropped.empty()) {
    gaps += static_cast<double>(facts.doctor.dropped.size());
    found += cat("; wal push dropped WAL up to ", facts.doctor.dropped.back().to.to_string());
  }
  if (continuity->left_behind == continuity->backup) {
    ++gaps;
    found = cat("the server has left the timeline of every backup, ", continuity->backup.text,
                " the newest: nothing since then can be recovered");
  }
  measured(reading, gaps, std::move(found));
  for (const ops::ProvenLoss& lost : ops::known_losses(facts.doctor.repository)) {
    if (gaps == 0)
      reading.action =
          "store the segment again where a copy of it is left, then lifeboat verify; else nothing brings "
          "those "
          "moments back, and it is told until the backups before them are expired";
    raise_to(reading, Verdict::warning, ops::describe(lost));
  }
  if (continuity->left_behind && continuity->left_behind != continuity->backup)
    raise_to(reading, Verdict::warning,
             cat("the newest backup, ", continuity->left_behind->text,
                 ", was made on a timeline that the server has left: recovery begins with ",
                 continuity->backup.text));
}

void read_archive_off(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_server(facts, reading)) return;
  const ops::Finding* mode = finding_of(facts, "archive_mode");
  CHECK(mode != nullptr);
  if (mode->severity == Severity::skipped) return unknown(reading, mode->found);
  measured(reading, mode->severity == Severity::critical ? 1 : 0, cat("archive_mode: ", mode->found));
  if (mode->severity == Severity::warning) raise_to(reading, Verdict::warning, mode->cause);
  if (mode->severity != Severity::critical) look_behind_archive_mode(facts, reading);
}

void read_replication_lag(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading) {
  if (facts.role() == ServerRole::standby && facts.server.standby)
    return standby_reading(*facts.server.standby, reading);
  if (!facts.server.primary)
    return unknown(reading,
                   facts.role() == ServerRole::standby ? facts.server.standby.why : facts.server.primary.why);
  const PrimaryReplication& primary = *facts.server.primary;
  int64_t standbys = 0;
  for (const Streaming& one : primary.streaming) {
    // Our own receiver is watched by wal_archive_lag.
    if (is_ours(one.name)) continue;
    ++standbys;
    SignalPart part;
    part.object = one.name;
    part.value = one.seconds.value_or(0);
    part.bytes = static_cast<double>(one.bytes);
    part.verdict = worse_of(judge(part.value, policy.thresholds, Worse::above),
                            judge(*part.bytes, policy.byte_thresholds, Worse::above));
    part.note = cat(one.state, ", ", format_value(part.value, Unit::seconds), " and ",
                    format_bytes(one.bytes), " behind");
    reading.parts.push_back(std::move(part));
  }
  for (const IdleSlot& slot : primary.idle_slots) {
    SignalPart part;
    part.object = cat("slot ", slot.name);
    part.bytes = static_cast<double>(slot.bytes);
    part.verdict = slot.lost
                       ? Verdict::critical
                       : worse_of(Verdict::warning, judge(*part.bytes, policy.byte_thresholds, Worse::above));
    part.note = slot.lost ? std::string("has lost the WAL it needs: its standby must be made anew")
                          : cat("nobody is connected to it, and it is ", format_bytes(slot.bytes), " behind");
    reading.parts.push_back(std::move(part));
  }
  from_parts(reading, "");
  if (policy.standbys && standbys < *policy.standbys) {
    if (!reading.value) measured(reading, 0, "");
    return raise_to(reading, Verdict::critical,
                    cat(standbys, " of ", *policy.standbys, " standbys that are expected stream"));
  }
  if (reading.parts.empty()) not_applicable(reading, "no standby streams, and none is expected");
}

}  // namespace lifeboat::ready
