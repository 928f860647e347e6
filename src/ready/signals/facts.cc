#include "ready/signals/facts.h"

#include <sys/statvfs.h>

#include <algorithm>

#include "pg/server/postmaster.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

void add_file_system(std::vector<FileSystemFacts>& known, const ops::DiskFacts& disk, std::string holds) {
  auto same = std::ranges::find_if(known, [&](const auto& one) { return one.disk.device == disk.device; });
  if (same == known.end()) {
    known.push_back({disk, {std::move(holds)}});
    return;
  }
  same->holds.push_back(std::move(holds));
}

std::optional<ops::DiskFacts> look_at(const std::string& path) {
  auto info = stat_path(path);
  struct statvfs status = {};
  if (!info || statvfs(path.c_str(), &status) != 0) return std::nullopt;
  return ops::DiskFacts{path, info->device, static_cast<uint64_t>(status.f_bavail) * status.f_frsize,
                        static_cast<uint64_t>(status.f_blocks) * status.f_frsize};
}

// Only where the data directory is this host's: tablespaces of another host have the same paths.
std::vector<FileSystemFacts> file_systems_of(const ops::DoctorFacts& facts) {
  std::vector<FileSystemFacts> found;
  if (!facts.data) return found;
  if (facts.data_disk) add_file_system(found, *facts.data_disk, "data directory");
  if (facts.wal_disk) add_file_system(found, *facts.wal_disk, "pg_wal");
  if (!facts.server) return found;
  for (const pg::TablespaceFacts& space : facts.server->tablespaces) {
    const std::string path =
        space.location.starts_with('/') ? space.location : join_path(facts.data->path, space.location);
    if (auto disk = look_at(path)) add_file_system(found, *disk, cat("tablespace ", space.name));
  }
  return found;
}

}  // namespace

ServerRole SignalFacts::role() const {
  if (server.standby) return ServerRole::standby;
  if (server.primary) return ServerRole::primary;
  if (doctor.server) return doctor.server->in_recovery ? ServerRole::standby : ServerRole::primary;
  return ServerRole::unknown;
}

Result<SignalFacts> gather_signals(const SignalRequest& request) {
  SignalFacts facts;
  facts.cluster = request.doctor.where.cluster;
  facts.jobs = request.jobs;
  facts.jobs_problem = request.jobs_problem;
  ServerQuestions questions;
  ops::DoctorRequest doctor = request.doctor;
  doctor.server_timeout_ms = questions.statement_timeout_ms;
  doctor.lock_timeout_ms = questions.lock_timeout_ms;
  TRY_ASSIGN(facts.doctor, ops::gather_facts(doctor));
  facts.findings = ops::run_checks(facts.doctor);
  facts.now = facts.doctor.now;
  if (!facts.doctor.server && facts.doctor.data) {
    auto running = pg::running_server(facts.doctor.data->path);
    facts.nobody_runs = running && !*running;
  }
  facts.file_systems = file_systems_of(facts.doctor);
  questions.conninfo = request.doctor.conninfo;
  questions.bloat = request.bloat;
  questions.stop = request.doctor.stop;
  TRY_ASSIGN(facts.server, ask_server(questions));
  return facts;
}

}  // namespace lifeboat::ready
