#include "ops/restore/estimate.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ops/restore/tree_writer.h"
#include "repo/evidence.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kMostLookedAt = 50;             // evidence records, newest first
constexpr uint64_t kSampleBytes = 24 << 20;      // that are fetched and decoded without a drill
constexpr uint64_t kSampleFileLimit = 64 << 20;  // a file of the sample is read whole

struct Rates {
  double copy = 0;      // bytes per second, to durable
  double replay = 0;    // bytes of WAL per second; 0: not measured
  double recovery = 0;  // seconds that recovery took from too little WAL to tell a rate
  std::string when;
};

double member(const nlohmann::json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

// A drill's evidence has the phases and amounts of its restore (ops/drill/evidence.cc).
std::optional<Rates> rates_of(const std::string& text) {
  nlohmann::json document = nlohmann::json::parse(text, nullptr, false);
  if (!document.is_object()) return std::nullopt;
  auto kind = document.find("kind");
  if (kind == document.end() || *kind != "drill") return std::nullopt;
  // One on a mount copied nothing and replays slower than a plain directory would.
  if (document.value("medium", "copy") != "copy") return std::nullopt;
  auto phases = document.find("phases");
  if (phases == document.end() || !phases->is_object()) return std::nullopt;
  double seconds = member(*phases, "copy") + member(*phases, "configure") + member(*phases, "sync");
  double bytes = member(document, "plain_bytes");
  if (seconds <= 0 || bytes <= 0) return std::nullopt;
  Rates rates{bytes / seconds, 0, 0,
              Timestamp{static_cast<int64_t>(member(document, "time_us"))}.to_string()};
  double replayed = member(*phases, "recovery");
  const double wal = member(document, "wal_bytes");
  if (wal < static_cast<double>(kLeastReplayed)) {
    rates.recovery = replayed;
  } else if (replayed > 0) {
    rates.replay = wal / replayed;
  }
  return rates;
}

std::optional<Rates> newest_drill(const repo::LineageRepo& repo) {
  auto ids = repo::list_evidence(repo);
  if (!ids) return std::nullopt;
  size_t looked_at = 0;
  for (auto id = ids->rbegin(); id != ids->rend() && looked_at < kMostLookedAt; ++id, ++looked_at) {
    auto text = repo::read_evidence(repo, *id);
    if (!text) continue;
    if (auto rates = rates_of(*text)) return rates;
  }
  return std::nullopt;
}

// Bytes per second that one worker fetches and decodes, now and here; nullopt when there is too little to
// measure.
Result<std::optional<double>> decode_rate(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                          const repo::NodeRef& pgdata, const StopToken& stop) {
  repo::TreeReader tree(repo);
  std::vector<repo::Entry> sample;
  uint64_t sampled = 0;
  TRY(tree.walk(pgdata, [&](const std::string&, const repo::Entry& entry) -> Status {
    if (entry.type != repo::EntryType::file || sampled >= kSampleBytes || entry.size > kSampleFileLimit)
      return {};
    if (entry.size < (1 << 20) && !entry.leaves.empty()) return {};
    if (entry.size < (64 << 10)) return {};
    sample.push_back(entry);
    sampled += entry.size;
    return {};
  }));
  if (sampled < (1 << 20)) return std::optional<double>();
  int64_t began = Clock::system().monotonic_us();
  for (const repo::Entry& entry : sample) {
    TRY(stop.check());
    TRY(read_tree_file(repo, entry, manifest.block_size, kSampleFileLimit));
  }
  int64_t took = std::max<int64_t>(1, Clock::system().monotonic_us() - began);
  return std::optional<double>(static_cast<double>(sampled) * 1e6 / static_cast<double>(took));
}

}  // namespace

Result<TimeEstimate> estimate_time(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                   const repo::NodeRef& pgdata, uint64_t bytes, uint64_t wal_bytes, int jobs,
                                   const StopToken& stop) {
  TimeEstimate estimate;
  if (auto rates = newest_drill(repo)) {
    estimate.copy_seconds = static_cast<double>(bytes) / rates->copy;
    if (rates->replay > 0) {
      estimate.replay_seconds = static_cast<double>(wal_bytes) / rates->replay;
    } else if (rates->recovery > 0 && wal_bytes < kLeastReplayed) {
      estimate.replay_seconds = rates->recovery;
    }
    estimate.basis = cat("rates of the drill of ", rates->when);
    return estimate;
  }
  estimate.basis = "no drill has measured this cluster yet";
  TRY_ASSIGN(std::optional<double> rate, decode_rate(repo, manifest, pgdata, stop));
  if (!rate) return estimate;
  estimate.copy_seconds = static_cast<double>(bytes) / (*rate * std::max(1, jobs));
  estimate.basis += cat("; the copy is what fetching and decoding a sample took just now (",
                        format_bytes(static_cast<uint64_t>(*rate)), "/s on each of ", std::max(1, jobs),
                        " workers), without the time that writing to disk takes");
  return estimate;
}

}  // namespace lifeboat::ops
