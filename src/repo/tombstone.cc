#include "repo/tombstone.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "repo/manifest.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

using nlohmann::ordered_json;

constexpr std::string_view kFolder = "tombstones/";
constexpr uint64_t kTombstoneLimit = 16 << 20;

ordered_json ids_to_json(const std::vector<BackupId>& ids) {
  ordered_json list = ordered_json::array();
  for (const BackupId& id : ids) list.push_back(id.text);
  return list;
}

bool ids_from_json(const ordered_json& list, std::vector<BackupId>& ids) {
  for (const auto& text : list) {
    auto id = BackupId::parse(text.get<std::string>());
    if (!id) return false;
    ids.push_back(*id);
  }
  return true;
}

}  // namespace

std::string encode_tombstone(const Tombstone& tombstone) {
  ordered_json wal = ordered_json::array();
  for (const WalRange& range : tombstone.wal) {
    wal.push_back({{"from", range.from.to_string()}, {"end", range.end.to_string()}});
  }
  ordered_json json = {{"created_us", tombstone.created.unix_us},
                       {"grace_us", tombstone.grace_us},
                       {"backups", ids_to_json(tombstone.backups)},
                       {"attempts", ids_to_json(tombstone.attempts)},
                       {"wal", std::move(wal)}};
  return json.dump();
}

Result<Tombstone> decode_tombstone(std::string_view object, ByteView plain) {
  auto damaged = [&] { return make_error(ErrorKind::damaged, std::string(object), "not a tombstone"); };
  try {
    ordered_json json = ordered_json::parse(as_text(plain));
    Tombstone tombstone;
    tombstone.id = object.substr(object.rfind('/') + 1);
    tombstone.created = {json.at("created_us").get<int64_t>()};
    tombstone.grace_us = json.at("grace_us").get<int64_t>();
    if (!ids_from_json(json.at("backups"), tombstone.backups) ||
        !ids_from_json(json.at("attempts"), tombstone.attempts)) {
      return damaged();
    }
    for (const auto& range : json.at("wal")) {
      auto from = SegmentName::parse(range.at("from").get<std::string>());
      auto end = SegmentName::parse(range.at("end").get<std::string>());
      if (!from || !end || from->timeline != end->timeline) return damaged();
      tombstone.wal.push_back({*from, *end});
    }
    return tombstone;
  } catch (const ordered_json::exception& problem) {
    return std::move(damaged()).with_cause(problem.what());
  }
}

Status write_tombstone(const LineageRepo& repo, Tombstone& tombstone) {
  uint32_t random = 0;
  codec::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&random), sizeof random));
  tombstone.id = BackupId::make(tombstone.created, random).text;
  return repo.put(ObjectKind::tombstone, cat(kFolder, tombstone.id), as_bytes(encode_tombstone(tombstone)));
}

Result<std::vector<Tombstone>> read_tombstones(const LineageRepo& repo) {
  std::vector<storage::ObjectInfo> listed;
  std::string prefix = repo.name(kFolder);
  TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& info) -> Status {
    listed.push_back(info);
    return {};
  }));
  std::vector<Tombstone> tombstones;
  for (const storage::ObjectInfo& info : listed) {
    auto plain = get_object(repo.store(), repo.keys(), ObjectKind::tombstone, info.name, kTombstoneLimit);
    if (!plain && plain.error().kind == ErrorKind::not_found) continue;  // done since the listing
    TRY(plain);
    TRY_ASSIGN(Tombstone tombstone, decode_tombstone(info.name, *plain));
    tombstone.published = info.modified;
    tombstones.push_back(std::move(tombstone));
  }
  return tombstones;
}

std::optional<SegmentName> Condemned::first_wal(const SegmentName& from,
                                                std::optional<SegmentName> end) const {
  std::optional<SegmentName> first;
  for (const WalRange& range : wal) {
    if (range.from.timeline != from.timeline) continue;
    SegmentName begin = std::max(from, range.from);
    if (begin >= range.end || (end && begin >= *end)) continue;
    if (!first || begin < *first) first = begin;
  }
  return first;
}

std::vector<WalRange> intersect(const std::vector<WalRange>& a, const std::vector<WalRange>& b) {
  std::vector<WalRange> both;
  for (const WalRange& one : a) {
    for (const WalRange& other : b) {
      if (one.from.timeline != other.from.timeline) continue;
      WalRange common{std::max(one.from, other.from), std::min(one.end, other.end)};
      if (common.from < common.end) both.push_back(common);
    }
  }
  std::sort(both.begin(), both.end());
  return both;
}

std::vector<WalRange> subtract(const std::vector<WalRange>& ranges, const std::vector<WalRange>& minus) {
  std::vector<WalRange> left = ranges;
  for (const WalRange& cut : minus) {
    std::vector<WalRange> next;
    for (const WalRange& range : left) {
      bool apart = range.from.timeline != cut.from.timeline || cut.end <= range.from || range.end <= cut.from;
      if (apart) {
        next.push_back(range);
        continue;
      }
      if (range.from < cut.from) next.push_back({range.from, cut.from});
      if (cut.end < range.end) next.push_back({cut.end, range.end});
    }
    left = std::move(next);
  }
  std::sort(left.begin(), left.end());
  return left;
}

Result<Condemned> read_condemned(const LineageRepo& repo) {
  TRY_ASSIGN(std::vector<Tombstone> tombstones, read_tombstones(repo));
  Condemned condemned;
  for (const Tombstone& tombstone : tombstones) {
    condemned.backups.insert(tombstone.backups.begin(), tombstone.backups.end());
    condemned.attempts.insert(tombstone.attempts.begin(), tombstone.attempts.end());
    condemned.wal.insert(condemned.wal.end(), tombstone.wal.begin(), tombstone.wal.end());
  }
  return condemned;
}

Result<std::set<BackupId>> tombstoned_backups(const LineageRepo& repo) {
  TRY_ASSIGN(Condemned condemned, read_condemned(repo));
  return std::move(condemned.backups);
}

Status check_references(const LineageRepo& repo, const std::vector<BackupId>& references) {
  if (references.empty()) return {};
  TRY_ASSIGN(Condemned condemned, read_condemned(repo));
  for (const BackupId& id : references) {
    if (condemned.condemns(id)) {
      return make_error(ErrorKind::precondition, cat("backup ", id.text),
                        "is expiring and cannot be referred to");
    }
    auto card = read_card(repo, id);
    if (!card && card.error().kind == ErrorKind::not_found) {
      return make_error(ErrorKind::precondition, cat("backup ", id.text), "has expired");
    }
    TRY(card);
    if (card->state == BackupState::aborted) {
      // What an attempt stored may be gone on with until it is condemned.
      TRY_ASSIGN(bool recorded, repo.store().exists(repo.name(cat("attempts/", id.text))));
      if (recorded) continue;
      return make_error(ErrorKind::precondition, cat("backup ", id.text), cat("was aborted: ", card->reason));
    }
  }
  return {};
}

}  // namespace lifeboat::repo
