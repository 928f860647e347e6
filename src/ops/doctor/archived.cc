#include "ops/doctor/archived.h"

#include <algorithm>

#include "ops/archive_setting.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

// Of a receiver that is connected to a standby this server sees nothing, and what it stores comes a moment
// behind the archiver's word. Not longer than this, and not by more than that many segments.
constexpr double kGrace = 60;
constexpr uint64_t kGraceSegments = 4;

constexpr std::string_view kOurs = "lifeboat";

bool archives(const DoctorFacts& facts) {
  auto mode = facts.server->settings.find("archive_mode");
  if (mode == facts.server->settings.end() || mode->second == "off") return false;
  return !facts.server->in_recovery || mode->second == "always";
}

const repo::Card* newest_complete(const RepositoryFacts& known) {
  auto found = std::find_if(known.backups.rbegin(), known.backups.rend(),
                            [](const repo::Card& card) { return card.state == repo::BackupState::complete; });
  return found == known.backups.rend() ? nullptr : &*found;
}

std::string slot_that_holds(const pg::ServerFacts& server, Lsn end) {
  auto holds = [&](const pg::SlotFacts& slot) {
    return slot.type == "physical" && slot.name.starts_with(kOurs) && slot.restart_lsn.value != 0 &&
           slot.restart_lsn < end && slot.wal_status != "lost";
  };
  auto found = std::ranges::find_if(server.slots, holds);
  return found == server.slots.end() ? "" : found->name;
}

}  // namespace

bool streams_wal(const DoctorFacts& facts) {
  return facts.server && streams_wal(*facts.server);
}

bool archiving_is_proven(const DoctorFacts& facts) {
  const auto& archived = facts.repository.archived_wal;
  return facts.server && facts.server->archiver && archived && archived->came &&
         facts.server->archiver->last_archived_time > facts.server->archiver->configuration_read;
}

std::optional<LostWal> lost_wal(const DoctorFacts& facts) {
  const auto& archived = facts.repository.archived_wal;
  if (!facts.server || !facts.server->archiver || !archived || archived->came) return std::nullopt;
  if (!archives(facts) || streams_wal(facts)) return std::nullopt;
  const pg::ServerFacts& server = *facts.server;
  const Lsn end = archived->segment.end(server.wal_segment_size);
  const repo::Card* backup = newest_complete(facts.repository);
  if (backup == nullptr || end <= backup->start_lsn) return std::nullopt;
  LostWal lost{archived->segment, server.archiver->last_archived_time, archived->newest,
               slot_that_holds(server, end)};
  const uint64_t behind =
      lost.newest ? lost.segment.index(server.wal_segment_size) - lost.newest->index(server.wal_segment_size)
                  : kGraceSegments;
  // Ours says "archived" only of what is stored, so this segment was another command's.
  if (facts.archive_command.ours) return lost;
  if (facts.now.seconds_since(lost.archived) < kGrace && behind < kGraceSegments) return std::nullopt;
  return lost;
}

std::vector<ProvenLoss> known_losses(const RepositoryFacts& known) {
  std::vector<ProvenLoss> losses;
  for (const ProvenLoss& lost : known.proofs.lost)
    if (!known.backups.empty() && known.backups.front().stopped <= lost.after) losses.push_back(lost);
  return losses;
}

std::string describe(const ProvenLoss& lost) {
  return cat("no moment after ", lost.after.to_string(), " and before ", lost.until.to_string(),
             " can be recovered: segment ", lost.segment, " is in the way (found by verify)");
}

std::string describe(const LostWal& lost) {
  return cat("the server says that ", lost.segment.to_string(), " was archived at ",
             lost.archived.to_string(), ", and the repository does not have it (newest: ",
             lost.newest ? lost.newest->to_string() : std::string("none of its timeline"), ")");
}

}  // namespace lifeboat::ops
