#include "repo/attempt.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "codec/codec.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

using nlohmann::ordered_json;

constexpr std::string_view kFolder = "attempts/";
constexpr uint64_t kAttemptLimit = 64 << 10;
constexpr size_t kFootersHeld = 16;

uint64_t path_hash(std::string_view path) {
  return load_le<uint64_t>(codec::hash128(as_bytes(path)).data());
}

}  // namespace

std::string encode_attempt(const Attempt& attempt) {
  return ordered_json{{"id", attempt.id.text},
                      {"started_us", attempt.started.unix_us},
                      {"timeline", attempt.timeline.value},
                      {"start_lsn", attempt.start_lsn.to_string()},
                      {"block_size", attempt.block_size},
                      {"data_checksums", attempt.data_checksums}}
      .dump();
}

Result<Attempt> decode_attempt(std::string_view object, ByteView plain) {
  auto damaged = [&] {
    return make_error(ErrorKind::damaged, std::string(object), "not the record of an attempt");
  };
  try {
    ordered_json json = ordered_json::parse(as_text(plain));
    Attempt attempt;
    auto id = BackupId::parse(json.at("id").get<std::string>());
    auto start = Lsn::parse(json.at("start_lsn").get<std::string>());
    if (!id || !start) return damaged();
    attempt.id = *id;
    attempt.start_lsn = *start;
    attempt.started = {json.at("started_us").get<int64_t>()};
    attempt.timeline = {json.at("timeline").get<uint32_t>()};
    attempt.block_size = json.at("block_size").get<uint32_t>();
    attempt.data_checksums = json.at("data_checksums").get<bool>();
    if (attempt.block_size == 0) return damaged();
    return attempt;
  } catch (const ordered_json::exception& problem) {
    return std::move(damaged()).with_cause(problem.what());
  }
}

Status write_attempt(const LineageRepo& repo, const Attempt& attempt) {
  return repo.put(ObjectKind::attempt, cat(kFolder, attempt.id.text), as_bytes(encode_attempt(attempt)));
}

Result<Attempt> read_attempt(const LineageRepo& repo, const BackupId& id) {
  std::string below = cat(kFolder, id.text);
  TRY_ASSIGN(Bytes plain, repo.get(ObjectKind::attempt, below, kAttemptLimit));
  TRY_ASSIGN(Attempt attempt, decode_attempt(repo.name(below), plain));
  if (attempt.id != id) return make_error(ErrorKind::damaged, repo.name(below), "names another backup");
  return attempt;
}

Result<std::vector<BackupId>> list_attempts(const LineageRepo& repo) {
  std::vector<BackupId> ids;
  std::string prefix = repo.name(kFolder);
  TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& object) -> Status {
    if (auto id = BackupId::parse(std::string_view(object.name).substr(prefix.size()))) ids.push_back(*id);
    return {};
  }));
  std::ranges::sort(ids);
  return ids;
}

Result<AttemptFiles> AttemptFiles::open(const LineageRepo& repo, const BackupId& id, uint32_t block_size) {
  std::vector<uint32_t> packs;
  TRY(repo.store().list(
      repo.name(cat("packs/", id.text, "/")), [&](const storage::ObjectInfo& object) -> Status {
        auto pack = parse_pack_name(std::string_view(object.name).substr(repo.prefix().size()));
        if (pack && pack->kind == PackKind::data) packs.push_back(pack->pack.number);
        return {};
      }));
  AttemptFiles files(repo, id, block_size);
  for (uint32_t pack : packs) {
    auto footer = files.footer(pack);
    if (!footer) {
      if (is_lost(footer.error())) continue;
      return std::move(footer).error();
    }
    for (const auto& [hash, frame] : (*footer)->by_path) {
      // Of each pack a file is named once, however many frames it has there.
      Known known{hash, pack};
      if (files.known_.empty() || files.known_.back() != known) files.known_.push_back(known);
      for (const BlockRun& run : (*footer)->content.frames[frame].runs) files.blocks_ += run.count;
    }
  }
  std::ranges::sort(files.known_);
  return files;
}

Result<const AttemptFiles::Footer*> AttemptFiles::footer(uint32_t pack) {
  for (Footer& held : footers_) {
    if (held.pack != pack) continue;
    held.used = ++ticks_;
    return &held;
  }
  TRY_ASSIGN(FrameReader * reader, packs_.reader({id_, pack}));
  Footer read;
  read.pack = pack;
  read.used = ++ticks_;
  TRY_ASSIGN(read.content, read_pack_footer(*reader));
  for (size_t frame = 0; frame < read.content.frames.size(); ++frame)
    read.by_path.emplace_back(path_hash(read.content.frames[frame].path), static_cast<uint32_t>(frame));
  std::ranges::sort(read.by_path);
  if (footers_.size() >= kFootersHeld) footers_.erase(std::ranges::min_element(footers_, {}, &Footer::used));
  footers_.push_back(std::move(read));
  return &footers_.back();
}

Result<std::vector<StoredRun>> AttemptFiles::find(std::string_view path) {
  std::vector<StoredRun> runs;
  uint64_t hash = path_hash(path);
  auto known = std::ranges::lower_bound(known_, Known{hash, 0});
  for (; known != known_.end() && known->path_hash == hash; ++known) {
    TRY_ASSIGN(const Footer* footer, this->footer(known->pack));
    auto named = std::ranges::lower_bound(footer->by_path, std::pair(hash, uint32_t{0}));
    for (; named != footer->by_path.end() && named->first == hash; ++named) {
      const PackFrame& frame = footer->content.frames[named->second];
      if (frame.path != path) continue;
      uint32_t at = 0;  // block in the frame
      for (const BlockRun& run : frame.runs) {
        uint64_t left = frame.plain_size - std::min<uint64_t>(frame.plain_size, uint64_t{at} * block_size_);
        StoredRun stored{run.first, std::min(uint64_t{run.count} * block_size_, left), frame.newest, {}};
        stored.ref.frame = {{id_, known->pack}, frame.place};
        stored.ref.first_block = at;
        stored.ref.count = run.count;
        stored.ref.hash = run.hash;
        at += run.count;
        if (stored.bytes + block_size_ > uint64_t{run.count} * block_size_) runs.push_back(stored);
      }
    }
  }
  std::ranges::stable_sort(runs, {}, &StoredRun::first);
  // An attempt that read everything a second time has some blocks twice; either will do.
  uint64_t end = 0;
  std::erase_if(runs, [&](const StoredRun& run) {
    if (run.first < end) return true;
    end = run.first + run.ref.count;
    return false;
  });
  return runs;
}

}  // namespace lifeboat::repo
