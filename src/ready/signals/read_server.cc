// Signals of the server and its disks.
#include <algorithm>
#include <ranges>

#include "ready/signals/reads.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr size_t kMostParts = 20;
constexpr size_t kMostRelations = 5;
// What a relation wastes below this does not matter.
constexpr uint64_t kSmallestWaste = 16 << 20;

double used_ratio(const ops::DiskFacts& disk) {
  if (disk.total_bytes == 0) return 0;
  return 1 - static_cast<double>(disk.free_bytes) / static_cast<double>(disk.total_bytes);
}

std::string room(const ops::DiskFacts& disk) {
  return cat(format_value(used_ratio(disk), Unit::ratio), " used, ", format_bytes(disk.free_bytes), " of ",
             format_bytes(disk.total_bytes), " free");
}

// The server's refusal comes before the protocol knows an SQLSTATE, as text
// (src/backend/utils/init/postinit.c).
bool out_of_connections(const std::string& problem) {
  return problem.find("too many clients already") != std::string::npos ||
         problem.find("remaining connection slots are reserved") != std::string::npos ||
         problem.find("53300") != std::string::npos;
}

void read_age(const SignalFacts& facts, int64_t DatabaseAge::* age, int64_t Ages::* freeze,
              std::string_view setting, Reading& reading) {
  if (!facts.server.ages) return unknown(reading, facts.server.ages.why);
  std::vector<DatabaseAge> databases = facts.server.ages->databases;
  std::ranges::stable_sort(databases, std::ranges::greater(), age);
  const int64_t limit = (*facts.server.ages).*freeze;
  for (const DatabaseAge& database : databases | std::views::take(kMostParts)) {
    SignalPart part;
    part.object = database.name;
    part.value = static_cast<double>(database.*age);
    part.verdict = judge(part.value, reading.policy.thresholds, Worse::above);
    part.note = format_value(part.value, Unit::transactions);
    reading.parts.push_back(std::move(part));
  }
  from_parts(reading, cat(setting, " is ", format_value(static_cast<double>(limit), Unit::transactions),
                          ", and no new ones are given out near 2.1 billion"));
}

void read_bloat(const SignalFacts& facts, std::vector<BloatedRelation> Bloat::* kind, std::string_view plural,
                Reading& reading) {
  if (!facts.server.bloat) return unknown(reading, facts.server.bloat.why);
  const Bloat& bloat = *facts.server.bloat;
  const std::vector<BloatedRelation>& relations = bloat.*kind;
  if (bloat.tables.empty() && bloat.indexes.empty() && bloat.hidden > 0) {
    return unknown(reading, cat("this role sees no statistics of ",
                                counted(static_cast<uint64_t>(bloat.hidden), "relation"),
                                ": ANALYZE, or from 14 on grant pg_read_all_data to it"));
  }
  reading.value = 0;
  for (const BloatedRelation& relation : relations) {
    if (relation.wasted < kSmallestWaste || reading.parts.size() == kMostRelations) break;
    SignalPart part;
    part.object = cat(relation.database, "/", relation.name);
    part.value = static_cast<double>(relation.wasted) / static_cast<double>(relation.bytes);
    part.bytes = static_cast<double>(relation.wasted);
    part.verdict = judge(part.value, reading.policy.thresholds, Worse::above);
    part.note =
        cat(format_bytes(relation.wasted), " of ", format_bytes(relation.bytes), " estimated to be empty");
    reading.parts.push_back(std::move(part));
  }
  std::string also = join(bloat.notes, "; ");
  if (bloat.hidden > 0)
    also += cat(also.empty() ? "" : "; ", bloat.hidden, " large relations without visible statistics");
  if (reading.parts.empty())
    measured(reading, 0,
             cat("none of ", relations.size(), " large ", plural, also.empty() ? "" : "; ", also));
  else
    from_parts(reading, also);
  // What was not looked at might be worse.
  if (!bloat.notes.empty() && relations.empty()) raise_to(reading, Verdict::unknown, "");
}

}  // namespace

void read_server_down(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (facts.doctor.server) return measured(reading, 0, "the server answers");
  if (!facts.doctor.server_problem) return unknown(reading, "the server was not asked");
  const Error& problem = *facts.doctor.server_problem;
  const std::string text = problem.to_string();
  if (out_of_connections(text)) return measured(reading, 0, "the server has no connection left for us");
  if (facts.nobody_runs && facts.doctor.conninfo.empty())
    return measured(reading, 1, cat("no server runs in ", facts.doctor.data->path));
  // Where it refuses us it is there; where nobody said which server is meant, none is missed.
  if (problem.kind != ErrorKind::unavailable || facts.doctor.conninfo.empty()) return unknown(reading, text);
  measured(reading, 1, text);
}

void read_checksum_failures(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_server(facts, reading)) return;
  const auto& asked = facts.server.checksums;
  if (!asked) return unknown(reading, asked.why);
  if (!facts.doctor.server->data_checksums)
    return not_applicable(reading, "the cluster has no data checksums (pg_checksums --enable)");
  if (asked->empty()) return measured(reading, 0, "none");
  double failures = 0;
  for (const ChecksumFailures& one : *asked) failures += static_cast<double>(one.failures);
  measured(reading, failures, describe(*asked));
}

void read_storage_used(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading) {
  if (facts.file_systems.empty()) {
    const auto& problem = facts.doctor.data_problem;
    return unknown(reading, problem ? cat(problem->to_string(), "; run it on the database's host")
                                    : std::string("the data directory is not on this host"));
  }
  for (const FileSystemFacts& one : facts.file_systems) {
    SignalPart part;
    part.object = one.disk.path;
    part.value = used_ratio(one.disk);
    part.bytes = static_cast<double>(one.disk.free_bytes);
    part.verdict = judge(part.value, policy.thresholds, Worse::above);
    part.note = cat(room(one.disk), " (", join(one.holds, ", "), ")");
    reading.parts.push_back(std::move(part));
  }
  from_parts(reading, "");
  reading.bytes.reset();  // free bytes: the greatest of them says nothing
}

void read_repository_used(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (facts.doctor.repository.directory.empty())
    return not_applicable(reading, "the repository is not a directory of this host");
  if (!facts.doctor.repository_disk) {
    const auto& problem = facts.doctor.repository.problem;
    return unknown(reading,
                   problem ? problem->to_string() : std::string("its file system could not be looked at"));
  }
  measured(reading, used_ratio(*facts.doctor.repository_disk), room(*facts.doctor.repository_disk));
}

void read_connections(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  const auto& asked = facts.server.connections;
  if (asked) {
    if (asked->limit <= 0)
      return unknown(reading, "max_connections is not above what is reserved for superusers");
    return measured(reading, static_cast<double>(asked->used) / static_cast<double>(asked->limit),
                    cat(asked->used, " of ", asked->limit, " in use, ", asked->reserved, " more reserved"));
  }
  if (!out_of_connections(asked.why)) return unknown(reading, asked.why);
  measured(reading, 1, "the server has no connection left for us");
}

void read_xid_wraparound(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  read_age(facts, &DatabaseAge::xid_age, &Ages::freeze_max_age, "autovacuum_freeze_max_age", reading);
}

void read_multixact_wraparound(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  read_age(facts, &DatabaseAge::multixact_age, &Ages::multixact_freeze_max_age,
           "autovacuum_multixact_freeze_max_age", reading);
}

void read_table_bloat(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  read_bloat(facts, &Bloat::tables, "tables", reading);
}

void read_index_bloat(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  read_bloat(facts, &Bloat::indexes, "indexes", reading);
}

}  // namespace lifeboat::ready
