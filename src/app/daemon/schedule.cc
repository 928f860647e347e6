#include "app/daemon/schedule.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "codec/codec.h"
#include "util/bytes.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kRetryUs = 300'000'000;  // the first; then twice as long each time

bool may_pass(int exit_code) {
  return std::ranges::any_of(error_kinds(), [&](const ErrorKindInfo& kind) {
    return kind.retryable && kind.exit_code == exit_code;
  });
}

int64_t jitter_of(const Job& job, Timestamp moment) {
  if (job.jitter_us <= 0) return 0;
  const codec::Hash128 hash = codec::hash128(as_bytes(cat(job.key(), " ", moment.unix_us)));
  return static_cast<int64_t>(load_le<uint64_t>(hash.data()) % static_cast<uint64_t>(job.jitter_us));
}

}  // namespace

Schedule::Schedule(std::vector<Job> jobs, std::map<std::string, JobRecord> records, Timestamp now)
    : jobs_(std::move(jobs)) {
  for (const Job& job : jobs_) {
    JobRecord& record = records_[job.key()];
    if (auto known = records.find(job.key()); known != records.end()) record = std::move(known->second);
    // A clock that was set back would keep the job from running until it has caught up.
    if (!record.due.valid() || record.due > now) record.due = now;
    if (record.started.valid() && !record.ended.valid())
      cut_off(job, record.started, "the daemon ended before it did");
  }
}

Timestamp Schedule::next_start(const Job& job) const {
  const Timestamp moment = job.when.next(record(job).due);
  const Timestamp start = moment.plus_us(jitter_of(job, moment));
  const Timestamp retry = record(job).retry;
  return retry.valid() ? std::min(start, retry) : start;
}

const Job* Schedule::due(const std::string& cluster, Timestamp now) const {
  const Job* first = nullptr;
  for (const Job& job : jobs_) {
    if (job.cluster != cluster || next_start(job) > now) continue;
    if (first == nullptr || next_start(job) < next_start(*first)) first = &job;
  }
  return first;
}

void Schedule::started(const Job& job, Timestamp now) {
  JobRecord& record = records_.at(job.key());
  record.due_before = record.due;
  record.due = job.when.last(record.due, now);
  record.started = now;
  record.ended = {};
  record.retry = {};
  ++record.runs;
}

void Schedule::ended(const Job& job, Timestamp now, int exit_code, std::string error) {
  JobRecord& record = records_.at(job.key());
  record.ended = now;
  record.exit_code = exit_code;
  record.error = std::move(error);
  // That something needs attention is what such a job is there to say; its signal tells people.
  const bool worked = exit_code == 0 || exit_code == info(ErrorKind::attention).exit_code;
  record.failures = worked ? 0 : record.failures + 1;
  if (may_pass(exit_code) && record.failures >= 1 && record.failures <= kMostRetries)
    record.retry = now.plus_us(kRetryUs << (record.failures - 1));
}

void Schedule::cut_off(const Job& job, Timestamp now, std::string error) {
  ended(job, now, info(ErrorKind::cancelled).exit_code, std::move(error));
  JobRecord& record = records_.at(job.key());
  if (record.failures <= kMostCutOff && record.due_before.valid()) record.due = record.due_before;
}

std::string encode_records(const std::map<std::string, JobRecord>& records) {
  Json jobs = Json::object();
  for (const auto& [key, record] : records) {
    jobs[key] = {{"due_us", record.due.unix_us},         {"due_before_us", record.due_before.unix_us},
                 {"started_us", record.started.unix_us}, {"ended_us", record.ended.unix_us},
                 {"exit_code", record.exit_code},        {"error", record.error},
                 {"retry_us", record.retry.unix_us},     {"runs", record.runs},
                 {"failures", record.failures}};
  }
  return Json{{"version", 1}, {"jobs", std::move(jobs)}}.dump(1, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

Result<std::map<std::string, JobRecord>> decode_records(std::string_view object, std::string_view text) {
  try {
    std::map<std::string, JobRecord> records;
    const Json json = Json::parse(text);
    for (const auto& [key, job] : json.at("jobs").items()) {
      JobRecord& record = records[key];
      record.due = {job.at("due_us").get<int64_t>()};
      record.due_before = {job.at("due_before_us").get<int64_t>()};
      record.started = {job.at("started_us").get<int64_t>()};
      record.ended = {job.at("ended_us").get<int64_t>()};
      record.retry = {job.at("retry_us").get<int64_t>()};
      record.exit_code = job.at("exit_code").get<int>();
      record.error = job.at("error").get<std::string>();
      record.runs = job.at("runs").get<uint64_t>();
      record.failures = job.at("failures").get<uint64_t>();
    }
    return records;
  } catch (const Json::exception& problem) {
    return make_error(ErrorKind::damaged, std::string(object), "is not what the daemon remembers of its jobs")
        .with_cause(problem.what());
  }
}

}  // namespace lifeboat::app
