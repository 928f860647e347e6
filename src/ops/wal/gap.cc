#include "ops/wal/gap.h"

#include <nlohmann/json.hpp>

#include "repo/evidence.h"

namespace lifeboat::ops {

namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr const char* kKind = "wal_gap";

}  // namespace

std::optional<WalGap> parse_gap(const std::string& text) {
  json record = json::parse(text, nullptr, false);
  if (!record.is_object() || record.value("kind", "") != kKind) return std::nullopt;
  try {
    auto from = Lsn::parse(record.at("from_lsn").get<std::string>());
    auto to = Lsn::parse(record.at("to_lsn").get<std::string>());
    if (!from || !to) return std::nullopt;
    return WalGap{{record.at("timeline").get<uint32_t>()},
                  *from,
                  *to,
                  {record.at("time_us").get<int64_t>()},
                  record.value("slot", ""),
                  record.value("reason", "")};
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::string encode_gap(const WalGap& gap) {
  nlohmann::ordered_json record = {{"format", kFormat},
                                   {"kind", kKind},
                                   {"time_us", gap.noticed.unix_us},
                                   {"timeline", gap.timeline.value},
                                   {"from_lsn", gap.from.to_string()},
                                   {"to_lsn", gap.to.to_string()},
                                   {"slot", gap.slot},
                                   {"reason", gap.reason}};
  return record.dump(-1, ' ', false, json::error_handler_t::replace);
}

Status record_gap(const repo::LineageRepo& repo, const WalGap& gap) {
  TRY(repo::write_evidence(repo, gap.noticed, encode_gap(gap)));
  return {};
}

Result<std::vector<WalGap>> read_gaps(const repo::LineageRepo& repo) {
  std::vector<WalGap> gaps;
  TRY_ASSIGN(std::vector<std::string> ids, repo::list_evidence(repo));
  for (const std::string& id : ids) {
    auto text = repo::read_evidence(repo, id);
    if (!text && !repo::is_lost(text.error())) return std::move(text).error();
    if (!text) continue;
    if (auto gap = parse_gap(*text)) gaps.push_back(std::move(*gap));
  }
  return gaps;
}

}  // namespace lifeboat::ops
