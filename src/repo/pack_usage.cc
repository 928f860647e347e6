#include "repo/pack_usage.h"

#include <algorithm>
#include <vector>

#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr uint8_t kUsageNode = 4;  // the node's first byte
// Stored blocks per live one that are let be; bench/fragmentation shows what follows from these figures.
constexpr double kEnough = 1.2;
// A pack that is fuller than this costs more to store again than its end is worth.
constexpr double kTooFull = 0.9;
// Blocks that are stored again for each that changed, and of all that is live at most.
constexpr double kPerChange = 2;
constexpr double kOfLive = 0.1;

double share(const PackUse& use) {
  return use.total == 0 ? 0 : static_cast<double>(use.live) / static_cast<double>(use.total);
}

}  // namespace

void UsageTally::add(const PackId& pack, int64_t blocks) {
  if (last_ == nullptr || last_->first != pack) last_ = &*changes_.try_emplace(pack, 0).first;
  last_->second += blocks;
}

void UsageTally::merge(const UsageTally& other) {
  for (const auto& [pack, blocks] : other.changes_) add(pack, blocks);
}

PackUsage UsageTally::apply(PackUsage before) const {
  for (const auto& [pack, blocks] : changes_) {
    auto [at, added] = before.try_emplace(pack);
    int64_t live = static_cast<int64_t>(at->second.live) + blocks;
    at->second.live = static_cast<uint64_t>(std::max<int64_t>(live, 0));
    if (added) at->second.total = at->second.live;
    if (at->second.live == 0) before.erase(at);
  }
  return before;
}

std::map<PackId, double> choose_packs_to_empty(const PackUsage& usage, uint64_t changed_blocks) {
  double stored = 0;
  double live = 0;
  std::vector<const PackUsage::value_type*> packs;
  for (const auto& entry : usage) {
    stored += static_cast<double>(entry.second.total);
    live += static_cast<double>(entry.second.live);
    if (share(entry.second) < kTooFull) packs.push_back(&entry);
  }
  std::ranges::sort(packs, {},
                    [](const auto* entry) { return std::pair(share(entry->second), entry->first); });
  double budget = std::min(kPerChange * static_cast<double>(changed_blocks), kOfLive * live);
  std::map<PackId, double> chosen;
  for (const auto* entry : packs) {
    if (stored <= kEnough * live || budget < 1) break;
    const auto needed = static_cast<double>(entry->second.live);
    double part = std::min(1.0, budget / needed);
    budget -= part * needed;
    stored -= part * (static_cast<double>(entry->second.total) - needed);
    chosen[entry->first] = part;
  }
  return chosen;
}

Bytes encode_usage(const PackUsage& usage) {
  Bytes node;
  ByteWriter out(node);
  out.u8(kUsageNode);
  for (auto at = usage.begin(); at != usage.end();) {
    const BackupId& backup = at->first.backup;
    auto end = std::find_if(at, usage.end(), [&](const auto& entry) { return entry.first.backup != backup; });
    out.text(backup.text);
    out.varint(static_cast<uint64_t>(std::distance(at, end)));
    for (uint32_t number = 0; at != end; ++at) {
      out.varint(at->first.number - number);
      out.varint(at->second.total);
      out.varint(at->second.live);
      number = at->first.number;
    }
  }
  return node;
}

Result<PackUsage> decode_usage(std::string_view object, ByteView plain) {
  ByteReader in(plain);
  PackUsage usage;
  if (in.u8() != kUsageNode) in.fail();
  while (in.ok() && !in.at_end()) {
    auto backup = BackupId::parse(in.text());
    uint64_t packs = in.varint();
    if (!backup) in.fail();
    uint64_t number = 0;
    for (uint64_t i = 0; i < packs && in.ok(); ++i) {
      number += in.varint();
      PackUse use;
      use.total = in.varint();
      use.live = in.varint();
      if (number > UINT32_MAX || use.total > INT64_MAX || use.live > INT64_MAX) in.fail();
      if (in.ok()) usage[{*backup, static_cast<uint32_t>(number)}] = use;
    }
  }
  if (!in.ok())
    return make_error(ErrorKind::damaged, std::string(object), "malformed tree node: usage of packs");
  return usage;
}

}  // namespace lifeboat::repo
