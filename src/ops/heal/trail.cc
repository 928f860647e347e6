#include "ops/heal/trail.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "repo/evidence.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr const char* kKind = "heal";
constexpr uint64_t kJournalLimit = 64 << 20;
constexpr mode_t kMode = 0600;

std::optional<HealOutcome> parse_outcome(std::string_view text) {
  for (HealOutcome one : {HealOutcome::begun, HealOutcome::done, HealOutcome::failed})
    if (to_string(one) == text) return one;
  return std::nullopt;
}

std::optional<HealRecord> record_from(const Json& json) {
  try {
    if (!json.is_object() || json.at("kind") != kKind) return std::nullopt;
    HealRecord record;
    record.id = json.at("id").get<std::string>();
    record.action = json.at("action").get<std::string>();
    record.object = json.at("object").get<std::string>();
    record.finding = json.at("finding").get<std::string>();
    record.saw = json.at("saw").get<std::string>();
    record.cites = json.at("cites").get<std::vector<std::string>>();
    record.began = {json.at("time_us").get<int64_t>()};
    record.ended = {json.at("ended_us").get<int64_t>()};
    auto outcome = parse_outcome(json.at("outcome").get<std::string>());
    if (!outcome) return std::nullopt;
    record.outcome = *outcome;
    record.did = json.at("did").get<std::vector<std::string>>();
    record.says = json.at("says").get<std::string>();
    record.user = json.at("user").get<std::string>();
    record.host = json.at("host").get<std::string>();
    record.pid = json.at("pid").get<int64_t>();
    record.tool_version = json.at("tool_version").get<std::string>();
    return record;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Later events of a record take the place of earlier ones.
std::vector<HealRecord> replay(std::string_view text) {
  std::vector<HealRecord> records;
  auto known = [&](const std::string& id) { return std::ranges::find(records, id, &HealRecord::id); };
  for (std::string_view line : split(text, '\n')) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    if (auto filed = json.find("filed"); filed != json.end() && filed->is_string()) {
      if (auto record = known(filed->get<std::string>()); record != records.end()) record->filed = true;
      continue;
    }
    auto record = record_from(json);
    if (!record) continue;
    if (auto before = known(record->id); before != records.end())
      *before = *std::move(record);
    else
      records.push_back(*std::move(record));
  }
  return records;
}

}  // namespace

std::string_view to_string(HealOutcome outcome) {
  switch (outcome) {
    case HealOutcome::begun:
      return "begun";
    case HealOutcome::done:
      return "done";
    case HealOutcome::failed:
      break;
  }
  return "failed";
}

Json to_json(const HealRecord& record) {
  return {{"format", kFormat},
          {"kind", kKind},
          {"id", record.id},
          {"time_us", record.began.unix_us},
          {"ended_us", record.ended.unix_us},
          {"action", record.action},
          {"object", record.object},
          {"finding", record.finding},
          {"saw", record.saw},
          {"cites", record.cites},
          {"outcome", to_string(record.outcome)},
          {"did", record.did},
          {"says", record.says},
          {"user", record.user},
          {"host", record.host},
          {"pid", record.pid},
          {"tool_version", record.tool_version}};
}

std::optional<HealRecord> parse_heal_record(const std::string& text) {
  return record_from(Json::parse(text, nullptr, false));
}

std::string HealJournal::path_in(const std::string& state_directory, const std::string& cluster) {
  return join_path(state_directory, cat("heal-", cluster, ".jsonl"));
}

Result<std::vector<HealRecord>> HealJournal::read(const std::string& path) {
  auto text = read_text(path, kJournalLimit);
  if (text) return replay(*text);
  if (text.error().kind == ErrorKind::not_found) return std::vector<HealRecord>();
  return std::move(text).error();
}

Result<HealJournal> HealJournal::open(const std::string& path) {
  TRY(create_dirs(parent_path(path)));
  TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, kMode));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return make_error(ErrorKind::busy, path, "another lifeboat heal is acting");
    return errno_error(errno, path, "lock");
  }
  TRY(fsync_dir(parent_path(path)));
  TRY_ASSIGN(std::string text, read_text(path, kJournalLimit));
  // A line that was torn by a crash is closed, so that the next one stands alone.
  if (!text.empty() && !text.ends_with('\n')) TRY(write_all(fd.get(), as_bytes("\n"), path));
  return HealJournal(std::move(fd), path, replay(text));
}

Status HealJournal::append(const Json& line) {
  const std::string text = cat(line_of(line), "\n");
  TRY(write_all(fd_.get(), as_bytes(text), path_));
  return fsync_file(fd_.get(), path_);
}

Status HealJournal::begin(const HealRecord& record) {
  TRY(append(to_json(record)));
  records_.push_back(record);
  return {};
}

Status HealJournal::end(const HealRecord& record) {
  TRY(append(to_json(record)));
  auto known = std::ranges::find(records_, record.id, &HealRecord::id);
  if (known != records_.end()) *known = record;
  return {};
}

Status file_record(const repo::LineageRepo& repo, const HealRecord& record) {
  TRY(repo::write_evidence(repo, record.began, line_of(to_json(record))));
  return {};
}

Result<uint64_t> HealJournal::file_in(const repo::LineageRepo& repo) {
  uint64_t count = 0;
  for (HealRecord& record : records_) {
    if (record.filed || record.outcome == HealOutcome::begun) continue;
    TRY(file_record(repo, record));
    TRY(append({{"filed", record.id}}));
    record.filed = true;
    ++count;
  }
  return count;
}

Result<std::vector<HealRecord>> read_filed(const repo::LineageRepo& repo) {
  std::vector<HealRecord> records;
  TRY_ASSIGN(std::vector<std::string> ids, repo::list_evidence(repo));
  for (const std::string& id : ids) {
    auto text = repo::read_evidence(repo, id);
    if (!text && !repo::is_lost(text.error())) return std::move(text).error();
    if (!text) continue;
    auto record = parse_heal_record(*text);
    if (!record) continue;
    record->filed = true;
    // What began and what came of it are two objects: nothing is written over.
    auto known = std::ranges::find(records, record->id, &HealRecord::id);
    if (known == records.end()) {
      records.push_back(*std::move(record));
    } else if (known->outcome == HealOutcome::begun) {
      *known = *std::move(record);
    }
  }
  return records;
}

std::vector<HealRecord> merge_trails(std::vector<HealRecord> journal, std::vector<HealRecord> filed) {
  for (HealRecord& record : journal) {
    auto same = std::ranges::find(filed, record.id, &HealRecord::id);
    if (same == filed.end()) filed.push_back(std::move(record));
  }
  std::ranges::stable_sort(filed, {}, &HealRecord::began);
  return filed;
}

}  // namespace lifeboat::ops
