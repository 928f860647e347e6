#include "ready/heal/probe.h"

#include <sys/statvfs.h>

#include <algorithm>

#include "pg/client/client.h"
#include "pg/server/postmaster.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/service.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

std::optional<ops::DiskFacts> look_at_disk(const std::string& path) {
  auto info = stat_path(path);
  struct statvfs status = {};
  if (!info || statvfs(path.c_str(), &status) != 0) return std::nullopt;
  return ops::DiskFacts{path, info->device, static_cast<uint64_t>(status.f_bavail) * status.f_frsize,
                        static_cast<uint64_t>(status.f_blocks) * status.f_frsize};
}

std::vector<ops::ProcessFacts> commands_of_archiver(const SignalFacts& facts) {
  if (!facts.doctor.data) return {};
  auto running = pg::running_server(facts.doctor.data->path);
  if (!running || !*running || (*running)->by != pg::RunningBy::process) return {};
  return ops::archiver_commands((*running)->pid_file.pid);
}

bool gap_is_in_pg_wal(const SignalFacts& facts) {
  const auto& continuity = facts.doctor.repository.continuity;
  if (!facts.doctor.data || !continuity || !continuity->missing) return false;
  auto there =
      path_exists(join_path(join_path(facts.doctor.data->path, "pg_wal"), continuity->missing->to_string()));
  return there && *there;
}

bool is_idle(const SignalFacts& facts, const std::string& name) {
  if (!facts.doctor.server) return false;
  return std::ranges::any_of(facts.doctor.server->slots, [&](const pg::SlotFacts& slot) {
    return slot.name == name && !slot.active && slot.wal_status != "lost";
  });
}

// A receiver that has run for days may be on its way back after a moment without network.
double watch_idle_slot(const ProbeRequest& request, const std::string& name) {
  constexpr int64_t kPollUs = 500'000;
  const int64_t watch_us = std::min(request.stuck_us, kLongestWatchUs);
  Clock& clock = Clock::system();
  const int64_t began_us = clock.monotonic_us();
  pg::ConnectOptions options;
  options.application_name = "lifeboat heal";
  options.stop = request.stop;
  auto client = pg::PgClient::connect(request.conninfo, options);
  if (!client) return 0;
  const std::string question =
      cat("SELECT active FROM pg_replication_slots WHERE slot_name = ", sql_literal(name));
  for (;;) {
    auto active = client->value(question);
    if (!active || active->value_or("t") == "t") return 0;
    const int64_t watched_us = clock.monotonic_us() - began_us;
    const bool stopped = request.stop != nullptr && request.stop->stopped();
    if (watched_us >= watch_us || stopped) return static_cast<double>(watched_us) / 1e6;
    clock.sleep_us(std::min(kPollUs, watch_us - watched_us));
  }
}

}  // namespace

uint64_t SpoolFacts::bytes() const {
  uint64_t bytes = 0;
  for (const ops::AbandonedSpool& one : abandoned) bytes += one.bytes;
  return bytes;
}

Result<HealProbe> probe_heal(const ProbeRequest& request, const SignalFacts& facts) {
  HealProbe probe;
  probe.daemon = request.daemon;
  probe.wanted_slot = request.wanted_slot;
  const bool long_enough = probe.daemon.receiver_seconds >= static_cast<double>(request.stuck_us) / 1e6;
  if (probe.wanted_slot && probe.daemon.receiver == "running" && long_enough &&
      is_idle(facts, probe.wanted_slot->name))
    probe.slot_idle_seconds = watch_idle_slot(request, probe.wanted_slot->name);
  probe.archiver_commands = commands_of_archiver(facts);
  probe.gap_in_pg_wal = gap_is_in_pg_wal(facts);
  if (std::string service = service_of_this_process(); service.starts_with("lifeboat"))
    probe.service = std::move(service);
  for (const std::string& directory : request.spools) {
    auto abandoned = ops::list_abandoned(directory);
    if (!abandoned || abandoned->empty()) continue;
    probe.spools.push_back({directory, look_at_disk(directory), *std::move(abandoned)});
  }
  if (facts.role() == ServerRole::standby) {
    auto standby = ops::look_at_standby({request.conninfo, request.primary, request.where, request.stop});
    if (standby)
      probe.standby = *std::move(standby);
    else
      probe.standby_problem = standby.error().to_string();
  }
  if (request.stop != nullptr) TRY(request.stop->check());
  return probe;
}

}  // namespace lifeboat::ready
