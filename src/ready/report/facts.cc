#include "ready/report/facts.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "ops/doctor/archived.h"
#include "ops/restore/estimate.h"
#include "ready/plan/storage_class.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr uint64_t kMountsLimit = 16 << 20;

// The line of /proc/self/mountinfo (proc(5)) for a device: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3
// /dev/root rw,errors=continue".
struct MountLine {
  std::string point;
  std::string type;
  std::string source;
};
std::optional<MountLine> mount_of(uint64_t device) {
  auto text = read_text("/proc/self/mountinfo", kMountsLimit);
  if (!text) return std::nullopt;
  const std::string wanted = cat(major(device), ":", minor(device));
  for (std::string_view line : split(*text, '\n')) {
    const auto words = split(line, ' ');
    if (words.size() < 10 || words[2] != wanted) continue;
    auto dash = std::ranges::find(words, "-");
    if (words.end() - dash < 3) continue;
    return MountLine{std::string(words[4]), std::string(dash[1]), std::string(dash[2])};
  }
  return std::nullopt;
}

// The host of "sftp://user@host:22/path"; "" where there is none.
std::string_view host_of(std::string_view url) {
  const size_t begin = url.find("://");
  if (begin == std::string_view::npos) return "";
  std::string_view host = url.substr(begin + 3);
  host = host.substr(0, host.find('/'));
  if (const size_t at = host.rfind('@'); at != std::string_view::npos) host = host.substr(at + 1);
  return host.substr(0, host.rfind(':'));
}

}  // namespace

bool is_network_file_system(std::string_view type) {
  static constexpr std::array kTypes = {
      "nfs", "nfs4", "cifs",           "smb3",         "ceph",   "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs",
      "9p",  "afs",  "fuse.ceph-fuse", "fuse.gcsfuse", "lustre", "beegfs",     "fuse.rclone"};
  return std::ranges::find(kTypes, type) != kTypes.end();
}

RepositoryPlace place_of(const ops::DoctorFacts& doctor) {
  const ops::RepositoryFacts& repository = doctor.repository;
  if (repository.directory.empty()) {
    const std::string_view host = host_of(repository.url);
    if (host.empty()) return {Distance::unknown, cat(repository.url, ": no host stands in it")};
    if (host == "localhost" || host.starts_with("127.") || host == "[::1]")
      return {Distance::same_host, cat(repository.url, " is this host")};
    return {Distance::other_host, cat("host ", host)};
  }
  if (!doctor.repository_disk) return {Distance::unknown, cat(repository.directory, " was not looked at")};
  auto mount = mount_of(doctor.repository_disk->device);
  const std::string says = mount ? cat(mount->type, " from ", mount->source, ", mounted at ", mount->point)
                                 : cat("the file system of ", repository.directory);
  if (mount && is_network_file_system(mount->type)) return {Distance::other_host, says};
  if (doctor.data_disk && doctor.data_disk->device == doctor.repository_disk->device)
    return {Distance::same_file_system, cat(says, ": the data directory is on it too")};
  return {Distance::same_host, says};
}

const Reading* ReportFacts::reading(std::string_view id) const {
  auto found =
      std::ranges::find_if(report.readings, [&](const Reading& one) { return one.signal->id == id; });
  return found == report.readings.end() ? nullptr : &*found;
}

const ops::Finding* ReportFacts::finding(std::string_view id) const {
  return ops::find(signals.findings, id);
}

const ScheduledJob* ReportFacts::job(std::string_view verb) const {
  const ScheduledJob* found = nullptr;
  for (const ScheduledJob& job : settings.jobs) {
    if (job.verb != verb) continue;
    if (found == nullptr || job.longest_gap_seconds < found->longest_gap_seconds) found = &job;
  }
  return found;
}

const repo::Card* ReportFacts::newest_backup() const {
  const auto& backups = doctor().repository.backups;
  auto newest = std::find_if(backups.rbegin(), backups.rend(), [](const repo::Card& card) {
    return card.state == repo::BackupState::complete;
  });
  return newest == backups.rend() ? nullptr : &*newest;
}

bool ReportFacts::streams_wal() const {
  if (!doctor().server) return false;
  return std::ranges::any_of(doctor().server->senders, [](const pg::SenderFacts& sender) {
    return sender.application_name.starts_with("lifeboat") && sender.state == "streaming";
  });
}

namespace {

void deliver_rpo(const ReportFacts& facts, DeliveredNow& result) {
  const Reading* lag = facts.reading("wal_archive_lag");
  if (lag == nullptr || !lag->value) {
    result.rpo_basis =
        cat("how far the repository is behind is not known", lag == nullptr ? "" : cat(": ", lag->found));
    return;
  }
  if (facts.streams_wal() && rank_of(lag->verdict) != Rank::fine) {
    result.rpo_basis = cat("WAL does not arrive as it should: ", lag->found);
    return;
  }
  if (facts.streams_wal()) {
    result.rpo_seconds = lag->value;
    result.rpo_basis =
        cat("WAL is streamed as it is written, and is ", format_seconds(*lag->value), " behind");
    result.evidence = {"doctor/archive_timeout", "signal/wal_archive_lag"};
    return;
  }
  if (!facts.doctor().server) {
    result.rpo_basis = "the server was not reached";
    return;
  }
  if (auto lost = ops::lost_wal(facts.doctor())) {
    result.rpo_basis = ops::describe(*lost);
    return;
  }
  for (const char* id : {"archive_off", "wal_archive_lag"}) {
    const Reading* reading = facts.reading(id);
    if (reading == nullptr || rank_of(reading->verdict) == Rank::fine) continue;
    result.rpo_basis = cat("WAL does not arrive as it should: ", reading->found);
    return;
  }
  const auto& settings = facts.doctor().server->settings;
  auto timeout = settings.find("archive_timeout");
  auto seconds = timeout == settings.end() ? std::nullopt : parse_i64(timeout->second);
  if (!seconds || *seconds == 0) {
    result.rpo_basis =
        seconds ? "archive_timeout is 0: a quiet server keeps WAL in an unfinished segment for any time"
                : "archive_timeout could not be read";
    return;
  }
  result.rpo_seconds = static_cast<double>(*seconds) + *lag->value;
  // The archiver's pause: src/backend/postmaster/pgarch.c, PGARCH_AUTOWAKE_INTERVAL, which plans count in.
  result.rpo_basis = cat("archive_timeout ", *seconds, " s, and WAL waits ", format_seconds(*lag->value),
                         " to be stored; up to 60 s more once archiving has failed three times");
  result.evidence = {"doctor/archive_timeout", "signal/wal_archive_lag"};
}

constexpr double kMonth = 31 * 86400;

// From the beginning of a backup of the last month to where the next one could take its place, or to the
// server's present: what a recovery at the worst moment had to replay.
double longest_wal(const ReportFacts& facts) {
  std::vector<const repo::Card*> complete;
  for (const repo::Card& card : facts.doctor().repository.backups)
    if (card.state == repo::BackupState::complete) complete.push_back(&card);
  double longest = 0;
  for (size_t i = 0; i < complete.size(); ++i) {
    if (facts.now().seconds_since(complete[i]->stopped) > kMonth) continue;
    const Lsn begin = complete[i]->start_lsn;
    const auto& server = facts.doctor().server;
    Lsn end = complete[i]->stop_lsn;
    if (i + 1 < complete.size())
      end = complete[i + 1]->stop_lsn;
    else if (server)
      end = server->current_lsn;
    if (end > begin) longest = std::max(longest, static_cast<double>(end.value - begin.value));
  }
  return longest;
}

// The plan's arithmetic (ready/plan/rto.cc) for the worst moment of what really was.
struct ComputedRto {
  std::optional<double> seconds;
  double error_seconds = 0;
  std::string says;  // or why it is not known; "": nothing was measured, or needs to be
};
ComputedRto compute_rto(const ReportFacts& facts) {
  const Rates& rates = facts.rates;
  const repo::Card* newest = facts.newest_backup();
  if (rates.basis != RateBasis::drills || newest == nullptr) return {};
  const bool copied = rates.restore_bytes_per_second.has_value();
  if (!copied && !rates.instant_seconds) return {};
  const auto& replay = copied || !rates.instant_replay_bytes_per_second
                           ? rates.replay_bytes_per_second
                           : rates.instant_replay_bytes_per_second;
  const double wal = longest_wal(facts);
  const std::string wal_text = format_bytes(static_cast<uint64_t>(wal));
  if (!replay) {
    double replayed = static_cast<double>(ops::kLeastReplayed);
    for (const Rehearsal& one : facts.rehearsals)
      if (one.passed) replayed = std::max(replayed, one.wal_bytes);
    if (wal <= replayed) return {};
    return {std::nullopt, 0,
            cat("up to ", wal_text,
                " of WAL lay behind a backup, and no drill has replayed enough to tell how long that takes")};
  }
  const double base = copied
                          ? static_cast<double>(newest->totals.plain_bytes) / *rates.restore_bytes_per_second
                          : *rates.instant_seconds;
  ComputedRto rto;
  rto.seconds = base + wal / *replay + rates.fixed_seconds + rates.checks_seconds;
  rto.error_seconds = *rto.seconds * rates.relative_error + rates.fixed_error_seconds;
  rto.says = cat(copied ? "restore " : "mount ", format_seconds(base), ", replay of ", wal_text,
                 ", the most that lay behind a backup within 31 days, ", format_seconds(wal / *replay),
                 ", start and checks ", format_seconds(rates.fixed_seconds + rates.checks_seconds),
                 ", at the rates of drills, ± ", format_seconds(rto.error_seconds));
  return rto;
}

std::string count_of(size_t drills, size_t recoveries) {
  if (recoveries == 0) return counted(drills, "drill");
  const std::string real = recoveries == 1 ? "1 recovery" : cat(recoveries, " recoveries");
  return drills == 0 ? real : cat(counted(drills, "drill"), " and ", real);
}

// The slowest rehearsal of the last 31 days that passed, for a lucky one is no promise; or what the longest
// WAL would have taken, where that is more.
void deliver_rto(const ReportFacts& facts, DeliveredNow& result) {
  const Rehearsal* slowest = nullptr;
  size_t drills = 0;
  size_t recoveries = 0;
  for (const Rehearsal& one : facts.rehearsals) {
    if (!one.passed || !one.rto_seconds || facts.now().seconds_since(one.time) > kMonth) continue;
    ++(one.kind == RehearsalKind::drill ? drills : recoveries);
    if (slowest == nullptr || *one.rto_seconds > *slowest->rto_seconds) slowest = &one;
  }
  if (slowest == nullptr) {
    result.rto_basis = "no drill of the last 31 days has passed: nobody knows how long a recovery takes";
    return;
  }
  result.evidence.push_back(cat("evidence/", slowest->id));
  const ComputedRto computed = compute_rto(facts);
  if (!computed.seconds && !computed.says.empty()) {
    result.rto_basis = computed.says;
    return;
  }
  if (computed.seconds && *computed.seconds > *slowest->rto_seconds) {
    result.rto_seconds = computed.seconds;
    result.rto_error_seconds = computed.error_seconds;
    result.rto_basis = computed.says;
    return;
  }
  result.rto_seconds = slowest->rto_seconds;
  result.rto_basis = cat("the slowest of ", count_of(drills, recoveries), " within 31 days, ",
                         slowest->time.to_string(), ", from the command to the first answer");
}

}  // namespace

StorageCost storage_cost(const ReportFacts& facts) {
  const StoragePrice& price = facts.settings.price;
  StorageCost cost;
  cost.currency = price.currency;
  if (!facts.stored) {
    cost.says.emplace_back("the repository could not be listed, so no cost is computed");
  } else if (!price.per_gb_month) {
    cost.says.emplace_back("no price was stated (storage-price), so no cost is computed");
  } else {
    const auto bytes = static_cast<double>(facts.stored->total());
    cost.per_month = cost_per_month(bytes, *price.per_gb_month);
    cost.says.emplace_back(
        "what is stored now × the stated price of a GB; requests, traffic and copies elsewhere are not in "
        "it");
  }
  const ClassTerms* known = find_class(price.storage_class);
  if (known == nullptr) {
    if (!price.storage_class.empty())
      cost.says.push_back(cat("the terms of class ", price.storage_class, " are not known here"));
    return cost;
  }
  // WAL is what lives shortest: every day's WAL is deleted after the window.
  const auto minimum = static_cast<int64_t>(known->minimum_days);
  const auto window = static_cast<int64_t>(facts.settings.retention.pitr_days.value_or(known->minimum_days));
  if (minimum > 0)
    cost.says.push_back(cat("class ", known->name, " charges for ", minimum, " days at least",
                            window < minimum ? cat(": WAL lives ", window, " days and is charged for ",
                                                   minimum - window, " longer")
                                             : std::string("; retention deletes nothing earlier")));
  if (known->retrieval_seconds > 0)
    cost.says.push_back(cat("class ", known->name, " takes up to ", format_seconds(known->retrieval_seconds),
                            " until the first byte can be read"));
  return cost;
}

DeliveredNow delivered(const ReportFacts& facts) {
  DeliveredNow result;
  deliver_rpo(facts, result);
  deliver_rto(facts, result);
  return result;
}

}  // namespace lifeboat::ready
